"""Predictions for listed frames whose image is missing or unreadable, from their neighbours in the same video."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evaluators.table import Table, TableError, some_rows


def fill_nulls(table: Table) -> tuple[Table, int]:
    """Fill the null rows of a table.

    Valence and arousal (and nothing else) are interpolated linearly in the frame number between the neighbouring
    frames with a prediction; everything else, and every value before the first or after the last of them, is taken
    from the nearest such frame, the earlier of two equally near. Frame numbers count, not row distances: the lists of
    the multi-task challenge skip frames.

    Returns:
        The table without nulls (the same object if it has none) and how many rows were filled.

    Raises:
        TableError: a video has no prediction at all; there is nothing to fill its rows from.
    """
    null = table.null
    if not null.any():
        return table, 0
    videos = np.asarray(table.video, dtype=object)
    frame = np.asarray(table.frame)
    filled = {key: values.copy() for key, values in table.predictions.items()}
    for video in dict.fromkeys(videos[null]):
        rows = np.flatnonzero(videos == video)
        empty, known = rows[null[rows]], rows[~null[rows]]
        if not len(known):
            raise TableError(
                f"{table.source}: video {video!r} has no prediction at all ({some_rows(empty)}); none of its images "
                "could be read, so there is nothing to fill its rows from: provide its images and predict again"
            )
        times, first = np.unique(frame[known], return_index=True)  # a list may hold a frame twice
        known = known[first]
        nearest = known[_nearest(times, frame[empty])]
        for key, values in table.predictions.items():
            filled[key][empty] = values[nearest]
        if "valence_arousal" in filled:
            for column in range(2):
                of_known = table.predictions["valence_arousal"][known, column]
                filled["valence_arousal"][empty, column] = np.interp(frame[empty], times, of_known)
    return replace(table, predictions=filled), int(null.sum())


def _nearest(times: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each wanted time the index of the nearest in the sorted ``times``; the earlier one on a tie."""
    after = np.searchsorted(times, wanted).clip(max=len(times) - 1)
    before = (after - 1).clip(min=0)
    return np.where(np.abs(times[after] - wanted) < np.abs(wanted - times[before]), after, before)
