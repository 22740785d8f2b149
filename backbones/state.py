"""Read state dicts without running code that the file may hold."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from affect.errors import WeightsError

_LISTED = 20
_CONTAINERS = ("model", "model_state_dict", "state_dict")
_NESTED = 4  # depth of containers inside one another


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict without running code that the file may hold.

    Args:
        path: a ``.safetensors`` file or one of ``torch.save``: a plain state dict, or one inside ``model``,
            ``model_state_dict`` or ``state_dict``, where Lightning's checkpoints have it. If every name begins with
            ``module.``, that is removed.

    Returns:
        Names and tensors, on the CPU, in the file's dtype.

    Raises:
        WeightsError: the file does not exist, is damaged or unsafe, has no state dict, or holds values that are not
            finite.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            _check_sizes(path)
            # the official MAE scripts store their command line as a Namespace, which only holds values
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise WeightsError(_unreadable(path, str(error))) from error
    state = _unwrap(path, content)
    check_finite(state, f"weights file {path}")
    return state


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Check that all weights are finite in float32, in which networks are trained.

    Args:
        state: names and tensors.
        source: name of the file, for the message.

    Raises:
        WeightsError: a tensor holds NaN, infinity, or a number too large for float32.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise WeightsError(
                f"{source}: {name} holds NaN or infinite values: the training that made it has diverged, or the file "
                "is damaged. Take another checkpoint, or fetch the file again"
            )


def _check_sizes(path: Path) -> None:
    """Refuse an archive whose entries are larger than the file: torch.save does not compress."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("its entries are larger than the file")


def _is_plain(tensor: object, size: int) -> bool:
    """Return whether this is a dense tensor on the CPU that fits into a file of ``size`` bytes."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_quantized or tensor.is_nested)
        and tensor.numel() * tensor.element_size() <= size
    )


def _unreadable(path: Path, reason: str) -> str:
    """Turn the reader's error into a message that says what to do."""
    found = re.search(r"GLOBAL (\S+)", reason)
    if found or "TorchScript" in reason:
        holds = found[1] if found else "a TorchScript program"
        other = " (EmotiEffNet: take the .onnx file of the same name, which needs no trust)" * holds.startswith("timm.")
        return (
            f"weights file {path}: refused, because it holds more than tensors ({holds}) and reading that could run "
            "code from the file. If you trust its source, convert it once: obj = torch.load(OLD, weights_only=False); "
            'torch.save(obj.state_dict(), NEW), or obj["model"] or obj["state_dict"] where obj is a dict; then give '
            "the new file"
            f"{other}"
        )
    cause = (reason.split("WeightsUnpickler error:")[-1].split() or ["empty file"])[:12]
    return (
        f"weights file {path}: not readable as a file of torch.save or safetensors ({' '.join(cause)}); it may be an "
        "unfinished download, an HTML page, a Git LFS pointer or another format: fetch it again or convert it"
    )


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    # ours holds the names of the module around a network, that of other code those of the network itself
    if isinstance(content, dict) and {"pytorch-lightning_version", "model_config"} <= content.keys():
        raise WeightsError(
            f"weights file {path}: this is a training checkpoint. Give it as checkpoint= to evaluate, ckpt_path= to "
            "resume or fork_from= to start a new run from it"
        )
    for _ in range(_NESTED):
        inner = [
            content[key] for key in _CONTAINERS if isinstance(content, dict) and isinstance(content.get(key), dict)
        ]
        content = inner[0] if inner else content
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        keys = f"its keys are {some(list(map(str, content)))}" if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"weights file {path}: no state dict in it, at its top or under {_CONTAINERS} ({keys})")
    if strange := [str(name) for name, tensor in content.items() if not _is_plain(tensor, path.stat().st_size)]:
        raise WeightsError(
            f"weights file {path}: sparse, quantized or nested tensors, or more values than the file can hold: "
            f"{some(strange)}. Save plain ones: tensor.to_dense().contiguous()"
        )
    prefix = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name).removeprefix(prefix): tensor for name, tensor in content.items()}


def some(names: list[str]) -> str:
    """Return the first names of a long list, and how many more there are."""
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
