"""Lay out a table's rows in time: every frame number of every video has a cell, whether it is listed or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from affect.errors import DataError
from affect.frames import Frames, IntArray, video_numbers
from evaluators.table import Table

LARGEST: Final = 50_000_000
"""Most cells that a timeline may have; the whole of Aff-Wild2 has three million frames."""


@dataclass(frozen=True, eq=False)
class Timeline:
    """The place of each row of a table in time.

    Videos follow one another, each from its first to its last listed frame number, with ``gap`` empty cells before,
    between and after them: a window of up to ``gap`` frames to either side never reaches another video.

    Attributes:
        cell: (N,) cell of each row; rows of the same frame share one.
        video: (cells,) number of the video of each cell, -1 in the gaps.
        gap: empty cells around each video.
    """

    cell: IntArray
    video: IntArray
    gap: int

    def __len__(self) -> int:
        return len(self.video)


def lay_out(table: Table, gap: int) -> Timeline:
    """Lay out a table.

    Args:
        table: a table of videos, whose frame numbers count frames; not empty.
        gap: cells between videos, at most as many as the longest video has frames.

    Raises:
        DataError: no row, or the list is of pictures, or its frame numbers are too far apart to count frames.
    """
    check_videos(table, table.source)
    video, frame = video_numbers(table.video), np.asarray(table.frame, dtype=np.int64)
    first = np.full(video.max() + 1, np.iinfo(np.int64).max)
    last = np.full(len(first), np.iinfo(np.int64).min)
    np.minimum.at(first, video, frame)
    np.maximum.at(last, video, frame)
    length = last - first + 1
    gap = min(gap, int(length.max()))
    cells = int(length.sum()) + gap * (len(length) + 1)
    if cells > LARGEST:
        raise DataError(
            f"{table.source}: its frame numbers span {cells} frames for {len(table)} rows; smoothing counts frames, so "
            "number them 1, 2, 3 … as the images of a video are"
        )
    start = np.cumsum(length + gap) - length
    of_cell = np.full(cells, -1, dtype=np.int64)
    for number, (begin, count) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
        of_cell[begin : begin + count] = number
    return Timeline(cell=(start - first)[video] + frame, video=of_cell, gap=gap)


def lists_pictures(frames: Frames | Table) -> bool:
    """Return whether the rows are single pictures, not frames of videos: their frame numbers are the row numbers."""
    return np.array_equal(frames.frame, np.arange(len(frames.frame)))


def check_videos(frames: Frames | Table, name: str) -> None:
    """Refuse a list of single pictures, whose neighbouring rows have nothing to do with each other.

    Args:
        frames: a table or a frame list.
        name: what to call it in the message.

    Raises:
        DataError: no row, or the frame numbers are the row numbers, as the lists of pictures have them.
    """
    if not len(frames.frame):
        raise DataError(f"{name}: no row, so there is nothing to smooth or to fill")
    if lists_pictures(frames):
        raise DataError(
            f"{name}: lists single pictures, not videos (its frame numbers are the row numbers), so there is no "
            "time to smooth or fill in: leave postprocess.smoothing and postprocess.missing out"
        )


def video_of_rows(frames: Frames | Table) -> IntArray:
    """Return (N,) numbers of the videos of the rows; of single pictures, each is taken for a video.

    What stands for the video of a picture may be its class folder, which says nothing of what belongs together.
    """
    return video_numbers(frames.image if lists_pictures(frames) else frames.video)
