"""Draw lips, teeth and the marks beside them, moved by the action units as FACS describes them."""

from __future__ import annotations

from typing import Final

import numpy as np

from rendering.features import band, curve, oval
from rendering.identity import Identity
from rendering.sketch import Array, Sketch
from rendering.units import Units

_LIPS: Final = np.linspace(-1.0, 1.0, 15)
_LIPS_ARCH: Final = (1.0 - _LIPS**2) ** 0.75
_LIPS_BOW: Final = (
    _LIPS_ARCH * (1.0 - 0.22 * np.exp(-((_LIPS / 0.16) ** 2))) * (1.0 + 0.12 * np.exp(-((_LIPS / 0.4) ** 2)))
)
_LIPS_BEND: Final = np.abs(_LIPS) ** 1.6
_LIPS_RIGHT: Final = 1.0 / (1.0 + np.exp(-6.0 * _LIPS))


def mouth(sketch: Sketch, person: Identity, units: Units) -> None:
    """Draw lips, teeth and the marks beside them: AU10, 12, 14, 15, 20, 23, 24, 25, 26."""
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
    outline = band(xs, top, bottom)
    sketch.fill(outline, colour, 2.5)
    upper_lip = band(xs, top, seam_top)
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
    """Draw cavity, tongue and teeth between the inner edges of the lips."""
    m = units.mean
    cavity = band(xs, top, bottom)
    sketch.fill(cavity, np.array([26.0, 20.0, 52.0]), 0.0)
    if m[26] > 0.35:
        tongue = np.maximum(bottom - 4.5 * m[26], top)[3:-3]
        shape = band(xs[3:-3], tongue, bottom[3:-3])
        sketch.fill(shape, np.array([82.0, 76.0, 158.0]), 0.0)
    show = min(0.42 + 0.5 * m[12] + 0.6 * m[10] + 0.3 * m[20], 1.0)
    edge = np.minimum(top + 3.8 * show * _LIPS_ARCH, bottom)[1:-1]
    teeth = band(xs[1:-1], top[1:-1], edge)
    sketch.fill(teeth, np.array([212.0, 224.0, 228.0]), 0.0)
    if m[20] > 0.25:
        edge = np.maximum(bottom - 2.4 * m[20] * _LIPS_ARCH, top)[2:-2]
        row = band(xs[2:-2], edge, bottom[2:-2])
        sketch.fill(row, np.array([192.0, 206.0, 212.0]), 0.0)


def _lip_shadow(sketch: Sketch, person: Identity, units: Units, below: float, above: float) -> None:
    """Draw the relief around the lips: the hollow under them, the bulges of AU24 and AU23, the philtrum."""
    m = units.mean
    press = max(m[24], 0.7 * m[23])
    sketch.bump(oval(0, 0.5 * (below + above), person.mouth_width + 2, 0.5 * (below - above) + 1.5), 20)
    sketch.bump(oval(0, below + 2.4, 7.0, 2.0), -34 + 10 * press)
    sketch.bump(oval(0, below + 8.5, 8, 4.5), 26)
    sketch.crease(curve((-6, below + 2.2), (0, below + 3.4), (6, below + 2.2)), 0.18 + 0.5 * m[24] + 0.15 * m[15], 2.2)
    if press > 0.08:
        sketch.bump(oval(0, above - 2.2, 9, 2.2), 46 * press)
        sketch.bump(oval(0, below + 1.9, 9, 1.8), 46 * press)
    for x in (-7.0, -3.5, 3.5, 7.0):  # the fine lines of tightened lips
        sketch.crease(np.array([[x, above - 3.0], [0.82 * x, above - 0.2]]), 0.6 * m[23], 1.4)
        sketch.crease(np.array([[x, below + 2.6], [0.82 * x, below + 0.2]]), 0.5 * m[23], 1.4)
    sketch.crease(curve((-1.5, above - 5), (-1.2, above - 3), (-1.6, above - 1)), 0.14, 1.6)
    sketch.crease(curve((1.5, above - 5), (1.2, above - 3), (1.6, above - 1)), 0.14, 1.6)


def _corner(sketch: Sketch, person: Identity, a: dict[int, float], side: int, at: tuple[float, float]) -> None:
    """Draw the marks at one corner of the mouth: dimple (AU14), pouch (AU15), smile (AU12), stretch (AU20)."""
    x, y = at
    sketch.fill(oval(side * x, y, 0.9, 0.7), person.skin * (0.62, 0.6, 0.68), 2.0)
    sketch.crease(curve((x + 2.2, y - 3.6), (x + 3.6, y), (x + 1.8, y + 3.6), side), 1.0 * a[14], 3.0)
    if a[14] > 0.1:
        sketch.bump(oval(side * (x + 5.5), y + 0.5, 2.6, 4.2), 48 * a[14])
    sketch.crease(curve((x + 0.4, y), (x + 2.2, y + 2.6), (x + 1.0, y + 7.5), side), 0.9 * a[15], 2.6)
    sketch.crease(curve((x, y + 0.4), (x + 2.0, y - 0.4), (x + 2.6, y - 2.6), side), 0.7 * a[12], 2.2)
    sketch.crease(curve((x + 2.4, y - 3.0), (x + 4.6, y + 1.5), (x + 3.0, y + 7.0), side), 0.75 * a[20], 2.2)
