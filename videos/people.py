"""Follow every face of a video, frame by frame, and tell people apart by ids that never pass from one to another.

A face is taken for that of a track by where it is and by how it looks. Whatever is uncertain becomes a new id: two
people who cross, a face that was hidden for long, a hard cut. People are not recognised when they come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from videos.decoding import Image
from videos.detector import Boxes
from videos.tracks import Array, distance, smooth, to_squares

HIDDEN: Final = 0.55
"""How long a face may be hidden, s, and keep its id: half a second, and the frame in which it is back."""

CROWDED: Final = 0.12
"""The same, s, where another face is near: the one that comes back could be that one."""

NEAR: Final = 1.2
"""Faces whose centres are less than this apart, in sides of the larger one, are near each other."""

PLACE: Final = 0.1
"""Standard deviation of a face's place around the expected one from one frame to the next, in sides."""

DRIFT: Final = 0.3
"""What is added to it for every second without the face, in sides."""

LOOK: Final = 0.025
"""Standard deviation of a face's look, as a share of the brightest colour; a sudden smile changes it by three."""

COVERED: Final = 9.0
"""Most that the look adds to the cost of a face which was there in the last frame, and comes out from behind another or
over the edge of the picture: then it changes at once."""

LOST: Final = 25.0
"""Cost from which a face is not that of a track: five standard deviations."""

CLEAR: Final = 9.0
"""How much more any other assignment must cost for one to be certain: three standard deviations."""

CUT: Final = 0.12
"""Mean difference of two frames, 0..1, from which there may be a cut between them."""

SUDDEN: Final = 4.0
"""A cut differs by this factor more than the frames before: a shaken camera is no cut."""

LEARN: Final = 0.4
"""Share of the newest look, and of the newest step, in what is expected."""

THUMB: Final = (32, 24)
"""Width and height of what is compared of two frames, px."""


@dataclass
class _Person:
    """A face that is followed: where and when it was last seen, how fast it moves (px/s), how it looks.

    ``whole`` tells whether it was ever seen with no other face near it and within the picture, ``seen`` how often.
    """

    face_id: int
    square: Array
    time: float
    look: Array
    speed: Array = field(default_factory=lambda: np.zeros(2))
    crowded: bool = False
    whole: bool = False
    seen: int = 1

    def expected(self, time: float) -> Array:
        """Return the square at which it should be: it moves on for as long as it was seen to."""
        ahead = min(time - self.time, HIDDEN)
        return np.append(self.square[:2] + self.speed * ahead, self.square[2])


class People:
    """Gives each face of a video's frames, which come one after the other, the id of its person, from 1 on."""

    def __init__(self) -> None:
        self._people: list[_Person] = []
        self._last = 0
        self._time = 0.0
        self._thumb: Array | None = None
        self._size = (0, 0)
        self._usual = 0.0

    def follow(self, image: Image, time: float, boxes: Boxes) -> list[int]:
        """Return the id of each face of the next frame.

        Args:
            image: (H, W, 3) uint8 BGR.
            time: of the frame, s, later than those before.
            boxes: (N, 5) faces, as a detector gives them.
        """
        if self._is_cut(image):
            self._people = []
        squares = to_squares(boxes)
        looks = [_look(image, square) for square in squares]
        self._forget(time, squares)
        crowded = [_near(square, np.delete(squares, face, 0)) for face, square in enumerate(squares)]
        covered = [one or _at_edge(square, image) for one, square in zip(crowded, squares, strict=True)]
        costs = np.full((len(self._people), len(squares)), np.inf)
        for person, one in enumerate(self._people):
            for face, square in enumerate(squares):
                place, look = _costs(one, square, looks[face], time)
                sudden = one.time == self._time and (covered[face] or one.crowded or not one.whole)
                if place + (min(look, COVERED) if sudden else look) < LOST:
                    costs[person, face] = place + look
        certain, given_up = _assign(costs)
        ids = [0] * len(squares)
        for person, face in certain:
            ids[face] = self._people[person].face_id
            _update(self._people[person], squares[face], looks[face], time, whole=not covered[face])
        self._people = [one for person, one in enumerate(self._people) if person not in given_up]
        for face, known in enumerate(ids):
            if not known:
                self._last += 1
                ids[face] = self._last
                self._people.append(_Person(self._last, squares[face], time, looks[face], whole=not covered[face]))
        self._time = time
        return ids

    def _forget(self, time: float, squares: Array) -> None:
        """Give up those who were not seen for too long, counting the faces that are near them now."""
        kept = []
        for one in self._people:
            place = one.expected(time)
            others = [other.expected(time) for other in self._people if other is not one]
            away = [square for square in squares if distance(place, square) > PLACE * 3]
            one.crowded = _near(place, [*others, *away])
            if time - one.time <= (CROWDED if one.crowded else HIDDEN):
                kept.append(one)
        self._people = kept

    def _is_cut(self, image: Image) -> bool:
        """Tell whether this frame shows another scene than the one before."""
        thumb = cv2.resize(image, THUMB, interpolation=cv2.INTER_AREA).astype(np.float64) / 255
        before, self._thumb = self._thumb, thumb
        size, self._size = self._size, (image.shape[0], image.shape[1])
        if before is None:
            return False
        change = float(np.abs(thumb - before).mean())
        cut = size != self._size or change > max(CUT, SUDDEN * self._usual)
        self._usual = 0.0 if cut else self._usual + LEARN * (change - self._usual)
        return cut


def steady(frames: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], boxes: Boxes) -> Array:
    """Return the squares to cut out, which do not tremble with the detector's pixels.

    Args:
        frames: (N,) frame number of each face, ascending.
        ids: (N,) its person.
        boxes: (N, 4 or more).

    Returns:
        (N, 3) x and y of the centre and side, px.
    """
    squares = to_squares(boxes)
    order = np.argsort(ids, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(ids[order])) + 1):
        if len(rows):
            line = np.full((frames[rows[-1]] - frames[rows[0]] + 1, 3), np.nan)
            line[frames[rows] - frames[rows[0]]] = squares[rows]
            squares[rows] = smooth(line)[frames[rows] - frames[rows[0]]]
    return squares


def _assign(costs: Array) -> tuple[list[tuple[int, int]], set[int]]:
    """Assign faces to people, the cheapest pairs first.

    Args:
        costs: (P, F) of each face being each person's; infinite where it cannot be.

    Returns:
        The pairs that are certain, and the people who are given up, because another assignment would do nearly as well.
    """
    people, faces = set(range(costs.shape[0])), set(range(costs.shape[1]))
    pairs: list[tuple[int, int]] = []
    for at in np.argsort(costs, axis=None, kind="stable"):
        person, face = (int(number) for number in np.unravel_index(at, costs.shape))
        if person in people and face in faces and costs[person, face] < np.inf:
            people.remove(person)
            faces.remove(face)
            pairs.append((person, face))
    doubtful: set[tuple[int, int]] = set()
    given_up: set[int] = set()
    for number, (person, face) in enumerate(pairs):
        enough = costs[person, face] + CLEAR
        rivals = {other for other in people if costs[other, face] < enough}
        given_up |= rivals
        if rivals or any(costs[person, other] < enough for other in faces):
            doubtful.add((person, face))
        for pair in pairs[:number]:
            if costs[person, pair[1]] + costs[pair[0], face] < enough + costs[pair]:
                doubtful |= {(person, face), pair}
    given_up |= {person for person, _ in doubtful}
    return [pair for pair in pairs if pair not in doubtful], given_up


def _costs(one: _Person, square: Array, look: Array, time: float) -> tuple[float, float]:
    """Return the squared standard deviations by which a face differs in place and in look from what is expected."""
    away = min(distance(one.expected(time), square), distance(one.square, square))
    spread = PLACE if one.seen > 2 else 2 * PLACE  # at first, the speed is not known
    place = away / (spread + DRIFT * (time - one.time))
    return place**2, float(np.mean((look - one.look) ** 2)) / LOOK**2


def _update(one: _Person, square: Array, look: Array, time: float, *, whole: bool) -> None:
    step = (square[:2] - one.square[:2]) / (time - one.time)
    one.speed += LEARN * (step - one.speed)
    # what covers a face must not become part of its look, unless that is all that is known of it
    one.look = one.look + (1.0 if not one.whole else LEARN * whole) * (look - one.look)
    one.square, one.time = square, time
    one.whole, one.seen = one.whole or whole, one.seen + 1


def _at_edge(square: Array, image: Image) -> bool:
    """Tell whether a face reaches over the edge of the picture, or nearly so."""
    reach = 0.55 * square[2]
    inside = reach <= square[0] <= image.shape[1] - reach and reach <= square[1] <= image.shape[0] - reach
    return not inside


def _near(square: Array, others: Sequence[Array] | Array) -> bool:
    """Tell whether any of other squares is near one, whatever their sizes."""
    return any(np.hypot(*(square - other)[:2]) < NEAR * max(square[2], other[2]) for other in others)


def _look(image: Image, square: Array) -> Array:
    """Return how the square of a face looks: (8, 8, 3) mean colours, 0..1."""
    height, width = image.shape[:2]
    left, top = (int(np.clip(square[axis] - square[2] / 2, 0, side - 1)) for axis, side in ((0, width), (1, height)))
    right, bottom = (int(np.clip(square[axis] + square[2] / 2, start + 1, side))
                     for axis, start, side in ((0, left, width), (1, top, height)))  # fmt: skip
    small = cv2.resize(image[top:bottom, left:right], (8, 8), interpolation=cv2.INTER_AREA)
    return small.astype(np.float64) / 255
