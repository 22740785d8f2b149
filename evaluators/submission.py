"""The file that the multi-task challenge takes: one row per row of the official list, in its order."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import numpy as np

from evaluators.metrics import TASKS
from evaluators.missing import fill_nulls
from evaluators.table import Table, TableError
from evaluators.thresholds import Thresholds, resolve_thresholds

HEADER: Final = "image,valence,arousal,expression,aus"
"""The header of the ABAW multi-task lists and submissions; it has five names although rows have sixteen fields."""

log = logging.getLogger(__name__)


def write_submission(table: Table, destination: str | Path, *, au_thresholds: Thresholds = 0.5) -> int:
    """Write the submission of the multi-task challenge (ABAW3, 4, 7 and 11).

    Each row is the image as the list has it, valence and arousal clipped to [-1, 1] with four decimals, the most
    probable expression as its number, and twelve 0/1 action units. Duplicate rows of the list stay.

    Args:
        table: predictions of all three tasks for the official list; null rows are filled by
            ``evaluators.missing.fill_nulls``.
        destination: the text file; it appears as a whole or not at all.
        au_thresholds: positive means ``probability >= threshold``.

    Returns:
        How many rows were filled; a warning in the log says it too.

    Raises:
        TableError: a task is missing, or a video has no prediction at all.
    """
    missing = [task for task in TASKS if task not in table.tasks]
    if missing:
        raise TableError(f"{table.source}: no predictions of {', '.join(missing)}, which the submission needs")
    table, filled = fill_nulls(table)
    if filled:
        log.warning("%d of %d rows had no readable image: filled from their neighbours in time", filled, len(table))
    affect = table.predictions["valence_arousal"].clip(-1, 1)
    expression = table.predictions["expression"].argmax(axis=1)
    units = table.predictions["action_units"] >= np.asarray(resolve_thresholds(au_thresholds), dtype=np.float32)
    path = Path(destination)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.writing")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{HEADER}\n")
        for image, (valence, arousal), number, active in zip(table.image, affect, expression, units, strict=True):
            file.write(f"{image},{valence:.4f},{arousal:.4f},{number},{','.join('01'[on] for on in active.tolist())}\n")
    os.replace(beside, path)
    return filled
