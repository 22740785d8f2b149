"""Reduce the table of somebody's video to what can be drawn of it over time: a lane for each person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import FloatArray, IntArray, video_numbers
from evaluators.episodes import frame_ends, frame_times
from evaluators.found import Found
from evaluators.table import Table

PEOPLE: Final = 200
"""People that have a lane at most, those who are seen in the most frames."""

THUMBNAILS: Final = 300
"""Small pictures of faces that a page has at most."""


@dataclass(frozen=True, eq=False)
class Lane:
    """What is drawn of one person: cells of some frames each, in which the face was seen.

    Attributes:
        face_id: whose.
        rows: (N,) rows of the table, N > 0.
        cell_of_row: (N,) the cell of each.
        cell: (C,) numbers of the cells, increasing.
        values: by task, (3, C, columns): least, mean and greatest value of each cell.
    """

    face_id: int
    rows: IntArray
    cell_of_row: IntArray
    cell: IntArray
    values: Mapping[str, FloatArray]


@dataclass(frozen=True, eq=False)
class Lanes:
    """The lanes of a table.

    Attributes:
        unit: what the axis counts: seconds, or frames where the video tells no times, or pictures, from 1.
        edges: (E + 1,) where each cell begins, and where the last one ends; increasing.
        width: frames, or pictures, in a cell.
        first: number of the first frame.
        names: of the first picture of each cell; empty for a video.
        lanes: of each person, by ``face_id``.
        left_out: how many people have no lane.
    """

    unit: Literal["s", "frame", "picture"]
    edges: NDArray[np.float64]
    width: int
    first: int
    names: Sequence[str]
    lanes: Sequence[Lane]
    left_out: int


def reduced(values: FloatArray, cell: IntArray) -> tuple[IntArray, FloatArray]:
    """Reduce rows to cells.

    Args:
        values: (N, columns), finite, N > 0.
        cell: (N,) the cell of each row, not decreasing.

    Returns:
        (C,) the cells that have rows, and (3, C, columns) least, mean and greatest value of each.
    """
    begins = np.flatnonzero(np.diff(cell, prepend=cell[0] - 1))
    counts = np.diff(np.append(begins, len(cell)))[:, None]
    least, most = (over.reduceat(values, begins, axis=0) for over in (np.minimum, np.maximum))
    mean = np.add.reduceat(values, begins, axis=0, dtype=np.float64) / counts
    return cell[begins], np.stack([least, mean, most]).astype(np.float32)


def to_lanes(table: Table, width: int = 1, most: int = PEOPLE) -> Lanes:
    """Sort a table's rows by person, and reduce each person's to cells.

    Args:
        table: of one video, or of pictures, as predict.py makes it.
        width: frames, or pictures, in a cell.
        most: people that are kept, those who are seen in the most frames.

    Raises:
        UserError: the table does not say whose its faces are, or is of several videos.
    """
    found, pictures = _found(table)
    place = video_numbers(table.video) if pictures else np.asarray(table.frame, dtype=np.int64)
    first = int(place[0])
    begins = np.arange(first, place[-1] + 1, width)
    names: list[str] = []
    unit, edges = _edges(table, found, np.append(begins, place[-1] + 1))
    if pictures:
        unit, edges = "picture", edges + 0.5
        names = [table.image[row] for row in np.searchsorted(place, begins).tolist()]
    seen = np.flatnonzero(found.success & ~table.null)
    seen = seen[np.argsort(found.face_id[seen], kind="stable")]
    people = np.split(seen, np.flatnonzero(np.diff(found.face_id[seen])) + 1) if len(seen) else []
    shown = sorted(sorted(people, key=len, reverse=True)[:most], key=lambda rows: int(found.face_id[rows[0]]))
    lanes = []
    for rows in shown:
        cells = (place[rows] - first) // width
        values, cell = {}, cells
        for task in table.tasks:
            cell, values[task] = reduced(table.predictions[task][rows], cells)
        lanes.append(Lane(int(found.face_id[rows[0]]), rows, cells, cell, values))
    return Lanes(unit, edges, width, first, names, lanes, len(people) - len(shown))  # type: ignore[arg-type]


def choose_faces(lanes: Lanes, most: int = THUMBNAILS) -> IntArray:
    """Choose rows whose faces are shown: some of each person, as many as there is more of it, evenly over its frames.

    Args:
        lanes: of the table.
        most: rows.

    Returns:
        Rows of the table, increasing.
    """
    people = sorted((lane.rows for lane in lanes.lanes), key=len, reverse=True)[:most]
    total = sum(map(len, people))
    chosen = [np.zeros(0, np.int64)]
    for rows in people:
        count = min(len(rows), 1 + (most - len(people)) * len(rows) // total)
        chosen.append(rows[((np.arange(count) + 0.5) * len(rows) / count).astype(np.int64)])
    return np.sort(np.concatenate(chosen))


def _found(table: Table) -> tuple[Found, bool]:
    """Return where a table's faces are, and whether it is of pictures."""
    found = table.found
    if found is None or not len(table):
        raise UserError(f"{table.source} does not say when and where its faces are: predict again with predict.py")
    pictures = bool(np.isnan(found.timestamp).all() and (np.asarray(table.frame) == 1).all())
    if not pictures and len(set(table.video)) > 1:
        raise UserError(f"{table.source} is of several videos: a timeline is of one")
    return found, pictures


def _edges(table: Table, found: Found, frames: IntArray) -> tuple[str, NDArray[np.float64]]:
    """Return when each of some frames begins, in seconds; or their numbers, where the video does not say."""
    known, times = frame_times(table, found)
    if len(known) < 2 or np.isnan(times).any() or (np.diff(times) <= 0).any():
        return "frame", frames.astype(np.float64)
    end = frame_ends(known, times)[-1]
    return "s", np.interp(frames, np.append(known, known[-1] + 1), np.append(times, end))
