"""Process a table of people in time: each person by itself, and never across a long gap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from affect.frames import IntArray, video_numbers
from evaluators.table import Table


def stretches(table: Table, max_gap: int) -> IntArray:
    """Number the stretches of a table of people; one ends where the next face is more than ``max_gap`` frames later.

    Args:
        table: with ``found``, sorted by video, frame and face.
        max_gap: frames.

    Returns:
        (N,) from 0, in no order; −1 for rows without a face.
    """
    assert table.found is not None
    video, frame, person = video_numbers(table.video), np.asarray(table.frame), table.found.face_id
    rows = np.flatnonzero(table.found.success)
    rows = rows[np.lexsort((frame[rows], person[rows], video[rows]))]
    other: NDArray[np.bool_] = (np.diff(video[rows]) != 0) | (np.diff(person[rows]) != 0)
    begins = other | (np.diff(frame[rows]) > max_gap)
    numbers = np.full(len(table), -1, dtype=np.int64)
    numbers[rows] = np.cumsum(np.append(0, begins)[: len(rows)])
    return numbers


def by_person(table: Table, max_gap: int, process: Callable[[Table], Table]) -> Table:
    """Process the rows with a face as if each stretch of each person were a video; the others stay as they are.

    Args:
        table: with ``found``.
        max_gap: frames from one of the person's faces to the next over which windows still reach.
        process: makes a table of the same rows.
    """
    number = stretches(table, max_gap)
    rows = np.flatnonzero(number >= 0)
    if not len(rows):
        return table
    names = [str(one) for one in number[rows].tolist()]
    predictions = {key: values[rows] for key, values in table.predictions.items()}
    part = Table(
        names, np.asarray(table.frame)[rows], names, predictions, table.expressions, table.metadata, table.source
    )
    done = process(part)
    made = {}
    for key, values in done.predictions.items():
        made[key] = np.full((len(table), values.shape[1]), np.nan, dtype=np.float32)
        made[key][rows] = values
    return replace(table, predictions=made, metadata=done.metadata, source=done.source)
