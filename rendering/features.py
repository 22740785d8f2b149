"""Eyes, brows, nose, mouth and the folds of the skin, moved by the action units as FACS describes them.

What each unit does to the face follows the appearance changes listed by Ekman, Friesen and Hager (Facial Action
Coding System, the manual, 2002); the amounts, in pixels of the 112 x 112 crop, are ours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rendering.identity import Identity
from rendering.sketch import Sketch
from rendering.units import Units

Array = NDArray[np.float64]

_LID: Final = np.linspace(-1.0, 1.0, 11)
_LID_ARCH: Final = (1.0 - _LID**2) ** 0.8
_CIRCLE: Final = np.stack([np.cos(np.linspace(0, 2 * np.pi, 14)), np.sin(np.linspace(0, 2 * np.pi, 14))], axis=1)
_LIPS: Final = np.linspace(-1.0, 1.0, 15)
_LIPS_ARCH: Final = (1.0 - _LIPS**2) ** 0.75
_LIPS_BOW: Final = (
    _LIPS_ARCH * (1.0 - 0.22 * np.exp(-((_LIPS / 0.16) ** 2))) * (1.0 + 0.12 * np.exp(-((_LIPS / 0.4) ** 2)))
)
_LIPS_BEND: Final = np.abs(_LIPS) ** 1.6
_LIPS_RIGHT: Final = 1.0 / (1.0 + np.exp(-6.0 * _LIPS))
_BROW: Final = np.linspace(0.0, 1.0, 8)
_CURVE: Final = np.array([[(1 - t) ** 2, 2 * t * (1 - t), t**2] for t in np.linspace(0.0, 1.0, 7)])


def curve(start: tuple[float, float], bend: tuple[float, float], end: tuple[float, float]) -> Array:
    """Quadratic Bezier curve through 7 points, (7, 2)."""
    return np.asarray(_CURVE @ np.array([start, bend, end]))


def oval(x: float, y: float, rx: float, ry: float) -> Array:
    """Ellipse as a polygon, (14, 2)."""
    return _CIRCLE * (rx, ry) + (x, y)


def crease(sketch: Sketch, person: Identity, points: Array, strength: float, width: float = 2.0) -> None:
    """Draw a fold of the skin: darker with its strength (0..1), nothing when it is faint."""
    if strength > 0.06:
        dark = 1.0 - np.array([0.5, 0.5, 0.42]) * min(strength, 1.0)
        sketch.line(points, person.skin * dark, width)


def forehead(sketch: Sketch, person: Identity, units: Units) -> None:
    """Furrows of AU1 (middle), AU2 (sides) and AU4 (between the brows)."""
    old = 0.22 * max(person.age - 0.45, 0.0)
    top = person.brow_y
    inner = units.mean[1]
    for row, y in enumerate((top - 6.0, top - 9.6, top - 13.0)):
        rise = y - 2.0 * inner
        fade = 1.0 - 0.18 * row
        crease(
            sketch,
            person,
            curve((-11, rise + 0.8), (0, rise - 2.6 * inner), (11, rise + 0.8)),
            fade * (0.9 * inner + old),
        )
        for side in (-1, 1):
            outer = units.side(side)[2]
            arch = curve((side * 10, y - outer), (side * 19, y - 4.5 * outer - 1.0), (side * 28, y + 3.0 - 2 * outer))
            crease(sketch, person, arch, fade * (0.85 * outer + old))
    frown = units.mean[4]
    sketch.bump(oval(0, top + 2.5, 4.5, 5), 14 - 42 * frown, 0)
    for side in (-1, 1):
        own = units.side(side)[4]
        crease(
            sketch,
            person,
            curve((side * 2.6, top - 3.5), (side * 1.5, top + 1), (side * 2.4, top + 5.5)),
            0.95 * own + 0.1 * person.age,
            2.4,
        )
        sketch.bump(oval(side * 15, top + 0.5 - 3 * units.side(side)[1], 12, 3.2), 22)


def brow(sketch: Sketch, person: Identity, units: Units, side: int) -> None:
    """One brow: AU1 lifts its inner end, AU2 its outer end, AU4 draws it down and together."""
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
    top = np.column_stack([side * x, y - thickness])
    bottom = np.column_stack([side * x, y + thickness * 0.8])[::-1]
    sketch.fill(np.concatenate([top, bottom]), person.brow_colour, 2.0)
    crease(
        sketch,
        person,
        curve((side * 4.5, y[0] + 2.0), (side * 4.2, 0.5), (side * 6.0, 3.0)),
        0.3 * a[4] + 0.35 * a[9] + 0.08,
    )


def eye(sketch: Sketch, person: Identity, units: Units, side: int, gaze: tuple[float, float], blink: float) -> None:
    """One eye: AU5 raises the upper lid, AU7 tightens both, AU6 raises cheek and lower lid, crow's feet beside it."""
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
    sketch.fill(np.concatenate([np.column_stack([xs, fold]), np.column_stack([xs, lid])[::-1]]), skin_dark)
    crease(sketch, person, np.column_stack([xs, fold]), 0.5)
    if upper + lower > 0.9:
        _eyeball(sketch, person, (x0, xs, lid, floor), gaze)
    lash = 1.0 - 0.62 * person.lashes
    sketch.line(np.column_stack([xs, lid]), person.skin * max(lash * 0.7, 0.08), 2 + person.lashes)
    sketch.line(np.column_stack([xs, floor])[1:-1], person.skin * (0.62, 0.6, 0.7), 1.6)
    # the pouch under the lower lid: close to it and sharp for AU7, wide and lifted by the cheek for AU6
    near = np.column_stack([xs, floor + 1.7 + 0.6 * _LID_ARCH])[2:-1]
    crease(sketch, person, near, 0.7 * a[7] + 0.12 * person.age + 0.2 * a[6], 1.8)
    low = 8.6 - 3.0 * a[6]
    bag = curve((side * 8.2, low - 4.2), (side * 13.5, low + 2.6), (side * 25.0, low - 3.4))
    crease(sketch, person, bag, 0.1 + 0.2 * person.age + 0.62 * a[6] + 0.1 * a[12], 2.2)
    outer = person.eye_x + width
    for drop, reach in ((-3.4, -5.4), (-0.4, -0.6), (2.6, 4.2)):
        line = np.array([[side * (outer + 1.8), 0.5 * drop], [side * (outer + 6.2), reach]])
        crease(sketch, person, line, 0.66 * a[6] + 0.25 * max(person.age - 0.6, 0.0), 1.6)


def _eyeball(
    sketch: Sketch, person: Identity, lids: tuple[float, Array, Array, Array], gaze: tuple[float, float]
) -> None:
    """White, iris, pupil and glint, cut off by the lids (``lids``: centre x, xs, upper y, lower y)."""
    x0, xs, lid, floor = lids
    white = np.array([222.0, 228.0, 232.0])
    sketch.fill(np.concatenate([np.column_stack([xs, lid]), np.column_stack([xs, floor])[::-1]]), white)
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
    """Nose: AU9 wrinkles its root and lifts the wings, AU10 lifts the wings a little."""
    y, wide = person.nose_y, person.nose_width
    ridge = np.array(
        [[-2.6, -6.0], [2.6, -6.0], [3.4, y - 7], [wide * 0.7, y + 0.5], [-wide * 0.7, y + 0.5], [-3.4, y - 7]]
    )
    sketch.bump(ridge, 66)
    sketch.bump(oval(0, y - 1.5, 4.4, 4.2), 96)
    wrinkle = units.mean[9]
    for row in range(3):
        level = -3.0 + 3.0 * row
        crease(sketch, person, curve((-4.6, level + 1.0), (0, level - 1.2), (4.6, level + 1.0)), 0.95 * wrinkle, 2.0)
    for side in (-1, 1):
        a = units.side(side)
        lift = 2.6 * a[9] + 1.6 * a[10]
        flare = wide + 0.9 * a[10] + 0.8 * a[9] + 0.6 * a[12]
        wing_y = y - lift
        for row in range(2):
            x = side * (4.2 + 1.2 * row)
            crease(sketch, person, np.array([[x, 2.5 + 3 * row], [x + side * 4.5, 7.5 + 2.4 * row]]), 0.9 * a[9], 1.9)
        wing = curve(
            (side * (flare - 1.6), wing_y - 4.6),
            (side * (flare + 1.8), wing_y - 1.6),
            (side * (flare - 1.9), wing_y + 1.4),
        )
        crease(sketch, person, wing, 0.62, 2.2)
        nostril = oval(side * 2.9, wing_y + 1.6, 1.75 + 0.3 * a[10] + 0.3 * a[9], 0.85 + 0.35 * a[9])
        sketch.fill(nostril, person.skin * (0.28, 0.26, 0.36), 4.0)
    sketch.line(curve((-2.0, y + 2.0), (0, y + 3.4), (2.0, y + 2.0)), person.skin * 0.72, 1.6, 4.0)


def cheeks(sketch: Sketch, person: Identity, units: Units) -> None:
    """Cheeks and the folds from nose to mouth: AU6 and AU12 lift the cheek, AU10 and AU12 deepen the fold."""
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
        crease(sketch, person, curve(top, bend, end), strength, 2.4)
        if a[10] > 0.05:
            sketch.bump(oval(side * 10.5, person.nose_y + 0.5 - 2 * a[10], 3.2, 4.0), 58 * a[10])
            crease(
                sketch,
                person,
                curve(
                    (side * 4.0, person.nose_y + 5), (side * 7.5, person.nose_y + 3.2), (side * 9.5, person.nose_y + 7)
                ),
                0.75 * a[10],
                2.0,
            )


def mouth(sketch: Sketch, person: Identity, units: Units) -> None:
    """Lips, teeth and the marks beside them: AU10, 12, 14, 15, 20, 23, 24, 25, 26."""
    at = {unit: units.across(unit, _LIPS_RIGHT) for unit in (10, 12, 14, 15, 20, 23, 24)}
    m = units.mean
    drop = 9.5 * m[26]
    half = person.mouth_width + 4.4 * at[12] + 3.8 * at[20] + 0.9 * at[14] - 3.4 * at[23] - 0.6 * at[24] - 2.6 * m[26]
    xs = half * _LIPS
    corner = -0.5 - 5.2 * at[12] + 4.8 * at[15] + 1.2 * at[20] - 0.6 * at[14] + 0.3 * drop
    rest = person.mouth_y + 0.9 * at[12] - 0.7 * at[15] - 0.8 * at[24] + corner * _LIPS_BEND
    opening = 4.6 * m[25] + drop
    taper = _LIPS_ARCH ** (1.0 - 0.45 * m[20] - 0.3 * m[26])
    seam_top = rest - (0.25 * opening * (1 - 0.5 * m[26]) + 2.3 * at[10]) * taper
    seam_bottom = rest + (0.75 * opening - 1.1 * at[10] * (1 - min(m[25] * 3, 1.0))) * taper
    seam_bottom = np.maximum(seam_bottom, seam_top)
    tight = 1.0 - 0.6 * at[23] - 0.78 * at[24]
    upper = person.lip_upper * tight * (1.0 - 0.28 * at[12] - 0.25 * at[20] - 0.1 * m[26])
    lower = person.lip_lower * tight * (1.0 - 0.15 * at[12] - 0.3 * at[20]) * (1.0 + 0.15 * at[15])
    top = seam_top - np.maximum(upper, 0.25) * _LIPS_BOW - 1.5 * at[10] * _LIPS_ARCH
    bottom = seam_bottom + np.maximum(lower, 0.25) * _LIPS_ARCH**0.8
    _lip_shadow(sketch, person, units, float(bottom[7]), float(top[7]))
    colour = person.lip_colour * (1.0 - 0.12 * m[24] - 0.08 * m[23])
    outline = np.concatenate([np.column_stack([xs, top]), np.column_stack([xs, bottom])[::-1]])
    sketch.fill(outline, colour, 2.5)
    upper_lip = np.concatenate([np.column_stack([xs, top]), np.column_stack([xs, seam_top])[::-1]])
    sketch.fill(upper_lip, colour * 0.86, 2.5)
    if float(seam_bottom[7] - seam_top[7]) > 0.6:
        _inside(sketch, units, xs, seam_top, seam_bottom)
    seam = colour * (0.42, 0.4, 0.5)
    sketch.line(np.column_stack([xs, seam_top]), seam, 2.0 + 1.4 * m[24], 2.5)
    if lower[7] > 1.4:
        gloss = np.column_stack([xs, seam_bottom + 0.45 * lower * _LIPS_ARCH])[4:-4]
        sketch.line(gloss, np.minimum(colour * 1.22 + 6, 255), 2, 2.5)
    for side, index in ((-1, 0), (1, -1)):
        _corner(sketch, person, units.side(side), side, (abs(float(xs[index])), float(seam_top[index])))


def _inside(sketch: Sketch, units: Units, xs: Array, top: Array, bottom: Array) -> None:
    """Cavity, tongue and teeth between the inner edges of the lips."""
    m = units.mean
    cavity = np.concatenate([np.column_stack([xs, top]), np.column_stack([xs, bottom])[::-1]])
    sketch.fill(cavity, np.array([26.0, 20.0, 52.0]), 0.0)
    if m[26] > 0.35:
        tongue = np.maximum(bottom - 4.5 * m[26], top)[3:-3]
        shape = np.concatenate([np.column_stack([xs[3:-3], tongue]), np.column_stack([xs, bottom])[3:-3][::-1]])
        sketch.fill(shape, np.array([82.0, 76.0, 158.0]), 0.0)
    show = min(0.42 + 0.5 * m[12] + 0.6 * m[10] + 0.3 * m[20], 1.0)
    edge = np.minimum(top + 3.8 * show * _LIPS_ARCH, bottom)[1:-1]
    teeth = np.concatenate([np.column_stack([xs[1:-1], top[1:-1]]), np.column_stack([xs[1:-1], edge])[::-1]])
    sketch.fill(teeth, np.array([212.0, 224.0, 228.0]), 0.0)
    if m[20] > 0.25:
        edge = np.maximum(bottom - 2.4 * m[20] * _LIPS_ARCH, top)[2:-2]
        row = np.concatenate([np.column_stack([xs[2:-2], edge]), np.column_stack([xs, bottom])[2:-2][::-1]])
        sketch.fill(row, np.array([192.0, 206.0, 212.0]), 0.0)


def _lip_shadow(sketch: Sketch, person: Identity, units: Units, below: float, above: float) -> None:
    """Relief around the lips: the hollow under them, the bulges that AU24 and AU23 press out, the philtrum."""
    m = units.mean
    press = max(m[24], 0.7 * m[23])
    sketch.bump(oval(0, 0.5 * (below + above), person.mouth_width + 2, 0.5 * (below - above) + 1.5), 20)
    sketch.bump(oval(0, below + 2.4, 7.0, 2.0), -34 + 10 * press)
    sketch.bump(oval(0, below + 8.5, 8, 4.5), 26)
    crease(
        sketch,
        person,
        curve((-6, below + 2.2), (0, below + 3.4), (6, below + 2.2)),
        0.18 + 0.5 * m[24] + 0.15 * m[15],
        2.2,
    )
    if press > 0.08:
        sketch.bump(oval(0, above - 2.2, 9, 2.2), 46 * press)
        sketch.bump(oval(0, below + 1.9, 9, 1.8), 46 * press)
    for x in (-7.0, -3.5, 3.5, 7.0):  # the fine lines of tightened lips
        crease(sketch, person, np.array([[x, above - 3.0], [0.82 * x, above - 0.2]]), 0.6 * m[23], 1.4)
        crease(sketch, person, np.array([[x, below + 2.6], [0.82 * x, below + 0.2]]), 0.5 * m[23], 1.4)
    crease(sketch, person, curve((-1.5, above - 5), (-1.2, above - 3), (-1.6, above - 1)), 0.14, 1.6)
    crease(sketch, person, curve((1.5, above - 5), (1.2, above - 3), (1.6, above - 1)), 0.14, 1.6)


def _corner(sketch: Sketch, person: Identity, a: dict[int, float], side: int, at: tuple[float, float]) -> None:
    """Marks at one corner of the mouth: dimple (AU14), drooping pouch (AU15), smile (AU12), stretch (AU20)."""
    x, y = at
    sketch.fill(oval(side * x, y, 0.9, 0.7), person.skin * (0.62, 0.6, 0.68), 2.0)
    crease(
        sketch,
        person,
        curve((side * (x + 2.2), y - 3.6), (side * (x + 3.6), y), (side * (x + 1.8), y + 3.6)),
        1.0 * a[14],
        3.0,
    )
    if a[14] > 0.1:
        sketch.bump(oval(side * (x + 5.5), y + 0.5, 2.6, 4.2), 48 * a[14])
    crease(
        sketch,
        person,
        curve((side * (x + 0.4), y), (side * (x + 2.2), y + 2.6), (side * (x + 1.0), y + 7.5)),
        0.9 * a[15],
        2.6,
    )
    crease(
        sketch,
        person,
        curve((side * x, y + 0.4), (side * (x + 2.0), y - 0.4), (side * (x + 2.6), y - 2.6)),
        0.7 * a[12],
        2.2,
    )
    crease(
        sketch,
        person,
        curve((side * (x + 2.4), y - 3.0), (side * (x + 4.6), y + 1.5), (side * (x + 3.0), y + 7.0)),
        0.75 * a[20],
        2.2,
    )
