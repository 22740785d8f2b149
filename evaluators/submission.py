"""The files that the ABAW challenges take: one row per row of the official list, in its order."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np

from datamodules.labels import LSD_EXPRESSIONS
from evaluators.metrics import TASKS
from evaluators.missing import fill_nulls
from evaluators.table import Table, TableError, some_rows
from evaluators.thresholds import Thresholds, resolve_thresholds

HEADER: Final = "image,valence,arousal,expression,aus"
LSD_HEADER: Final = "image,expression"
"""The header of the ABAW multi-task lists and submissions; it has five names although rows have sixteen fields."""

log = logging.getLogger(__name__)


def write_submission(table: Table, destination: str | Path, *, au_thresholds: Thresholds = 0.5) -> int:
    """Write the submission of the challenge that the table's classes belong to.

    Multi-task challenge (ABAW3, 4, 7 and 11): each row is the image as the list has it, valence and arousal clipped to
    [-1, 1] with four decimals, the most probable expression as its number, and twelve 0/1 action units. Learning from
    synthetic data (ABAW4): the image and the number of the most probable of the six expressions. Duplicate rows stay.

    Args:
        table: predictions of all three tasks for the official list; null rows are filled by
            ``evaluators.missing.fill_nulls``.
        destination: the text file; it appears as a whole or not at all.
        au_thresholds: positive means ``probability >= threshold``.

    Returns:
        How many rows were filled; a warning in the log says it too.

    Raises:
        TableError: a task is missing, a video has no prediction at all, or an image of the synthetic-data challenge,
            whose images have no neighbours in time, has none.
    """
    if table.expressions == LSD_EXPRESSIONS:
        return _write_lsd(table, Path(destination))
    missing = [task for task in TASKS if task not in table.tasks]
    if missing:
        raise TableError(f"{table.source}: no predictions of {', '.join(missing)}, which the submission needs")
    table, filled = fill_nulls(table)
    if filled:
        log.warning("%d of %d rows had no readable image: filled from their neighbours in time", filled, len(table))
    affect = table.predictions["valence_arousal"].clip(-1, 1)
    expression = table.predictions["expression"].argmax(axis=1)
    units = table.predictions["action_units"] >= np.asarray(resolve_thresholds(au_thresholds), dtype=np.float32)
    rows = (
        f"{image},{valence:.4f},{arousal:.4f},{number},{','.join('01'[on] for on in active.tolist())}"
        for image, (valence, arousal), number, active in zip(table.image, affect, expression, units, strict=True)
    )
    _write(HEADER, rows, Path(destination))
    return filled


def _write_lsd(table: Table, path: Path) -> int:
    if table.null.any():
        raise TableError(
            f"{table.source}: no prediction of {some_rows(np.flatnonzero(table.null).tolist())}, and the submission "
            "needs a class for every image: replace the files and predict again"
        )
    classes = table.predictions["expression"].argmax(axis=1)
    _write(LSD_HEADER, (f"{image},{number}" for image, number in zip(table.image, classes, strict=True)), path)
    return 0


def _write(header: str, rows: Iterable[str], path: Path) -> None:
    """Write beside ``path`` and rename: the file appears as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.writing")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in chain([header], rows))
    os.replace(beside, path)
