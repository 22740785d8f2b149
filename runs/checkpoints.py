"""Self-contained checkpoints: the plain configuration inside rebuilds the module, and loading never runs code."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from packaging.version import InvalidVersion, Version
from torch import Tensor

from affect.archives import check_archive
from affect.errors import CheckpointError, ConfigError
from affect.files import whole_file
from affect.preprocessing import Preprocessing
from evaluators.names import LEARNT
from evaluators.postprocess.unseen import KNOWN, checked_means
from runs.building import build, without_weights
from runs.earlier import upgraded
from runs.plain import check_plain
from runs.stored_weights import read_stored
from training.module import AffectModule, TrainedModule

_PARTS: Final = {"model_config": dict, "state_dict": dict, "preprocessing": dict}
_RESUMED: Final = {
    "epoch": int,
    "global_step": int,
    "pytorch-lightning_version": str,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}


class WholeCheckpoints(TorchCheckpointIO):
    """Write Lightning's checkpoints beside their place and rename them, and read them as ``read_checkpoint`` does.

    Lightning's own plugin writes in the folder for temporary files and copies where that is another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Replace the file as a whole; whatever goes wrong leaves the former one as it was."""
        save_atomically(checkpoint, Path(path))

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint to resume from."""
        return read_checkpoint(Path(path), resume=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one file; never a folder."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, *, resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint of this framework, all of it compared with its checksums, with ``weights_only=True``.

    Args:
        path: the file.
        resume: whether it must hold what training goes on from, too.

    Raises:
        CheckpointError: no such file; a damaged or foreign one, one that was not written by this framework, or with
            weights that are not finite. Names the run's other checkpoint where that one is readable.
    """
    try:
        return _read(path, resume)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{other_checkpoint(path, resume=resume)}") from error


def other_checkpoint(path: Path, *, resume: bool) -> str:
    """Say which other checkpoint beside a broken one is readable; nothing where none is."""
    for other in (path.with_name("last.ckpt"), path.with_name("best.ckpt")):
        if other.name != path.name and other.is_file():
            with suppress(CheckpointError, OSError):
                _read(other, resume)
                return f". {other} is readable: give that one instead"
    return ""


def _read(path: Path, resume: bool) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: give checkpoint=<run folder>/checkpoints/best.ckpt")
    with path.open("rb") as file:
        try:
            check_archive(file)
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file raises whatever its bytes lead to
            raise CheckpointError(
                f"{path} is not a readable checkpoint (cut off, changed, or more than plain tensors): {reason(error)}"
            ) from error
    if not isinstance(checkpoint, dict) or "model_config" not in checkpoint or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{path} is not a checkpoint of this framework (it has no model_config): "
            "bare weight files go to model.….weights=, checkpoints come from <run folder>/checkpoints/"
        )
    for name, kind in (_PARTS | _RESUMED if resume else _PARTS).items():
        if not isinstance(checkpoint.get(name), kind):
            found = f"is of type {type(checkpoint[name]).__name__}" if name in checkpoint else "is missing"
            raise CheckpointError(f"{path} is not a whole checkpoint: its {name} {found}, but must be {kind.__name__}")
    try:
        Preprocessing(**checkpoint["preprocessing"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not say how images are prepared: preprocessing: {error}") from error
    if resume:
        try:
            Version(checkpoint["pytorch-lightning_version"])
        except InvalidVersion as error:
            raise CheckpointError(f"{path} does not say what wrote it: {error}") from error
    _check_weights(checkpoint["state_dict"], path)
    return checkpoint


def reason(error: Exception) -> str:
    """Return the first line of an error's message, or what kind of error it is where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _check_weights(state: Mapping[Any, Any], path: Path) -> None:
    """Check that all weights are finite, plain tensors; the CheckpointError names the first that is not."""
    for name, tensor in state.items():
        try:
            # one that is expanded from little memory could stand for any number of values
            plain = tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
            # a NaN is both the smallest and the largest value; seven times as fast as isfinite
            finite = not (plain and tensor.is_floating_point() and tensor.numel()) or all(
                bool(extreme.isfinite()) for extreme in tensor.aminmax()
            )
        except (AttributeError, RuntimeError, NotImplementedError):  # no tensor, or a sparse or quantised one
            plain = finite = False
        if not plain or not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(f"{path} has no plain tensor at state_dict.{name}: it was not written by train.py")
        if not finite:
            raise CheckpointError(
                f"{path}: the weights {name} are not finite: the training diverged, or the file was changed"
            )


def load_module(path: Path) -> AffectModule:
    """Rebuild the module that a checkpoint holds, with its weights.

    Args:
        path: a file written by a run of this framework, or by ``export.py to=safetensors``.

    Raises:
        CheckpointError: as ``read_checkpoint``; or the file names things that may not be built, its weights do not
            fit its own configuration, or it predicts nothing (pre-training).
    """
    checkpoint = read_stored(path) if path.suffix == ".safetensors" else read_checkpoint(path)
    check_plain(checkpoint["model_config"], str(path))
    config = without_weights(upgraded(checkpoint["model_config"]))
    try:
        module: TrainedModule = build(config, "model")
    except Exception as error:  # a file of another making leads to whatever its values lead to
        raise CheckpointError(f"{path} asks for a model that this version cannot build: {error}") from error
    if not isinstance(module, AffectModule):
        raise CheckpointError(
            f"{path} is a {type(module).__name__}, which predicts nothing that could be scored: give the checkpoint of "
            "a run that started from its exported weights"
        )
    restore_weights(module, checkpoint, path)
    module.model_config = config
    module.learnt_from = checkpoint.get(LEARNT, {})
    if not isinstance(module.learnt_from, dict):
        raise CheckpointError(f"{path}: its {LEARNT} is damaged")
    try:
        module.label_means = checked_means(checkpoint.get(KNOWN, {}), module.expressions)
    except ValueError as error:
        raise CheckpointError(f"{path}: its {KNOWN} are damaged: {error}") from error
    return module


def load_embedder(path: Path) -> Any:
    """Rebuild the network of a checkpoint, to make features with: a ``features.extraction.Embedder``.

    Args:
        path: a file written by a run of this framework.

    Raises:
        CheckpointError: it cannot be loaded; the message says why.
        ConfigError: its network gives no features.
    """
    module = load_module(path)
    network: Any = getattr(module, "network", None)
    if not hasattr(network, "embed"):
        raise ConfigError([f"checkpoint={path}: a {type(module).__name__} gives no features"])
    network.preprocessing = module.preprocessing  # that of the run; its network was rebuilt without its weights' file
    return network


def restore_weights(module: TrainedModule, checkpoint: dict[str, Any], path: Path) -> None:
    """Put a checkpoint's weights into a module of the same shape.

    Raises:
        CheckpointError: the weights belong to another model.
    """
    module.preprocessing = Preprocessing(**checkpoint["preprocessing"])
    state = checkpoint["state_dict"]
    for name, own in module.state_dict().items():
        if name in state and state[name].is_floating_point() != own.is_floating_point():
            raise CheckpointError(f"{path}: {name} is of type {state[name].dtype}, but must be {own.dtype}")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:6]]
        raise CheckpointError(f"{path} holds another model than the one configured: {' '.join(lines)}") from error


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Write a file of ``torch.save``, with its checksums, as a whole or not at all.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    with whole_file(path) as beside, beside.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's writer hides what the system said
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, OSError):
                cause = cause.__context__
            raise cause or error from None
