"""When a person shows an action unit or an expression: stretches of frames in the table of somebody's video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import FloatArray, IntArray
from affect.labels import ACTION_UNITS
from evaluators.found import Found
from evaluators.postprocess.thresholds import Thresholds, resolve_thresholds
from evaluators.table import Table


class Episode(NamedTuple):
    """A stretch of consecutive frames.

    Attributes:
        face_id: whose.
        unit: the action unit, ``AU12``; empty: it is an expression.
        name: of the unit or the expression.
        begin: time of its first frame, s.
        end: time of the frame after its last, s.
        mean: mean probability of its frames.
    """

    face_id: int
    unit: str
    name: str
    begin: float
    end: float
    mean: float


def check_times(table: Table, found: Found, export: str) -> None:
    """Check that a table is of one video whose frames have increasing times.

    Raises:
        UserError: it is not.
    """
    several = len(set(table.video))
    if several > 1:
        raise UserError(f"export={export} is for one video, and {table.source} is of {several} sources: take fex")
    _, times = frame_times(table, found)
    if np.isnan(times).any() or (np.diff(times) <= 0).any():
        raise UserError(
            f"export={export} needs the time of each frame, and those of {table.source} are not told or do not "
            "increase (a picture has none): take fex, or write the video anew: ffmpeg -i FILE OTHER.mp4"
        )


def frame_times(table: Table, found: Found) -> tuple[IntArray, NDArray[np.float64]]:
    """Return (F,) numbers of a video's frames, increasing, and (F,) times, s."""
    frames, first = np.unique(table.frame, return_index=True)
    return frames, found.timestamp[first]


def frame_ends(frames: IntArray, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (F,) until when each frame is shown, s: the next one's time, or as long as most where that is missing."""
    usual = float(np.median(np.diff(times) / np.diff(frames))) if len(frames) > 1 else 0.0
    following = np.append(times[1:], np.inf)
    lost = np.append(np.diff(frames) > 1, True)
    return np.where(lost, np.minimum(times + usual, following), following)


def episodes(table: Table, found: Found, *, thresholds: Thresholds, shortest: float) -> Iterator[Episode]:
    """Yield what each person shows, when.

    An action unit lasts as long as its probability reaches the threshold in consecutive frames of the person, an
    expression as long as it is the likeliest. A frame without the person, or without a prediction, ends both.

    Args:
        table: of one video with times (``check_times``).
        found: times, boxes and people of its rows.
        thresholds: of the action units.
        shortest: what is shorter, s, is left out.
    """
    frames, times = frame_times(table, found)
    begins = dict(zip(frames.tolist(), times.tolist(), strict=True))
    ends = dict(zip(frames.tolist(), frame_ends(frames, times).tolist(), strict=True))
    limits = np.array(resolve_thresholds(thresholds), dtype=np.float32)
    for person in sorted(set(found.face_id[found.face_id > 0].tolist())):
        rows = np.flatnonzero((found.face_id == person) & ~table.null)
        tracks: list[tuple[str, Sequence[str], NDArray[np.int64], FloatArray]] = []
        if "action_units" in table.tasks:
            said = table.predictions["action_units"][rows]
            for number, reached, column in zip(ACTION_UNITS, (said >= limits).T, said.T, strict=True):
                unit = f"AU{number:02d}"
                tracks.append((unit, (unit,), np.where(reached, 0, -1), column))
        if "expression" in table.tasks and len(rows):
            said = table.predictions["expression"][rows]
            tracks.append(("", table.expressions, said.argmax(axis=1), said.max(axis=1)))
        for unit, names, state, probability in tracks:
            for first, last in stretches(table.frame[rows], state):
                begin, end = begins[table.frame[rows[first]]], ends[table.frame[rows[last]]]
                if end - begin >= shortest - 1e-9:  # times are decimal, floats are not
                    mean = float(probability[first : last + 1].mean(dtype=np.float64))
                    yield Episode(person, unit, names[state[first]], begin, end, mean)


def stretches(frames: IntArray, state: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield first and last index of each stretch of consecutive frames in one state; those of state -1 are left out.

    Args:
        frames: (N,) numbers, increasing.
        state: (N,) what each frame shows.
    """
    if len(frames):
        breaks = np.flatnonzero((np.diff(frames) != 1) | (np.diff(state) != 0)) + 1
        for first, last in zip([0, *breaks.tolist()], [*(breaks - 1).tolist(), len(frames) - 1], strict=True):
            if state[first] >= 0:
                yield first, last
