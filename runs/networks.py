"""Networks that look at somebody's faces: from a checkpoint, a run folder, or published weights by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from affect.checksums import file_sha256
from affect.errors import CheckpointError, ConfigError, UserError
from affect.labels import TASKS, Task
from backbones.registry import REGISTRY
from evaluators.names import LEARNT
from runs.asking import Weights
from runs.exported import Exported
from runs.folder import checkpoint_of

if TYPE_CHECKING:
    from runs.frozen import Frozen

PUBLISHED: Final = "enet_b0_8_va_mtl"
"""The published network that says most: MT-EmotiEffNet."""


@dataclass(frozen=True)
class Network:
    """A network that is ready to be asked.

    Attributes:
        module: in evaluation mode; an ``AffectModule``, or what has its ``predict_float32``.
        tasks: what it predicts.
        path: of its checkpoint, or its name.
        sha256: of that file.
        frozen: of heads on stored features: the networks that made them, in the order of the stores.
    """

    module: Any
    tasks: tuple[Task, ...]
    path: str
    sha256: str
    frozen: tuple[Frozen, ...] = ()

    @property
    def described(self) -> dict[str, Any]:
        """What the table's metadata say of it."""
        return {"checkpoint": self.path, "checkpoint_sha256": self.sha256, LEARNT: dict(self.module.learnt_from)}


def origin(learnt: Mapping[str, Any]) -> str:
    """Say in some words what a network has learnt from, given what it says of that itself (``learnt_from``)."""
    if learnt.get("renderer"):
        return "learnt from drawn faces only: what it says of people is a guess"
    return f"learnt from {learnt['data']}" if learnt.get("data") else "it does not say what it has learnt from"


def load_networks(given: Sequence[str | Path], weights: Weights = None) -> list[Network]:
    """Load checkpoints, the best ones of run folders, ONNX files of export.py, or published weights by their name.

    Args:
        given: which.
        weights: of heads on stored features: where the networks that made them are now (``runs.frozen``).

    Raises:
        UserError: none, no such checkpoint, or one that cannot be read or predicts nothing from pictures; heads on
            stored features whose network is not found.
    """
    if not given:
        raise ConfigError(["checkpoint=[]: give a checkpoint, a run folder, or several"])
    known: dict[Any, Any] = {}  # of ``runs.frozen``
    return [_load(one, weights, known) for one in given]


def newest_run(folder: Path) -> str:
    """Return the newest run below a folder that predicts something from pictures of faces.

    Raises:
        UserError: there is none; the message lists the ways to one.
    """
    found = [(path.stat().st_mtime, path) for path in folder.glob("**/checkpoints/best.ckpt")]
    for _, path in sorted(found, reverse=True):
        with suppress(UserError):
            _load(path)
            return str(path.parent.parent)
    raise UserError(
        f"no run below {folder} knows faces. Give checkpoint=<run folder>; or make one: `make demo` trains an EMMA on "
        f"drawn faces in minutes; or give checkpoint={PUBLISHED}, the published MT-EmotiEffNet (valence, arousal and "
        "AffectNet's expressions, with contempt in the place of Other; no action units; "
        f"{REGISTRY[PUBLISHED].licence}, learnt from AffectNet, which is given out for research): the first use "
        "fetches it"
    )


def common_tasks(networks: Sequence[Network], wanted: Sequence[Task] | None) -> tuple[Task, ...]:
    """Return what all networks are to predict.

    Raises:
        ConfigError: a task that one of them does not have, or networks that do not predict the same.
    """
    errors = list(_task_errors(networks, wanted))
    if errors:
        raise ConfigError(errors)
    return networks[0].tasks if wanted is None else tuple(task for task in TASKS if task in wanted)


def with_torch(what: str) -> Any:
    """Return ``runs.trained``.

    Args:
        what: needs it, for the message.

    Raises:
        UserError: a package that it needs is not installed, as where ONNX files alone are to be run.
    """
    try:
        return import_module("runs.trained")
    except ModuleNotFoundError as error:
        raise UserError(
            f"{what} needs {error.name}, which is not installed here: give a file that `export.py to=onnx` wrote, or "
            "install the framework as README.md says"
        ) from error


def _load(given: str | Path, weights: Weights = None, known: dict[Any, Any] | None = None) -> Network:
    if str(given) in REGISTRY and not Path(given).exists():
        return with_torch(f"checkpoint={given}").load_published(str(given))  # type: ignore[no-any-return]
    path = checkpoint_of("checkpoint", given, "best")
    if path.suffix == ".onnx":
        exported = Exported(path)
        return Network(exported, exported.tasks, str(path), file_sha256(path))
    if path.suffix == ".joblib":
        raise CheckpointError(f"{path} is a model of LightAutoML, which sees features and no pictures")
    known = {} if known is None else known
    return with_torch(f"checkpoint={given}").load_trained(path, weights, known)  # type: ignore[no-any-return]


def _task_errors(networks: Sequence[Network], wanted: Sequence[Task] | None) -> Iterator[str]:
    """Find what several networks do not have in common, and what is wanted and not there."""
    if wanted is not None and not wanted:
        yield "tasks=[]: give some, or leave it out"
    for task in wanted or ():
        if task not in TASKS:
            yield f"tasks: there is no {task!r}; there are {', '.join(TASKS)}"
    first = networks[0]
    for one in networks:
        missing = [task for task in wanted or () if task in TASKS and task not in one.tasks]
        if missing:
            yield f"tasks: {one.path} has no {', '.join(missing)}, only {', '.join(one.tasks)}"
        if wanted is None and one.tasks != first.tasks:
            yield (
                f"checkpoint: {first.path} has {', '.join(first.tasks)}, {one.path} has {', '.join(one.tasks)}; give "
                "tasks=[…] that both have, or one of the two"
            )
        if one.module.expressions != first.module.expressions:
            names = (", ".join(network.module.expressions) for network in (first, one))
            yield f"checkpoint: {first.path} has the expressions {next(names)}, {one.path} has {next(names)}"
