"""Draw strokes on a turned head: they are collected flat, turned and projected once, and painted anti-aliased.

The head is a 2.5D model. Every point has (x, y) on the face seen from the front; its depth is that of an ellipsoid at
(x, y) plus the stroke's own lift, so features slide over one another and over the outline as the head turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Colour = Array | tuple[float, float, float]

SIZE: Final = 112
"""Side of a finished face in pixels, as in ``cropped_aligned``."""

_CANVAS: Final = (
    2 * SIZE
)  # strokes are drawn at twice the size, then averaged: anti-aliasing also where strokes overlap
_RELIEF: Final = SIZE // 2  # shading is soft, half the size is enough
_SHIFT: Final = 4  # fractional bits of the canvas coordinates
_DEPTH: Final = 26.0
_PIVOT: Final = np.array([0.0, 16.0, _DEPTH])  # stays where it is when the head turns, as in an aligned crop
FLAT: Final = 90
"""Height of the face where nothing is raised or sunk, in grey levels of the relief."""


@dataclass(frozen=True)
class Pose:
    """How the head is turned and where the crop put it.

    Attributes:
        yaw: turn to the image's right, radians.
        pitch: nod downwards, radians.
        roll: tilt clockwise, radians.
        shift: (x, y) pixels away from the crop's usual place.
        scale: size relative to the usual one.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0

    def project(self, points: Array) -> Array:
        """Turn and project points.

        Args:
            points: (N, 3) head coordinates.

        Returns:
            (N, 2) pixels of the 112 x 112 crop.
        """
        cy, sy, cp, sp = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        turned = (points - _PIVOT) @ (roll @ pitch @ yaw).T
        near = 1.1 * self.scale / (1.0 - turned[:, 2] / 420.0)  # a camera some four head widths away
        centre = np.array([SIZE / 2 + self.shift[0], 44.5 + _PIVOT[1] + self.shift[1]])
        return np.asarray(turned[:, :2] * near[:, None] + centre)


@dataclass
class Painting:
    """The painted strokes.

    Attributes:
        colour: (112, 112, 3) uint8 BGR, unlit.
        mask: (112, 112) uint8, 255 where the head and the body are.
        relief: (56, 56) uint8 heights of the face.
    """

    colour: Image
    mask: Image
    relief: Image


class Sketch:
    """Strokes in drawing order; nothing is drawn before ``paint``.

    Args:
        skin: (3,) BGR colour of the skin.
        folds: factor of the strength of its folds.
    """

    def __init__(self, skin: Array, folds: float = 1.0) -> None:
        self._skin, self._folds = skin, folds
        self._points: list[Array] = []
        self._lifts: list[float] = []
        self._strokes: list[tuple[str, tuple[float, float, float], int]] = []

    def _add(self, kind: str, points: Array, colour: Colour, width: int, lift: float) -> None:
        self._points.append(points)
        self._lifts.append(lift)
        self._strokes.append((kind, (float(colour[0]), float(colour[1]), float(colour[2])), width))

    def fill(self, points: Array, colour: Colour, lift: float = 0.0) -> None:
        """Fill the polygon ``points`` (N, 2)."""
        self._add("fill", points, colour, 0, lift)

    def body(self, points: Array, colour: Colour, lift: float = 0.0) -> None:
        """Fill a polygon that belongs to the head's outline (it is lit, the background is not)."""
        self._add("body", points, colour, 0, lift)

    def line(self, points: Array, colour: Colour, width: float, lift: float = 0.0) -> None:
        """Draw the curve ``points`` (N, 2), ``width`` in half pixels of the finished face."""
        self._add("line", points, colour, max(1, round(width)), lift)

    def crease(self, points: Array, strength: float, width: float = 2.0) -> None:
        """Draw a fold of the skin: darker with its strength (0..1), nothing when it is faint."""
        strength *= self._folds
        if strength > 0.06:
            dark = 1.0 - np.array([0.5, 0.5, 0.42]) * min(strength, 1.0)
            self.line(points, self._skin * dark, width)

    def bump(self, points: Array, level: float, lift: float = 0.0) -> None:
        """Raise (or sink) the relief inside the polygon to ``FLAT + level``."""
        self._add("bump", points, (min(max(FLAT + level, 0.0), 255.0), 0.0, 0.0), 0, lift)

    def paint(self, canvas: Image, pose: Pose) -> Painting:
        """Turn, project and draw all strokes.

        Args:
            canvas: (224, 224, 3) uint8 BGR background, drawn upon.
            pose: how the head is turned.

        Returns:
            The finished, unlit drawing at 112 x 112.
        """
        flat = np.concatenate(self._points)
        sizes = [len(points) for points in self._points]
        depth = np.sqrt(np.maximum(1.0 - (flat[:, 0] / 42.0) ** 2 - ((flat[:, 1] - 8.0) / 64.0) ** 2, 0.0))
        lifted = _DEPTH * depth + np.repeat(self._lifts, sizes)
        pixels = pose.project(np.column_stack([flat, lifted]))
        fixed = np.rint((pixels * (_CANVAS / SIZE)) * (1 << _SHIFT)).astype(np.int32)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        relief = np.full((_RELIEF, _RELIEF), FLAT, np.uint8)
        start = 0
        for size, (kind, colour, width) in zip(sizes, self._strokes, strict=True):
            points = fixed[start : start + size]
            start += size
            if kind == "line":
                cv2.polylines(canvas, [points], False, colour, width, cv2.LINE_AA, _SHIFT)
            elif kind == "bump":
                cv2.fillPoly(relief, [points], colour[:1], cv2.LINE_AA, _SHIFT + 2)
            else:
                cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA, _SHIFT)
                if kind == "body":
                    cv2.fillPoly(mask, [points], (255.0,), cv2.LINE_AA, _SHIFT + 1)
        colour_image = cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        return Painting(np.asarray(colour_image, np.uint8), mask, relief)
