"""Fill the predictions of frames whose image is missing or unreadable from their neighbours in the same video."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from affect.frames import IntArray, video_numbers
from evaluators.postprocess.timeline import check_videos
from evaluators.postprocess.unseen import fill_unseen
from evaluators.table import Table

FILLS: Final = ("linear", "reversed")
"""Ways to fill a gap between two frames, as ``fill_nulls`` explains them."""


class Between(NamedTuple):
    """The known frames on both sides of each of M frames, as indices into K known frames of the same video.

    Attributes:
        before: (M,) index of the last known frame before it; equal to ``after`` where only one side has one.
        after: (M,) index of the first known frame not before it.
        share: (M,) float64 in [0, 1], how far it is on the way from one to the other; 0 where they are the same.
    """

    before: NDArray[np.intp]
    after: NDArray[np.intp]
    share: NDArray[np.float64]


def fill_nulls(table: Table, fill: str | None = None) -> tuple[Table, int]:
    """Fill the null rows of a table, in time.

    Frame numbers count, not row distances: the lists of the multi-task challenge skip frames. Before the first and
    after the last frame of a video with a prediction it is repeated. Between two of them, a and b, the frame j gets

    * ``linear``: everything interpolated, the weight of a being (b - j) / (b - a); probabilities stay probabilities;
    * ``reversed``: the weight of a is (j - a) / (b - a), as in the published EmotiEffNet notebooks of ABAW3 and ABAW5,
      whose author fixed it for ABAW6 (github.com/sb-ai-lab/EmotiEffLib);
    * None: valence and arousal interpolated, everything else from the nearer of the two, the earlier on a tie. This is
      what a submission does unless it is told otherwise.

    A video without any prediction gets the means of the training labels (``evaluators.postprocess.unseen``).

    Returns:
        The table without nulls (the same object if it has none) and how many rows were filled.

    Raises:
        DataError: a video has no prediction at all, and those means are not known; or ``fill`` is given and the list
            is of pictures.
    """
    count = int(table.null.sum())
    if fill is not None:
        check_videos(table, table.source)
    table = fill_unseen(table)
    null = table.null
    if not null.any():
        return table, count
    video, frame = video_numbers(table.video), np.asarray(table.frame, dtype=np.int64)
    known = known_rows(table, video)
    found = between(video[known], frame[known], video[null], frame[null])
    filled = {}
    for key, values in table.predictions.items():
        way = fill or ("linear" if key == "valence_arousal" else "nearest")
        filled[key] = values.copy()
        filled[key][null] = interpolate(values[known], found, way)
    return replace(table, predictions=filled), count


def known_rows(table: Table, video: IntArray) -> NDArray[np.intp]:
    """Return the rows with a prediction, by video and frame; of rows that list the same frame, the first.

    Args:
        table: a table, some of whose rows may be null.
        video: (N,) numbers of the videos, each of which has one.
    """
    rows = np.flatnonzero(~table.null)
    frame = np.asarray(table.frame)[rows]
    rows = rows[np.lexsort((frame, video[rows]))]  # stable: the first row of a frame stays the first
    video, frame = video[rows], np.asarray(table.frame)[rows]
    first: NDArray[np.bool_] = (np.diff(video, prepend=-1) != 0) | (np.diff(frame, prepend=-1) != 0)
    return rows[first]


def between(known_video: IntArray, known_frame: IntArray, video: IntArray, frame: IntArray) -> Between:
    """Find the known frames on both sides of each frame.

    Args:
        known_video: (K,) numbers of videos, ascending.
        known_frame: (K,) frame numbers, ascending within a video, none twice.
        video: (M,) numbers of the videos of the frames that are asked for; each has a known frame.
        frame: (M,) frame numbers that are asked for.
    """
    low = min(known_frame.min(), frame.min(initial=known_frame.max()))
    stride = max(known_frame.max(), frame.max(initial=0)) - low + 1
    after = np.searchsorted(known_video * stride + known_frame - low, video * stride + frame - low)
    before = (after - 1).clip(min=0)
    after = after.clip(max=len(known_video) - 1)
    after = np.where(known_video[after] == video, after, before)
    before = np.where((known_video[before] == video) & (known_frame[after] != frame), before, after)
    distance = known_frame[after] - known_frame[before]
    share = np.divide(frame - known_frame[before], distance, out=np.zeros(len(frame)), where=distance > 0)
    return Between(before, after, share)


def interpolate(values: NDArray[np.floating], found: Between, way: str) -> NDArray[np.float64]:
    """Interpolate (M, columns) between the known ``values`` (K, columns); ``way`` is in ``FILLS``, or ``nearest``."""
    weight = found.share[:, None]  # of the frame after
    if way == "nearest":
        weight = (weight > 0.5).astype(np.float64)
    elif way == "reversed":
        weight = 1 - weight
    first, second = values[found.before].astype(np.float64), values[found.after].astype(np.float64)
    # where both are one frame, its value as it is
    return np.where((found.before == found.after)[:, None], first, (1 - weight) * first + weight * second)
