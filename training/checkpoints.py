"""Self-contained checkpoints: the plain configuration inside rebuilds the module, and loading never runs code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from affect.errors import UserError
from affect.files import whole_file
from backbones.preprocessing import Preprocessing
from training.building import MODEL_TARGETS, build
from training.module import AffectModule, Module
from training.stored import check_plain, without_weights


class CheckpointError(UserError):
    """A checkpoint that cannot be read or does not fit."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a checkpoint of this framework with ``weights_only=True``.

    Raises:
        CheckpointError: no such file, a truncated or foreign file, or one that was not written by this framework.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: give checkpoint=<run folder>/checkpoints/best.ckpt")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint (truncated, or not plain tensors): {str(error).splitlines()[0]}"
        ) from error
    if not isinstance(checkpoint, dict) or "model_config" not in checkpoint or "state_dict" not in checkpoint:
        raise CheckpointError(
            f"{path} is not a checkpoint of this framework (it has no model_config): "
            "bare weight files go to model.….weights=, checkpoints come from <run folder>/checkpoints/"
        )
    return checkpoint


def load_module(path: Path) -> AffectModule:
    """Rebuilds the module that a checkpoint holds, with its weights.

    Args:
        path: a file written by a run of this framework.

    Raises:
        CheckpointError: as ``read_checkpoint``; or the file names things that may not be built, its weights do not
            fit its own configuration, or it predicts nothing (pre-training).
    """
    checkpoint = read_checkpoint(path)
    check_plain(checkpoint["model_config"], str(path))
    config = without_weights(checkpoint["model_config"])
    try:
        module: Module = build(config, MODEL_TARGETS)
    except Exception as error:  # a file of another making leads to whatever its values lead to
        raise CheckpointError(f"{path} asks for a model that this version cannot build: {error}") from error
    if not isinstance(module, AffectModule):
        raise CheckpointError(
            f"{path} is a {type(module).__name__}, which predicts nothing that could be scored: give the checkpoint of "
            "a run that started from its exported weights"
        )
    load_state(module, checkpoint, path)
    module.model_config = config
    return module


def load_state(module: Module, checkpoint: dict[str, Any], path: Path) -> None:
    """Puts a checkpoint's weights into a module of the same shape.

    Raises:
        CheckpointError: the weights belong to another model.
    """
    module.preprocessing = Preprocessing(**checkpoint["preprocessing"])
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:6]]
        raise CheckpointError(f"{path} holds another model than the one configured: {' '.join(lines)}") from error


def save_atomically(content: dict[str, Any], path: Path) -> None:
    """Writes beside the destination and renames, so that a kill leaves no half-written file."""
    with whole_file(path) as beside:
        torch.save(content, beside)
