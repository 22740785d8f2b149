"""Process a table of people in time: each person by itself, and never across a long gap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    rows = np.flatnonzero(table.found.success)
    who = video_numbers(table.video)[rows], table.found.face_id[rows]
    numbers = np.full(len(table), -1, dtype=np.int64)
    numbers[rows] = numbered(who, np.asarray(table.frame)[rows], max_gap)
    return numbers


def numbered(who: Sequence[IntArray], frame: IntArray, max_gap: int) -> IntArray:
    """Number the stretches of N faces, as ``stretches`` does.

    Args:
        who: (N,) columns, say video and person, that are all the same for one person.
        frame: (N,) frame numbers.
        max_gap: frames.

    Returns:
        (N,) from 0, in the order of the columns and then of the frames.
    """
    order = np.lexsort((frame, *reversed(who)))
    begins: NDArray[np.bool_] = np.diff(frame[order]) > max_gap
    for column in who:
        begins |= np.diff(column[order]) != 0
    numbers = np.empty(len(frame), dtype=np.int64)
    numbers[order] = np.cumsum(np.append(0, begins)[: len(order)])
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
