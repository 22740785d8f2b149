"""Build objects from plain configuration nodes, without Hydra: nothing is resolved, and only listed things are called.

A node is a mapping with a ``_target_``, the dotted name of a class or function of this framework or of a few foreign
ones. It is looked up in a list before anything is imported; its other keys must fit the signature.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from affect.errors import ConfigError
from affect.hints import value_errors

MODEL_TARGETS: Final = frozenset(
    {
        "backbones.vit.build_vit",
        "baseline.module.BaselineModule",
        "baseline.network.Baseline",
        "cotex.module.CoTEXModule",
        "cotex.network.build_cotex",
        "dan.module.DANModule",
        "dan.network.DAN",
        "emma.module.EMMAModule",
        "emma.network.EMMA",
        "heads.module.HeadModule",
        "heads.network.Heads",
        "emotieffnet.module.EmotiEffNetModule",
        "emotieffnet.network.EmotiEffNet",
        "emotieffnet.network.FineTunedNet",
        "losses.multitask.MultiTaskLoss",
        "mae.module.MAEModule",
        "mae.network.MAE",
        "training.multitask.MultiTaskModule",
        "training.optimisation.Adam",
        "training.optimisation.AdamW",
    }
)
"""What a checkpoint may ask to be built. A new method adds its classes here."""

DATA_TARGETS: Final = frozenset(
    {
        "datamodules.affectnet.AffectNetDataModule",
        "datamodules.affwild2_mtl.AffWild2ExpressionDataModule",
        "datamodules.affwild2_mtl.MTLDataModule",
        "datamodules.affwild2_uni.AffWild2UniDataModule",
        "features.datamodule.FeaturesDataModule",
        "datamodules.lsd.LSDDataModule",
        "datamodules.faces.FacesDataModule",
    }
)
"""What the node ``data`` may name."""

AUGMENTATION_TARGETS: Final = frozenset(
    {
        "datamodules.transforms.DANTransform",
        "datamodules.transforms.JitterAndCrop",
        "datamodules.transforms.MAETransform",
    }
)
"""What the node ``augmentation`` may name."""

RENDER_TARGETS: Final = frozenset({"rendering.cache.rendered"})
"""What the node ``render`` may name."""

CALLBACK_TARGETS: Final = frozenset(
    {
        "mae.grid.ReconstructionGrid",
        "pytorch_lightning.callbacks.EarlyStopping",
        "pytorch_lightning.callbacks.LearningRateMonitor",
        "pytorch_lightning.callbacks.ModelCheckpoint",
        "pytorch_lightning.callbacks.RichProgressBar",
        "pytorch_lightning.callbacks.TQDMProgressBar",
    }
)
"""What a node below ``callbacks`` may name."""

LOGGER_TARGETS: Final = frozenset(
    {
        "pytorch_lightning.loggers.CSVLogger",
        "pytorch_lightning.loggers.TensorBoardLogger",
        "pytorch_lightning.loggers.WandbLogger",
    }
)
"""What the node ``logger`` may name."""

TRAINER_TARGETS: Final = frozenset(
    {
        "pytorch_lightning.Trainer",
        "pytorch_lightning.strategies.DDPStrategy",
        "pytorch_lightning.strategies.FSDPStrategy",
        "runs.strategies.OwnBuffers",
    }
)
"""What the node ``trainer``, and its strategy, may name."""

TARGETS: Final = (
    MODEL_TARGETS
    | DATA_TARGETS
    | AUGMENTATION_TARGETS
    | RENDER_TARGETS
    | CALLBACK_TARGETS
    | LOGGER_TARGETS
    | TRAINER_TARGETS
)
"""What a configuration may name at all."""


OURS: Final = (
    "affect",
    "backbones",
    "baseline",
    "cotex",
    "dan",
    "datamodules",
    "emma",
    "emotieffnet",
    "mae",
    "rendering",
    "training",
)


DEPTH: Final = 32
"""How deep nodes may be nested; ours are less than ten deep, and one that holds itself has no end."""


def build(node: Mapping[str, Any], allowed: frozenset[str] = TARGETS, **extra: Any) -> Any:
    """Build what a node describes; nested nodes are built first.

    Args:
        node: plain containers with a ``_target_``.
        allowed: the targets that may be built.
        extra: further arguments, given as they are in place of those of the node.

    Raises:
        ConfigError: the node asks for anything outside ``allowed``, or for arguments that its target does not take.
        Exception: whatever the target itself raises.
    """
    check_targets(dict(node), allowed)
    return _built({key: value for key, value in node.items() if key not in extra}, extra)


def _built(node: Any, extra: Mapping[str, Any]) -> Any:
    """Build a checked node, or the nodes inside a container."""
    if isinstance(node, list | tuple):
        return [_built(item, {}) for item in node]
    if not isinstance(node, Mapping):
        return node
    made = {key: _built(value, {}) for key, value in node.items() if key != "_target_"}
    return _located(node["_target_"])(**made, **extra) if "_target_" in node else made


def _located(target: str) -> Any:
    """The class or function of a target that is in a list."""
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


def check_targets(plain: Any, allowed: frozenset[str], where: str = "the configuration") -> None:
    """Check every node that names a ``_target_`` against the list and the target's signature.

    Raises:
        ConfigError: with every error found.
    """
    errors = list(target_errors(plain, allowed))
    if errors:
        raise ConfigError(errors, where)


def target_errors(plain: Any, allowed: frozenset[str]) -> Iterator[str]:
    """What ``check_targets`` raises."""
    return _target_errors(plain, allowed, "", 0)


def _target_errors(node: Any, allowed: frozenset[str], prefix: str, depth: int) -> Iterator[str]:
    if depth > DEPTH:
        yield f"{prefix[:60]}…: nested more than {DEPTH} deep"
    elif isinstance(node, list | tuple):
        for index, item in enumerate(node):
            yield from _target_errors(item, allowed, f"{prefix}{index}.", depth + 1)
    elif isinstance(node, Mapping):
        for key, value in node.items():
            yield from _target_errors(value, allowed, f"{prefix}{key}.", depth + 1)
        yield from _own_errors(node, allowed, prefix)


def _own_errors(node: Mapping[Any, Any], allowed: frozenset[str], prefix: str) -> Iterator[str]:
    """The errors of a node itself: its special keys, its target, and the arguments for it."""
    special = [key for key in node if str(key).startswith("_") and str(key).endswith("_") and key != "_target_"]
    yield from (f"{prefix}{key}: there is no such key, only _target_" for key in special)
    if "_target_" not in node or special:
        return
    target = node["_target_"]
    if not isinstance(target, str) or target not in allowed:
        yield f"{prefix}_target_: {target} is not among the things that may be built here"
        return
    parameters, hints = signature(target)
    others = next((name for name, p in parameters.items() if p.kind is inspect.Parameter.VAR_KEYWORD), None)
    for key, value in node.items():
        if key == "_target_":
            continue
        if key not in parameters and others is None:
            yield f"unknown key {prefix}{key}: {target} does not take it; {suggest(str(key), list(parameters))}"
        else:
            yield from value_errors(value, hints.get(str(key if key in parameters else others), Any), f"{prefix}{key}")


def suggest(word: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown word: which known ones may be meant."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(known)[:40])}"


def signature(target: str) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    """Parameters and type hints of a listed target; ``**options`` of a class stands for those of its base class."""
    called = _located(target)
    if not inspect.isclass(called):
        return dict(inspect.signature(called).parameters), _hints(called)
    parameters: dict[str, inspect.Parameter] = {}
    hints: dict[str, Any] = {}
    for base in called.__mro__:
        if "__init__" not in base.__dict__:
            continue
        own = dict(list(inspect.signature(vars(base)["__init__"]).parameters.items())[1:])
        open_ended = [key for key, p in own.items() if p.kind is inspect.Parameter.VAR_KEYWORD]
        parameters = {**own, **parameters}
        hints = {**_hints(vars(base)["__init__"]), **hints}
        if not open_ended or not base.__module__.startswith(OURS):
            break
        for key in open_ended:
            parameters.pop(key)
    return parameters, hints


def _hints(function: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError:  # wandb's hints name things that it imports for type checkers only: its values go unchecked
        return {}
