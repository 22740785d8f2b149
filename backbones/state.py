"""Reading state dicts without running what the file may hold."""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from affect.errors import UserError

_LISTED = 20
_CONTAINERS = ("model", "model_state_dict", "state_dict")


class WeightsError(UserError):
    """Weights that cannot be found, read safely, or fitted to the network. The message says what to do."""


def file_sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Reads a state dict without running anything that the file may hold.

    Args:
        path: ``.safetensors``, or anything that ``torch.save`` wrote: a plain state dict or one inside ``model``,
            ``model_state_dict`` or ``state_dict``. A ``module.`` before every name is taken off.

    Returns:
        Names and tensors, on the CPU, in the file's dtype.

    Raises:
        WeightsError: no such file, damaged, unsafe, or without a state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"weights file {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            # The official MAE scripts store their command line as a Namespace, which only holds values.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise WeightsError(_unreadable(path, str(error))) from error
    return _unwrap(path, content)


def _unreadable(path: Path, reason: str) -> str:
    """The reader's error in a sentence that says what to do."""
    found = re.search(r"GLOBAL (\S+)", reason)
    if found or "TorchScript" in reason:
        holds = found[1] if found else "a TorchScript program"
        other = " (EmotiEffNet: take the .onnx file of the same name, which needs no trust)" * holds.startswith("timm.")
        return (
            f"weights file {path}: refused, because it holds more than tensors ({holds}) and reading that could run "
            "code from the file. If you trust its source, convert it once: obj = torch.load(OLD, weights_only=False); "
            'torch.save(obj.state_dict(), NEW), or obj["model"] where obj is a dict; then give the new file'
            f"{other}"
        )
    cause = (reason.split("WeightsUnpickler error:")[-1].split() or ["empty file"])[:12]
    return (
        f"weights file {path}: not readable as a file of torch.save or safetensors ({' '.join(cause)}); it may be an "
        "unfinished download, an HTML page, a Git LFS pointer or another format: fetch it again or convert it"
    )


def _unwrap(path: Path, content: object) -> dict[str, Tensor]:
    if isinstance(content, dict) and "pytorch-lightning_version" in content:
        raise WeightsError(
            f"weights file {path}: this is a training checkpoint. Give it as checkpoint= to evaluate, ckpt_path= to "
            "resume or fork_from= to start a new run from it"
        )
    while isinstance(content, dict):
        inner = next((content[key] for key in _CONTAINERS if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        keys = f"its keys are {some(list(map(str, content)))}" if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"weights file {path}: no state dict in it, at its top or under {_CONTAINERS} ({keys})")
    prefix = "module." if all(str(name).startswith("module.") for name in content) else ""
    return {str(name).removeprefix(prefix): tensor for name, tensor in content.items()}


def some(names: list[str]) -> str:
    """The first names of a list that may be long, and how many more there are."""
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
