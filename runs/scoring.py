"""From a trained module to a prediction table, and from tables to scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from affect.frames import Frames
from evaluators.chance import chance, majority
from evaluators.curve import curve, write_curve
from evaluators.metrics import Scores
from evaluators.postprocess.chain import PostProcess, Processed, process
from evaluators.postprocess.settings import STORED
from evaluators.postprocess.unseen import KNOWN, UNSEEN, unseen_note
from evaluators.predictions import merge_parts, score_table
from evaluators.report import NO_LABELS, format_table, write_report, write_scores
from evaluators.table import Table, write_table
from runs.callbacks import parts_folder
from training.module import AffectModule, TrainedModule

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
        trainer: with ``PredictionParts(folder)`` among its callbacks, and ``Ranks``, which waits for all parts.
        module: with the weights to use.
        datamodule: whose ``frames(split)`` lists the rows.
        split: ``val`` or ``test``.
        folder: of the table.
        metadata: what made the table; the split, the hashes of the label files, the renderer and the means of the
            training labels are added.

    Returns:
        Path of the table that is scored, the same on every rank; it exists once rank 0 has returned. Others stand
        beside it as ``<split>-<name>.parquet``.
    """
    datamodule.predict_split = split
    trainer.predict(module, datamodule=datamodule, return_predictions=False)
    path = folder / f"{split}.parquet"
    if trainer.is_global_zero:
        frames = datamodule.frames(split)
        made_by = {**metadata, "split": split, "renderer": _renderer(datamodule.root), KNOWN: module.label_means}
        for name in module.tables:
            parts = parts_folder(folder, name)
            destination = folder / f"{split}-{name}.parquet" if name else path
            merge_parts(parts, frames, destination, made_by, world_size=trainer.world_size)
            if name:
                parts.rmdir()
    return path


def _renderer(roots: str | Sequence[str]) -> dict[str, Any] | None:
    """What drew the faces, where they are rendered: the renderer leaves its version and parameters beside them."""
    for root in [roots] if isinstance(roots, str) else roots:
        manifest = Path(root) / "rendering.json"
        if manifest.is_file():
            return dict(json.loads(manifest.read_text()))
    return None


def report(
    tables: Sequence[Table],
    frames: Frames,
    folder: Path,
    *,
    split: str = "val",
    settings: PostProcess | None = None,
    curve_of: Sequence[int] | None = None,
) -> Processed:
    """Post-processes and scores tables, prints the scores, and writes what belongs to them into the run folder.

    That is ``scores.json``, ``report.html``; ``predictions/<split>.parquet`` where it is not there yet, and
    ``<split>-postprocessed.parquet`` beside it where filling or smoothing has changed it; ``postprocess.json`` where
    something was searched; ``curve.csv`` and ``curve.svg`` where a curve was asked for.

    Args:
        tables: one, or several to be blended.
        frames: the split's list with its labels.
        folder: the run folder.
        split: which it is.
        settings: of the post-processing.
        curve_of: half-widths of a curve.

    Returns:
        What was scored.
    """
    settings = settings or PostProcess()
    done = process(tables, frames, settings)
    path = folder / "predictions" / f"{split}.parquet"
    if not path.is_file():
        write_table(done.blended, path)
    if done.table is not done.blended:
        path = path.with_name(f"{split}-postprocessed.parquet")
        write_table(done.table, path)
    if done.found:
        done.store(folder / STORED, split, frames)
    scores = score_table(done.table, frames, au_thresholds=done.au_thresholds)
    references = {guess.__name__: guess(frames, done.table.expressions) for guess in (chance, majority)}
    image = ~done.blended.null
    filled = not image.all() and not done.table.null.any()
    if filled:
        seen = score_table(done.table, frames, au_thresholds=done.au_thresholds, only=image)
        references = {**references, "with an image": seen}
    write_scores(scores, folder / "scores.json", _notes(done, settings, references.get("with an image")))
    remark = f"tuned on the labels that these scores are of, so they flatter: {', '.join(done.tuned)}"
    remark = remark if done.tuned else ""
    write_report(folder, frames=frames, split=path.stem, references=references, remark=remark)
    print(format_table(scores, references))
    if filled:
        print(f"{int((~image).sum())} of {len(image)} rows have no readable image: filled in time, and scored")
    elif not image.all():
        print(f"{int((~image).sum())} of {len(image)} rows have no readable image: they are null and not scored")
    if note := unseen_note(done.table):
        print(note)
    if remark:
        print(remark)
    if curve_of:
        pair = done.tables if settings.gate == "confidence" else ()
        print(_curve(done, frames, folder, settings, curve_of, pair))
    print(f"run folder: {folder}")
    return done


def _curve(
    done: Processed,
    frames: Frames,
    folder: Path,
    settings: PostProcess,
    ks: Sequence[int],
    pair: Sequence[Table],
) -> str:
    """Writes the curve of the blend, and of the pair that a gate smooths apart from it; lines to print."""
    kind = settings.smoothing or "box"
    scores = curve(
        done.blended,
        frames,
        ks,
        kind,
        missing=settings.missing,
        sigma=settings.sigma,
        au_thresholds=done.au_thresholds,
        pair=pair,
        confidence=settings.confidence,
    )
    return write_curve(folder, ks, scores, kind)


def _notes(done: Processed, settings: PostProcess, with_image: Scores | None) -> dict[str, Any]:
    """What scores.json says of its scores; nothing where nothing was done to the predictions."""
    notes: dict[str, Any] = {}
    if settings != PostProcess(k=settings.k):
        notes["postprocess"] = {**asdict(settings), **done.found, "au_thresholds": list(done.au_thresholds)}
    if done.tuned:
        notes["tuned_on_these_labels"] = list(done.tuned)
    if UNSEEN in done.table.metadata:
        notes[UNSEEN] = done.table.metadata[UNSEEN]
    if with_image is not None:
        notes["with_an_image"] = {name: NO_LABELS if value is None else value for name, value in with_image.items()}
    return notes


def validate(trainer: pl.Trainer, module: TrainedModule, datamodule: FaceDataModule) -> Scores:
    """The validation losses of a module that predicts nothing, as it is; ``FLAT_LOSS`` is what it stands beside."""
    (values,) = trainer.validate(module, datamodule=datamodule, verbose=False)
    return {name.removeprefix("val/").upper(): float(value) for name, value in values.items()}


def report_losses(losses: Scores, folder: Path) -> None:
    """Prints validation losses and writes ``scores.json`` and ``report.html`` into the run folder."""
    write_scores(losses, folder / "scores.json")
    write_report(folder)
    print(format_table(losses))
    print(f"run folder: {folder}")
