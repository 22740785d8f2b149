"""Draw eyes, brows, nose, cheeks and the folds of the skin, moved by the action units as FACS describes them.

What each unit does to the face follows the appearance changes listed by Ekman, Friesen and Hager (Facial Action
Coding System, the manual, 2002); the amounts, in pixels of the 112 x 112 crop, are ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rendering.identity import OLD, Identity
from rendering.sketch import Array, Sketch
from rendering.units import Units

_LID: Final = np.linspace(-1.0, 1.0, 11)
_LID_ARCH: Final = (1.0 - _LID**2) ** 0.8
_CIRCLE: Final = np.stack([np.cos(np.linspace(0, 2 * np.pi, 14)), np.sin(np.linspace(0, 2 * np.pi, 14))], axis=1)
_BROW: Final = np.linspace(0.0, 1.0, 8)
_CURVE: Final = np.array([[(1 - t) ** 2, 2 * t * (1 - t), t**2] for t in np.linspace(0.0, 1.0, 7)])


def curve(start: tuple[float, float], bend: tuple[float, float], end: tuple[float, float], side: int = 1) -> Array:
    """Sample a quadratic Bézier curve at 7 points, (7, 2); ``side`` -1 mirrors it."""
    return np.asarray(_CURVE @ (np.array([start, bend, end]) * (side, 1)))


def band(xs: Array, upper: Array, lower: Array) -> Array:
    """Make the polygon between two curves over the same N abscissae, (2 N, 2)."""
    return np.column_stack([np.concatenate([xs, xs[::-1]]), np.concatenate([upper, lower[::-1]])])


def oval(x: float, y: float, rx: float, ry: float) -> Array:
    """Make an ellipse as a polygon, (14, 2)."""
    return _CIRCLE * (rx, ry) + (x, y)


def forehead(sketch: Sketch, person: Identity, units: Units) -> None:
    """Draw the furrows of AU1 (middle), AU2 (sides) and AU4 (between the brows)."""
    old = 0.22 * max(person.age - OLD, 0.0)
    top = person.brow_y
    inner = units.mean[1]
    for row, y in enumerate((top - 6.0, top - 9.6, top - 13.0)):
        rise = y - 2.0 * inner
        fade = 1.0 - 0.18 * row
        sketch.crease(curve((-11, rise + 0.8), (0, rise - 2.6 * inner), (11, rise + 0.8)), fade * (0.9 * inner + old))
        for side in (-1, 1):
            outer = units.side(side)[2]
            arch = curve((10, y - outer), (19, y - 4.5 * outer - 1.0), (28, y + 3.0 - 2 * outer), side)
            sketch.crease(arch, fade * (0.85 * outer + old))
    frown = units.mean[4]
    sketch.bump(oval(0, top + 2.5, 4.5, 5), 14 - 42 * frown, 0)
    for side in (-1, 1):
        own = units.side(side)[4]
        sketch.crease(
            curve((2.6, top - 3.5), (1.5, top + 1), (2.4, top + 5.5), side), 0.95 * own + 0.1 * person.age, 2.4
        )
        sketch.bump(oval(side * 15, top + 0.5 - 3 * units.side(side)[1], 12, 3.2), 22)


def brow(sketch: Sketch, person: Identity, units: Units, side: int) -> None:
    """Draw one brow: AU1 lifts its inner end, AU2 its outer end, AU4 draws it down and inwards."""
    a = units.side(side)
    inner = (1.0 - _BROW) ** 1.6
    outer = _BROW**1.1
    x = person.eye_x - 9.0 + 20.5 * _BROW - 3.2 * a[4] * (1.0 - 0.6 * _BROW)
    arch = (
        person.brow_arch * np.sin(np.pi * np.clip(_BROW * 1.05 - 0.1, 0, 1)) - person.brow_tilt * _BROW + 1.8 * _BROW**3
    )
    y = person.brow_y - arch + person.brow_tilt * 0.5
    y = (
        y
        - 6.2 * a[1] * inner
        - 5.6 * a[2] * outer
        + a[4] * (4.6 * inner + 1.6)
        + 1.8 * a[9] * inner
        + 0.7 * a[6] * outer
    )
    thickness = person.brow_thickness * (0.75 + 0.45 * np.sin(np.pi * _BROW**0.8) - 0.65 * _BROW**3)
    sketch.fill(band(side * x, y - thickness, y + 0.8 * thickness), person.brow_colour, 2.0)
    sketch.crease(curve((4.5, y[0] + 2.0), (4.2, 0.5), (6.0, 3.0), side), 0.3 * a[4] + 0.35 * a[9] + 0.08)


def eye(sketch: Sketch, person: Identity, units: Units, side: int, gaze: tuple[float, float], blink: float) -> None:
    """Draw one eye: AU5 raises the upper lid, AU7 tightens both, AU6 raises the lower lid and adds crow's feet."""
    a = units.side(side)
    x0, width = side * person.eye_x, person.eye_width
    squeeze = min(0.42 * a[6] + 0.72 * a[7], 1.0)
    upper = (
        person.eye_upper * (1.0 + 0.62 * a[5] - 0.3 * a[7] - 0.14 * a[4] - 0.16 * a[9] - 0.12 * a[6]) * (1.0 - blink)
    )
    lower = person.eye_lower * (1.0 - 0.95 * squeeze + 0.15 * a[5])
    upper = max(upper, 0.35 - lower * 0.2)
    xs = x0 + width * _LID
    tilt = -person.eye_tilt * side * _LID
    lid = tilt - upper * _LID_ARCH
    floor = tilt + lower * _LID_ARCH
    fold = lid - (person.crease + 0.8 - 0.8 * a[5] + upper * 0.12) * _LID_ARCH
    skin_dark = person.skin * (0.86, 0.86, 0.9)
    sketch.bump(oval(x0, -4.2, width + 2, 4.5), -34)
    sketch.bump(oval(x0, 0, width, 4.5), -4)
    sketch.fill(band(xs, fold, lid), skin_dark)
    sketch.crease(np.column_stack([xs, fold]), 0.5)
    if upper + lower > 0.9:
        _eyeball(sketch, person, (x0, xs, lid, floor), gaze)
    lash = 1.0 - 0.62 * person.lashes
    sketch.line(np.column_stack([xs, lid]), person.skin * max(lash * 0.7, 0.08), 2 + person.lashes)
    sketch.line(np.column_stack([xs, floor])[1:-1], person.skin * (0.62, 0.6, 0.7), 1.6)
    # the pouch under the lower lid: close to it and sharp for AU7, wide and lifted by the cheek for AU6
    near = np.column_stack([xs, floor + 1.7 + 0.6 * _LID_ARCH])[2:-1]
    sketch.crease(near, 0.7 * a[7] + 0.12 * person.age + 0.2 * a[6], 1.8)
    low = 8.6 - 3.0 * a[6]
    bag = curve((8.2, low - 4.2), (13.5, low + 2.6), (25.0, low - 3.4), side)
    sketch.crease(bag, 0.1 + 0.2 * person.age + 0.62 * a[6] + 0.1 * a[12], 2.2)
    outer = person.eye_x + width
    for drop, reach in ((-3.4, -5.4), (-0.4, -0.6), (2.6, 4.2)):
        line = np.array([[side * (outer + 1.8), 0.5 * drop], [side * (outer + 6.2), reach]])
        sketch.crease(line, 0.66 * a[6] + 0.25 * max(person.age - 0.6, 0.0), 1.6)


def _eyeball(
    sketch: Sketch, person: Identity, lids: tuple[float, Array, Array, Array], gaze: tuple[float, float]
) -> None:
    """Draw white, iris, pupil and glint, cut off by the lids (``lids``: centre x, xs, upper y, lower y)."""
    x0, xs, lid, floor = lids
    white = np.array([222.0, 228.0, 232.0])
    sketch.fill(band(xs, lid, floor), white)
    centre = np.array([x0 + gaze[0], -0.6 + gaze[1]])
    for radius, colour in (
        (person.iris_size, person.iris_colour * 0.55),
        (person.iris_size * 0.8, person.iris_colour),
        (person.iris_size * 0.42, np.array([12.0, 10.0, 10.0])),
    ):
        ring = _CIRCLE * radius + centre
        ring[:, 1] = np.clip(ring[:, 1], np.interp(ring[:, 0], xs, lid), np.interp(ring[:, 0], xs, floor))
        sketch.fill(ring, colour)
    glint = oval(centre[0] - 1.2, max(centre[1] - 1.4, float(lid.min()) + 0.9), 0.7, 0.7)
    sketch.fill(glint, np.array([250.0, 250.0, 250.0]))


def nose(sketch: Sketch, person: Identity, units: Units) -> None:
    """Draw the nose: AU9 wrinkles its root and lifts the wings, AU10 lifts the wings a little."""
    y, wide = person.nose_y, person.nose_width
    ridge = np.array(
        [[-2.6, -6.0], [2.6, -6.0], [3.4, y - 7], [wide * 0.7, y + 0.5], [-wide * 0.7, y + 0.5], [-3.4, y - 7]]
    )
    sketch.bump(ridge, 66)
    sketch.bump(oval(0, y - 1.5, 4.4, 4.2), 96)
    wrinkle = units.mean[9]
    for row in range(3):
        level = -3.0 + 3.0 * row
        sketch.crease(curve((-4.6, level + 1.0), (0, level - 1.2), (4.6, level + 1.0)), 0.95 * wrinkle, 2.0)
    for side in (-1, 1):
        a = units.side(side)
        lift = 2.6 * a[9] + 1.6 * a[10]
        flare = wide + 0.9 * a[10] + 0.8 * a[9] + 0.6 * a[12]
        wing_y = y - lift
        for row in range(2):
            x = side * (4.2 + 1.2 * row)
            sketch.crease(np.array([[x, 2.5 + 3 * row], [x + side * 4.5, 7.5 + 2.4 * row]]), 0.9 * a[9], 1.9)
        wing = curve((flare - 1.6, wing_y - 4.6), (flare + 1.8, wing_y - 1.6), (flare - 1.9, wing_y + 1.4), side)
        sketch.crease(wing, 0.62, 2.2)
        nostril = oval(side * 2.9, wing_y + 1.6, 1.75 + 0.3 * a[10] + 0.3 * a[9], 0.85 + 0.35 * a[9])
        sketch.fill(nostril, person.skin * (0.28, 0.26, 0.36), 4.0)
    sketch.line(curve((-2.0, y + 2.0), (0, y + 3.4), (2.0, y + 2.0)), person.skin * 0.72, 1.6, 4.0)


def cheeks(sketch: Sketch, person: Identity, units: Units) -> None:
    """Draw cheeks and nasolabial folds: AU6 and AU12 lift the cheek, AU10 and AU12 deepen the fold."""
    jaw = units.mean[26]
    for side in (-1, 1):
        a = units.side(side)
        bulge = 16 + 42 * a[6] + 26 * a[12]
        sketch.bump(oval(side * (20 + 1.5 * a[12]), 16 - 4.5 * a[6] - 1.5 * a[12], 9.0, 6.5), bulge)
        blush = person.skin * (0.96, 0.955, 1.01)
        sketch.fill(oval(side * 21.5, 16 - 3 * a[6], 8, 6), blush)
        top = (side * (person.nose_width + 1.8), person.nose_y - 1.5 - 3.2 * a[10] - 2.6 * a[9])
        end = (
            side * (person.mouth_width + 3.0 + 4.2 * a[12] + 2.5 * a[20]),
            person.mouth_y + 0.5 - 2.0 * a[12] + 3 * jaw,
        )
        bend = (side * (11.5 + 3.2 * a[12] + 2.6 * a[10]), 19.0 - 2.6 * a[10] - 1.0 * a[12])
        strength = 0.04 + 0.32 * person.age + 0.55 * a[12] + 0.62 * a[10] + 0.3 * a[9] + 0.12 * a[20]
        sketch.crease(curve(top, bend, end), strength, 2.4)
        if a[10] > 0.05:
            sketch.bump(oval(side * 10.5, person.nose_y + 0.5 - 2 * a[10], 3.2, 4.0), 58 * a[10])
            sketch.crease(
                curve((4.0, person.nose_y + 5), (7.5, person.nose_y + 3.2), (9.5, person.nose_y + 7), side),
                0.75 * a[10],
                2.0,
            )
