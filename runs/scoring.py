"""From a trained module to a prediction table, and from tables to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl

from affect.checksums import file_sha256
from affect.frames import Frames, warn_of_one_value
from affect.labels import UniTask
from evaluators.calibration import calibration_scores, reliability, reliability_panels
from evaluators.chance import chance, majority
from evaluators.comparison import interval_text
from evaluators.curve import curve, write_curve
from evaluators.faces import Pictures, write_faces
from evaluators.figures import apart, smoothing_curves
from evaluators.intervals import Estimate, estimate
from evaluators.names import LEARNT, MAIN, Scores
from evaluators.page.run import Scored, write_report
from evaluators.postprocess.chain import Processed, process
from evaluators.postprocess.crossing import cross_fitted
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.settings import STORED
from evaluators.postprocess.timeline import lists_pictures
from evaluators.postprocess.unseen import KNOWN, UNSEEN, label_means, unseen_note
from evaluators.predictions import merge_parts, score_table
from evaluators.report import NO_LABELS, Shown, format_main, format_table, score_text, write_scores
from evaluators.submission import write_submission, write_uni_submission
from evaluators.sums import sums
from evaluators.table import Table, read_table, write_table
from runs.callbacks import PredictionParts, parts_folder, predicting_speed
from runs.folds import fold_scores, spread, spread_lines
from runs.origin import origin_of, renderer_of, strangeness
from training.module import AffectModule, TrainedModule

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule, Split
    from datamodules.readers.folds import Dealt


def result_of(
    module: TrainedModule, data: FaceDataModule, settings: PostProcess, shown: Shown, *, faces: bool = True
) -> Callable[[pl.Trainer, Path, str, Path], None]:
    """Prepare what a training ends with: the scores of its validation table, or the losses of what predicts nothing.

    Args:
        module: that is to be trained; it gets the means of the training labels, and what it learns from.
        data: set up for training.
        settings: of the post-processing; errors that the lists or labels tell come now, before hours are spent.
        shown: which scores are printed.
        faces: whether pictures of the data may be shown.

    Returns:
        A function that makes, prints and writes the result, for every rank to call when the best weights are loaded.
        It takes the trainer, the run folder, the name of the experiment, and the checkpoint.
    """

    def report_losses(trainer: pl.Trainer, folder: Path, *_: Any) -> None:
        """Print and write the validation losses of the module as it is; ``FLAT_LOSS`` is what they stand beside."""
        (values,) = trainer.validate(module, datamodule=data, verbose=False)
        if trainer.is_global_zero:
            losses: Scores = {name.removeprefix("val/").upper(): float(value) for name, value in values.items()}
            write_scores(losses, folder / "scores.json")
            write_report(folder, losses)
            print(format_table(losses))
            print(f"run folder: {folder}")

    if not isinstance(module, AffectModule):
        return report_losses
    module.learnt_from = origin_of(data)
    module.label_means = label_means(data.frames("train"), data.train_rows, module.expressions)
    held = data.held
    for rows, labels in (("training", data.frames("train").select(data.train_rows)), (held, data.frames(held))):
        warn_of_one_value(rows, labels, module.scores.tasks)
    check_settings(settings, module, data, held)

    def report_table(trainer: pl.Trainer, folder: Path, experiment: str, best: Path) -> None:
        """Predict and score what was held back."""
        made = folder / "predictions"
        path = predict_table(trainer, module, data, split=held, folder=made, checkpoint=best, experiment=experiment)
        if trainer.is_global_zero:
            pictures = partial(data.pictures, held) if faces else None
            facts = predicting_speed(trainer)
            report(
                [read_table(path)], data.frames(held), folder, settings, split=held, pictures=pictures, shown=shown,
                facts=facts,
            )  # fmt: skip

    return report_table


def check_settings(
    settings: PostProcess, module: AffectModule, data: FaceDataModule, split: Split, *, submitted: bool = False
) -> None:
    """Check the settings of the post-processing against a split, before anything is predicted.

    Args:
        settings: of the post-processing.
        module: that will predict.
        data: whose list it is.
        split: which.
        submitted: whether a submission is made of it, which needs an answer for every row.

    Raises:
        UserError: the list lacks frame numbers that the smoothing needs, or rows would be left without an answer.
    """
    frames, tasks = data.frames(split), module.scores.tasks
    settings.check_list(frames)
    settings.check_unseen(
        frames, data.has_image(split), module.label_means, tasks, module.expressions, submitted=submitted
    )


def predict_table(
    trainer: pl.Trainer,
    module: AffectModule,
    data: FaceDataModule,
    *,
    split: Split,
    folder: Path,
    checkpoint: str | Path,
    **made_by: str | bool,
) -> Path:
    """Predict a split with the module as it is and write its tables; under DDP each rank predicts its share.

    Args:
        trainer: with ``Ranks`` among its callbacks, which waits until all processes have written their parts.
        module: with the weights to use.
        data: whose ``frames(split)`` lists the rows.
        split: which.
        folder: of the table.
        checkpoint: that the weights are of.
        made_by: what else the table says of its making, beside the split, the hashes of checkpoint and label files,
            the renderer and the means of the training labels.

    Returns:
        Path of the table that is scored, the same on every rank; it exists once rank 0 has returned. Others stand
        beside it as ``<split>-<name>.parquet``.
    """
    data.predict_split = split
    others = [one for one in trainer.callbacks if not isinstance(one, PredictionParts)]  # type: ignore[attr-defined]
    trainer.callbacks = [*others, PredictionParts(folder)]  # type: ignore[attr-defined]
    trainer.predict(module, datamodule=data, return_predictions=False)
    path = folder / f"{split}.parquet"
    if trainer.is_global_zero:
        if remark := strangeness(module.learnt_from, data):
            print(remark)
        metadata = {
            **made_by, "checkpoint": str(checkpoint), "checkpoint_sha256": file_sha256(checkpoint), "split": split,
            "renderer": renderer_of(data.root), KNOWN: module.label_means, LEARNT: module.learnt_from,
        }  # fmt: skip
        for name in module.tables:
            parts = parts_folder(folder, name)
            destination = folder / f"{split}-{name}.parquet" if name else path
            merge_parts(parts, data.frames(split), destination, metadata, world_size=trainer.world_size)
            if name:
                parts.rmdir()
    return path


_FLATTERS = "tuned on the labels that these scores are of, so they flatter"


def report(
    tables: Sequence[Table],
    frames: Frames,
    folder: Path,
    settings: PostProcess,
    *,
    split: str = "val",
    pictures: Pictures | None = None,
    curve_of: Sequence[int] | None = None,
    shown: Shown = "all",
    facts: Sequence[str] = (),
    dealt: Dealt | None = None,
) -> Processed:
    """Post-process and score tables, print the scores, and write what belongs to them into the run folder.

    That is ``scores.json``, ``report.html``; ``faces.png`` where there are images; ``predictions/<split>.parquet``
    where it is not there yet, ``<split>-postprocessed.parquet`` beside it where something has changed it, and
    ``<split>-cross-fitted.parquet`` where the scores are of that; ``postprocess.json`` where something was searched;
    ``curve.csv`` and ``curve.svg`` where a curve was asked for.

    Args:
        tables: one, or several to be blended.
        frames: the split's list with its labels.
        folder: the run folder.
        settings: of the post-processing.
        split: which it is.
        pictures: reads the split's images, where the data has any and they may be shown.
        curve_of: half-widths of a curve.
        shown: which scores are printed.
        facts: what else the first lines of the report say.
        dealt: of a pool of folds: the scores of each, their mean and their spread are told, too.

    Returns:
        What all rows together gave: with cross-fitting, not what was scored.
    """
    done = process(tables, frames, settings)
    scored = cross_fitted(done, tables, frames, settings)
    _write_tables(done, scored, folder / "predictions" / f"{split}.parquet")
    scores, beside = _scores(done, scored, frames)
    if done.found:
        both = {name: scores[name] for name in scores if name in MAIN} | beside
        done.store(folder / STORED, split, frames, both if beside else None)
    references = _references(scored, frames)
    own, reliable = _intervals(scored, frames), reliability(done.table, frames)
    calibrated = calibration_scores(done.table, frames, reliable)
    with_image = references.get("with an image")
    by_fold = {} if dealt is None else spread(fold_scores(scored, frames, dealt))
    notes = _notes(done, scored.tuned, settings, with_image, own, calibrated) | ({"folds": by_fold} if by_fold else {})
    write_scores(scores | beside, folder / "scores.json", notes)
    remark = f"{_FLATTERS}: {', '.join(scored.tuned)}" if scored.tuned else ""
    faces = None
    if pictures is not None:
        faces = write_faces(folder, done.table, frames, pictures, au_thresholds=done.au_thresholds, split=split)
    further, best_k = {"Reliability": reliability_panels(reliable)}, ""
    if curve_of:
        by_k, kind = curve(done, frames, curve_of, settings), settings.smoothing or "box"
        best_k = write_curve(folder, curve_of, by_k, kind)
        further["Scores against the smoothing"] = apart(smoothing_curves(curve_of, by_k["all"], kind))
    pages = Scored(scored.table, frames, scored.au_thresholds, pictures, further, facts, own)
    write_report(folder, scores, pages, references=references, remark=remark)
    told = [interval_text(own, _units(frames))] if own is not None else []
    told += [f"{name} {score_text(value)}" for name, value in beside.items()]
    print((format_main if shown == "main" else format_table)(scores, references), *told, sep="\n")
    shown_faces = f"faces, their labels and predictions: {faces}" if faces else ""
    lines = [*_remarks(done, calibrated, remark), spread_lines(by_fold), best_k, shown_faces]
    print(*filter(None, lines), f"run folder: {folder}", sep="\n")
    return done


def _write_tables(done: Processed, scored: Processed, path: Path) -> None:
    """Write what was blended, unless it is there; what else became of it; and what is scored, where that differs."""
    if not path.is_file():
        write_table(done.blended, path)
    if done.table is not done.blended:
        write_table(done.table, path.with_name(f"{path.stem}-postprocessed.parquet"))
    if scored.table is not done.table:
        write_table(scored.table, path.with_name(f"{path.stem}-cross-fitted.parquet"))


def _scores(done: Processed, scored: Processed, frames: Frames) -> tuple[Scores, Scores]:
    """Return the scores; and with cross-fitting, the main ones of what all rows together gave, named self_fitted/."""
    scores = score_table(scored.table, frames, au_thresholds=scored.au_thresholds)
    if scored is done:
        return scores, {}
    own = score_table(done.table, frames, au_thresholds=done.au_thresholds)
    return scores, {f"self_fitted/{name}": value for name, value in own.items() if name in MAIN}


def _references(done: Processed, frames: Frames) -> dict[str, Scores]:
    """Return the scores that stand beside: of guesses, and of the rows with an image where others were filled."""
    found = {guess.__name__: guess(frames, done.table.expressions) for guess in (chance, majority)}
    image = ~done.blended.null
    if np.any(~image & ~done.table.null):
        found["with an image"] = score_table(done.table, frames, au_thresholds=done.au_thresholds, only=image)
    return found


def _intervals(done: Processed, frames: Frames) -> Estimate | None:
    """Return the intervals of the main scores; None where no task has labels."""
    of_table = sums(done.table, frames, au_thresholds=done.au_thresholds)
    main = [name for name in of_table.names if name in MAIN]
    return estimate([of_table.only(main)]) if main else None


def _units(frames: Frames | Table) -> str:
    """Say what is resampled."""
    return "pictures" if lists_pictures(frames) else "videos"


def _remarks(done: Processed, calibrated: Mapping[str, float], remark: str) -> list[str]:
    """Return what is said below the scores: calibration, rows without an image, what flatters; some may be empty."""
    image, null = ~done.blended.null, done.table.null
    filled, without = int(np.sum(~image & ~null)), int(null.sum())
    return [
        *_calibration(done, calibrated),
        f"{filled} of {len(image)} rows have no readable image: filled in time, and scored" if filled else "",
        f"{without} of {len(image)} rows have no readable image: they are null and not scored" if without else "",
        unseen_note(done.table),
        remark,
    ]


def _calibration(done: Processed, calibrated: Mapping[str, float]) -> list[str]:
    """Return lines of the calibration where something was done for it, not unit by unit."""
    if not done.temperatures and done.table.bounds is None:
        return []
    values = {f"temperature of {task}": value for task, value in done.temperatures.items()}
    values |= {name: value for name, value in calibrated.items() if not name.startswith("ECE_AU") or name == "ECE_AU"}
    return [f"calibration: {name} {value:.4f}" for name, value in values.items()]


def _notes(
    done: Processed,
    tuned: Sequence[str],
    settings: PostProcess,
    with_image: Scores | None,
    own: Estimate | None,
    calibrated: Mapping[str, float],
) -> dict[str, Any]:
    """Return what scores.json says of its scores, beside them."""
    notes: dict[str, Any] = {}
    if settings != PostProcess(k=settings.k):
        notes["postprocess"] = {**asdict(settings), **done.found, "au_thresholds": list(done.au_thresholds)}
    if tuned:
        notes["tuned_on_these_labels"] = list(tuned)
    if UNSEEN in done.table.metadata:
        notes[UNSEEN] = done.table.metadata[UNSEEN]
    if with_image is not None:
        notes["with_an_image"] = {name: NO_LABELS if value is None else value for name, value in with_image.items()}
    if own is not None:
        ends = {name: [one.low, one.high] for name, one in own.intervals.items()} if own.units > 1 else {}
        notes["intervals"] = {"unit": _units(done.table), "units": own.units, **ends}
    if calibrated:
        notes["calibration"] = dict(calibrated)
    return notes


def submit(done: Processed, destination: str, task: UniTask | None = None, *, per_video: bool = False) -> None:
    """Write what was scored in the organisers' form, and say so.

    Args:
        done: what was scored.
        destination: a file, or a folder where ``per_video``.
        task: of a uni-task challenge; None: the model's challenge has its own form.
        per_video: a file for each video, as ABAW1 to 3 wanted it.
    """
    if task is None:
        write_submission(done.table, destination, au_thresholds=done.au_thresholds)
    else:
        write_uni_submission(done.table, destination, task, per_video=per_video, au_thresholds=done.au_thresholds)
    print(f"submission: {destination}")
