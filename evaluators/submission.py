"""The submissions that the ABAW challenges take: one row per row of the official list, in its order."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from affect.errors import DataError
from affect.files import check_output, put_in_place, sync, whole_file
from affect.frames import rows_by_video
from affect.labels import (
    EXPRESSIONS,
    LIST_FIELD,
    LSD_EXPRESSIONS,
    LSD_HEADER,
    MTL_HEADER,
    TASKS,
    UNI_HEADERS,
    UNI_TASKS,
    UniTask,
)
from affect.names import below
from evaluators.postprocess.filling import fill_nulls
from evaluators.postprocess.thresholds import Thresholds, resolve_thresholds
from evaluators.postprocess.unseen import unseen_note
from evaluators.table import Table, some_rows

log = logging.getLogger(__name__)


def write_submission(table: Table, destination: str | Path, *, au_thresholds: Thresholds = 0.5) -> int:
    """Write the submission of the challenge that the table's classes belong to.

    Multi-task challenge (ABAW3, 4, 7 and 11): each row is the image as the list has it, valence and arousal clipped to
    [-1, 1] with four decimals, the most probable expression as its number, and twelve 0/1 action units. Learning from
    synthetic data (ABAW4): the image and the number of the most probable of the six expressions. Duplicate rows stay.

    Args:
        table: predictions of all three tasks for the official list; null rows are filled by
            ``evaluators.postprocess.filling.fill_nulls``.
        destination: the text file; it appears as a whole or not at all.
        au_thresholds: positive means ``probability >= threshold``.

    Returns:
        How many rows were filled; a warning in the log says it too.

    Raises:
        DataError: a task is missing; a video has no prediction at all, and nothing is known to stand in for it; or an
            image of the synthetic-data challenge, whose images have no neighbours in time, has none.
    """
    if table.expressions == LSD_EXPRESSIONS:
        return _write_lsd(table, Path(destination))
    filled, fields = _fields(table, TASKS, au_thresholds)
    rows = (",".join(row) for row in zip(table.image, *fields.values(), strict=True))
    _write(MTL_HEADER, rows, Path(destination))
    return filled


def write_uni_submission(
    table: Table,
    destination: str | Path,
    task: UniTask,
    *,
    per_video: bool = False,
    au_thresholds: Thresholds = 0.5,
) -> int:
    """Write the submission of a uni-task challenge, with values as in that of the multi-task challenge.

    Since ABAW5 it is one file, ``image_location,…`` and a row per row of the list. ABAW1 to 3 took a folder with one
    ``<video>.txt`` per video, with the header of the label files and a line per frame, from the first on.

    Args:
        table: predictions of the task for the official list; null rows are filled by
            ``evaluators.postprocess.filling.fill_nulls``.
        destination: the text file, or the folder, which must not hold anything; it appears as a whole or not at all.
        task: ``va``, ``expr`` or ``au``.
        per_video: write a folder with a file per video.
        au_thresholds: positive means ``probability >= threshold``.

    Returns:
        How many rows were filled; a warning in the log says it too.

    Raises:
        DataError: the task is missing or has other classes than the challenge; a video has no prediction at all, and
            nothing is known to stand in for it; a line per frame is asked for and a video's rows are not its frames
            1, 2, 3, …; or the folder is not empty.
    """
    filled, fields = _fields(table, [UNI_TASKS[task]], au_thresholds)
    (lines,) = fields.values()
    if per_video:
        _write_videos(table, UNI_HEADERS[task], lines, Path(destination))
    else:
        rows = (",".join(row) for row in zip(table.image, lines, strict=True))
        _write(f"{LIST_FIELD},{UNI_HEADERS[task]}", rows, Path(destination))
    return filled


def check_destination(destination: str | Path, *, per_video: bool = False) -> Path:
    """Check that a submission can be written to a place.

    Args:
        destination: the text file, or the folder.
        per_video: whether it is a folder with a file per video.

    Returns:
        The path with all links resolved.

    Raises:
        OutputError: a folder, a device or the like is where the file should be.
        DataError: something else than an empty folder is where the folder should be.
    """
    if not per_video:
        return check_output(Path(destination))
    folder = Path(destination).expanduser().resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problem = "not empty" if folder.is_dir() else "not a folder"
        raise DataError(f"{destination} is {problem}: give another folder for the submission's files")
    return folder


def _fields(table: Table, tasks: Sequence[str], au_thresholds: Thresholds) -> tuple[int, dict[str, list[str]]]:
    """Return how many rows were filled, and each row's comma-separated fields by task."""
    missing = [task for task in tasks if task not in table.tasks]
    if missing:
        raise DataError(f"{table.source}: no predictions of {', '.join(missing)}, which the submission needs")
    if "expression" in tasks and table.expressions != EXPRESSIONS:
        raise DataError(
            f"{table.source}: its expressions are {', '.join(table.expressions)}, but the challenge numbers "
            f"{', '.join(EXPRESSIONS)}; predict with a model of these classes"
        )
    table, filled = fill_nulls(table)
    if filled:
        log.warning("%d of %d rows had no readable image: filled from their neighbours in time", filled, len(table))
        if note := unseen_note(table):
            log.warning("%s", note)
    fields: dict[str, list[str]] = {}
    for task in tasks:
        values = table.predictions[task]
        if task == "valence_arousal":
            fields[task] = [f"{valence:.4f},{arousal:.4f}" for valence, arousal in values.clip(-1, 1).tolist()]
        elif task == "expression":
            fields[task] = [str(number) for number in values.argmax(axis=1).tolist()]
        else:
            active = values >= np.asarray(resolve_thresholds(au_thresholds), dtype=np.float32)
            fields[task] = [",".join("01"[on] for on in row) for row in active.tolist()]
    return filled, fields


def _write_videos(table: Table, header: str, lines: list[str], folder: Path) -> None:
    """Write a file per video into a new folder, which is renamed when it is complete."""
    folder = check_destination(folder, per_video=True)
    rows_of = rows_by_video(table.video)
    for video, rows in rows_of.items():
        frames = np.asarray(table.frame)[rows]
        wrong = np.flatnonzero(frames != np.arange(1, len(rows) + 1))
        if len(wrong):
            raise DataError(
                f"{table.source}: row {rows[wrong[0]]} is frame {frames[wrong[0]]} of {video} where frame "
                f"{wrong[0] + 1} is expected, and a file per video has a line for each frame from 1 on; write one file"
            )
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(beside, ignore_errors=True)
    path_of = {video: below(beside, f"{video}.txt") for video in rows_of}
    for video, rows in rows_of.items():
        _write(header, (lines[row] for row in rows), path_of[video])
    sync(beside)
    put_in_place(beside, folder)


def _write_lsd(table: Table, path: Path) -> int:
    if table.null.any():
        raise DataError(
            f"{table.source}: no prediction of {some_rows(np.flatnonzero(table.null).tolist())}, and the submission "
            "needs a class for every image: replace the files and predict again"
        )
    classes = table.predictions["expression"].argmax(axis=1)
    _write(LSD_HEADER, (f"{image},{number}" for image, number in zip(table.image, classes, strict=True)), path)
    return 0


def _write(header: str, rows: Iterable[str], path: Path) -> None:
    """Write header and rows: the file appears as a whole or not at all."""
    with whole_file(path) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in chain([header], rows))
