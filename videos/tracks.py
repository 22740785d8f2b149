"""Follow the main person through a video, from the faces found in each frame.

Boxes of faces are (left, top, width, height), squares are (x and y of the centre, side), all in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

GAP: Final = 15
"""Number of frames without a face after which a track ends."""

STEP: Final = 0.5
"""Farthest that a face moves from one of its frames to the next, in sides of its square."""

RETURN: Final = 1.0
"""Farthest from its last place that a face may reappear after its track has ended, in sides."""

GROWTH: Final = 2.0
"""Largest factor by which a face grows or shrinks, in either case."""

SIGMA: Final = 2.0
"""Standard deviation of the smoothing over time, in frames; the window reaches three times as far."""

STILL: Final = 0.25
"""Squares that differ more from a frame's own, in sides or in the logarithm of their size, are not averaged with it."""


class Track:
    """One face through time: the numbers of its frames, increasing, and its square in each."""

    def __init__(self, frame: int, square: Array) -> None:
        self.frames = [frame]
        self.squares = [square]

    @property
    def area(self) -> float:
        """Sum of its squares' areas, px²: how large it is, and for how long."""
        return float(sum(square[2] ** 2 for square in self.squares))


def main_face(detections: Sequence[Array]) -> Array:
    """Choose the main person and follow it.

    Faces of consecutive frames are linked to tracks. The main track is the one with the largest sum of areas, so that
    neither a passing face nor a false detection in one frame can be it. Where it is lost for longer (behind a hand, out
    of the picture), tracks that begin or end near it, in place and size, continue it. A face elsewhere never replaces
    it, whether another person's or, after a cut, perhaps the same person's: people are not recognised.

    Args:
        detections: (N, 4 or more) boxes of the faces of each of T frames.

    Returns:
        (T, 3) square of the main face in each frame, NaN where it is not seen.
    """
    tracks = link([to_squares(boxes) for boxes in detections])
    squares = np.full((len(detections), 3), np.nan)
    if tracks:
        chosen: Track | None = max(tracks, key=lambda track: track.area)
        while chosen is not None:
            squares[chosen.frames] = chosen.squares
            tracks = [track for track in tracks if np.isnan(squares[track.frames]).all()]
            chosen = _continuation(squares, tracks)
    return squares


def to_squares(boxes: Array) -> Array:
    """Return the (N, 3) squares around the same centres as boxes, as large as their longer side.

    Args:
        boxes: (N, 4 or more) left, top, width and height; further columns are left out.
    """
    return np.column_stack((boxes[:, :2] + boxes[:, 2:4] / 2, boxes[:, 2:4].max(axis=1, initial=0)))


def link(faces: Sequence[Array]) -> list[Track]:
    """Link the (N, 3) faces of each frame to tracks: the nearest pairs first, at most one face a track and frame."""
    tracks: list[Track] = []
    alive: list[Track] = []
    for frame, squares in enumerate(faces):
        alive = [track for track in alive if frame - track.frames[-1] <= GAP]
        pairs = [(distance(track.squares[-1], square), t, s) for t, track in enumerate(alive)
                 for s, square in enumerate(squares)]  # fmt: skip
        free_tracks, free_squares = set(range(len(alive))), set(range(len(squares)))
        for away, t, s in sorted(pairs):
            if away <= STEP and t in free_tracks and s in free_squares:
                free_tracks.remove(t)
                free_squares.remove(s)
                alive[t].frames.append(frame)
                alive[t].squares.append(squares[s])
        begun = [Track(frame, squares[s]) for s in sorted(free_squares)]
        alive += begun
        tracks += begun
    return tracks


def smooth(squares: Array) -> Array:
    """Average squares over time, so that the crop does not tremble with the detector's pixels.

    The weights are Gaussian around each frame, so nothing lags behind; sides are averaged by their logarithm. A square
    that is far from the frame's own is left out: after a cut or in a fast movement the crop stays on the face.

    Args:
        squares: (T, 3), NaN where there is none.

    Returns:
        (T, 3), NaN in the same rows.
    """
    own = squares.copy()
    own[:, 2] = np.log(own[:, 2])
    reach = int(3 * SIGMA)
    padded = np.pad(own, ((reach, reach), (0, 0)), constant_values=np.nan)
    total, weights = np.zeros_like(own), np.zeros((len(own), 1))
    for offset in range(-reach, reach + 1):
        other = padded[reach + offset : reach + offset + len(own)]
        away = np.hypot(*(other - own)[:, :2].T) / squares[:, 2]
        near = (away <= STILL) & (np.abs(other[:, 2] - own[:, 2]) <= STILL)  # false where either is NaN
        weight = np.where(near, np.exp(-0.5 * (offset / SIGMA) ** 2), 0.0)[:, None]
        total += weight * np.nan_to_num(other)
        weights += weight
    averaged = np.divide(total, weights, out=np.full_like(total, np.nan), where=weights > 0)
    averaged[:, 2] = np.exp(averaged[:, 2])
    return averaged


def _continuation(squares: Array, tracks: Sequence[Track]) -> Track | None:
    """Return the track, of those without a frame in common, that takes up the main face after the shortest time."""
    seen = np.flatnonzero(~np.isnan(squares[:, 0]))
    best: tuple[int, float, Track] | None = None
    for track in tracks:
        for number, square in ((track.frames[0], track.squares[0]), (track.frames[-1], track.squares[-1])):
            after = int(np.searchsorted(seen, number))
            nearest = min(seen[max(after - 1, 0) : after + 1].tolist(), key=lambda frame: abs(frame - number))
            away = distance(squares[nearest], square)
            gap = abs(nearest - number)
            if away <= RETURN and (best is None or (gap, away) < best[:2]):
                best = gap, away, track
    return None if best is None else best[2]


def distance(one: Array, other: Array) -> float:
    """Measure how far apart two squares' centres are, in sides of the larger; infinite where their sizes do not fit."""
    large, small = max(one[2], other[2]), min(one[2], other[2])
    if large > GROWTH * small:
        return float("inf")
    return float(np.hypot(*(one - other)[:2]) / large)
