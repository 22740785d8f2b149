"""From a trained module to a prediction table, and from tables to scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from evaluators.chance import chance, majority
from evaluators.metrics import Scores
from evaluators.predictions import merge_parts, read_table, score_table
from evaluators.report import format_table, write_report, write_scores
from evaluators.table import LabelledFrames
from evaluators.thresholds import Thresholds
from training.callbacks import parts_folder
from training.module import AffectModule, Module

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule, Split


def predict_table(
    trainer: pl.Trainer,
    module: AffectModule,
    datamodule: FaceDataModule,
    *,
    split: Split,
    folder: Path,
    metadata: dict[str, Any],
) -> Path:
    """Predicts a split with the module as it is and writes its tables; under DDP each rank predicts its share.

    Args:
        trainer: with ``PredictionParts(folder)`` among its callbacks.
        module: with the weights to use.
        datamodule: whose ``frames(split)`` lists the rows.
        split: ``val`` or ``test``.
        folder: of the table.
        metadata: what made the table; the split, the hashes of the label files and the renderer are added.

    Returns:
        Path of the table that is scored, the same on every rank; it exists once rank 0 has returned. Others stand
        beside it as ``<split>-<name>.parquet``.
    """
    datamodule.predict_split = split
    trainer.predict(module, datamodule=datamodule, return_predictions=False)
    trainer.strategy.barrier("predictions")
    path = folder / f"{split}.parquet"
    if trainer.is_global_zero:
        frames = datamodule.frames(split)
        made_by = {**metadata, "split": split, "renderer": _renderer(datamodule.root)}
        for name in module.tables:
            parts = parts_folder(folder, name)
            destination = folder / f"{split}-{name}.parquet" if name else path
            merge_parts(parts, frames, destination, made_by, world_size=trainer.world_size)
            if name:
                parts.rmdir()
    trainer.strategy.barrier("table")
    return path


def _renderer(roots: str | Sequence[str]) -> dict[str, Any] | None:
    """What drew the faces, where they are rendered: the renderer leaves its version and parameters beside them."""
    for root in [roots] if isinstance(roots, str) else roots:
        manifest = Path(root) / "rendering.json"
        if manifest.is_file():
            return dict(json.loads(manifest.read_text()))
    return None


def report(path: Path, frames: LabelledFrames, folder: Path, *, au_thresholds: Thresholds = 0.5) -> Scores:
    """Scores a table, prints them, and writes ``scores.json`` and ``report.html`` into the run folder.

    Args:
        path: the table.
        frames: the split's list with its labels.
        folder: the run folder.
        au_thresholds: of the action units.
    """
    table = read_table(path)
    scores = score_table(table, frames, au_thresholds=au_thresholds)
    write_scores(scores, folder / "scores.json")
    references = {guess.__name__: guess(frames, table.expressions) for guess in (chance, majority)}
    write_report(folder, frames=frames, split=path.stem, references=references)
    print(format_table(scores, references))
    if table.null.any():
        print(f"{int(table.null.sum())} of {len(table)} rows have no readable image: they are null and not scored")
    print(f"run folder: {folder}")
    return scores


def validate(trainer: pl.Trainer, module: Module, datamodule: FaceDataModule) -> Scores:
    """The validation losses of a module that predicts nothing, as it is; ``FLAT_LOSS`` is what it stands beside."""
    (values,) = trainer.validate(module, datamodule=datamodule, verbose=False)
    return {name.removeprefix("val/").upper(): float(value) for name, value in values.items()}


def report_losses(losses: Scores, folder: Path) -> None:
    """Prints validation losses and writes ``scores.json`` and ``report.html`` into the run folder."""
    write_scores(losses, folder / "scores.json")
    write_report(folder)
    print(format_table(losses))
    print(f"run folder: {folder}")
