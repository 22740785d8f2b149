"""Draw the head and what grows or is worn on it: skull, ears, neck, hair, beard, glasses."""

from __future__ import annotations

from typing import Final

import numpy as np

from rendering.features import curve, oval
from rendering.identity import Identity
from rendering.sketch import Array, Sketch
from rendering.units import Units

_LEVELS: Final = np.array([-46, -43, -37, -29, -18, -6, 6, 16, 25, 33, 40, 46, 50.5, 53, 54.0])
_SPREAD: Final = np.linspace(-1.0, 1.0, 19)


def outline(person: Identity, units: Units) -> Array:
    """Return the outline of the face, (30, 2): down the right side, up the left one.

    AU26 lowers the chin; AU12 and AU6 fill the cheeks.
    """
    w, jaw, chin = person.width, person.jaw, person.chin_width
    lower = (0.55 + 0.45 * jaw, jaw, 0.5 * (jaw + chin) + 0.06, chin + 0.04, 0.78 * chin, 0.48 * chin, 0.2 * chin)
    share = np.array([0.2, 0.42, 0.68, 0.87, 0.97, 1.0, 1.0, 0.985, *lower])
    y = _LEVELS.copy()
    below = np.clip((y - 16.0) / 38.0, 0.0, 1.0)
    y = y + below * (person.chin - 54.0) + 8.5 * units.mean[26] * below**1.2 - 0.8 * units.mean[24] * below**4
    sides = []
    for side in (1, -1):
        a = units.side(side)
        fuller = 1.3 * a[12] * np.exp(-(((y - 20.0) / 9.0) ** 2)) + 0.8 * a[6] * np.exp(-(((y - 12.0) / 8.0) ** 2))
        sides.append(np.column_stack([side * (w * share + fuller), y]))
    return np.concatenate([sides[0], sides[1][::-1]])


def _hair_colours(person: Identity) -> tuple[Array, Array]:
    base = person.cloth_colour if person.hair.cloth else person.hair_colour
    return base, np.clip(base * 0.72, 0, 255)


def behind(sketch: Sketch, person: Identity) -> None:
    """Draw what the face covers: neck, clothes, ears, and the hair behind the head."""
    hair = person.hair
    _, dark = _hair_colours(person)
    if hair.volume > 0:
        w = person.width * hair.volume
        top = -47.0 - 26.0 * max(hair.volume - 1.03, 0.0) - 1.5 * hair.curl
        angle = np.linspace(0.0, np.pi, 17)
        wave = hair.curl * 0.8 * np.sin(angle * 9.0 + 6.0 * person.strands[0, 0])
        arc = np.column_stack([(w + wave) * np.cos(angle), -8.0 + (top + 8.0 + wave) * np.sin(angle)])
        low = max(hair.length, -8.0)
        tail = np.array(
            [[-w * 1.02, 0.5 * low], [-w * (0.96 + 0.04 * hair.curl), low], [w * 0.96, low], [w * 1.02, 0.5 * low]]
        )
        sketch.body(np.concatenate([arc, tail]), dark, -8.0)
    neck = np.array([[-19, 30], [19, 30], [20, 58], [30, 70], [-30, 70], [-20, 58]], float)
    sketch.body(neck, person.skin * (0.74, 0.74, 0.78), -14.0)
    shirt = np.array(
        [[-70, 68], [-34, 61], [-20, 59], [0, 67], [20, 59], [34, 61], [70, 68], [70, 95], [-70, 95]], float
    )
    sketch.body(shirt, person.shirt_colour, -14.0)
    if not (hair.cloth and hair.length > 20):
        for side in (-1, 1):
            sketch.body(oval(side * (person.width + 0.8), 5.0, 4.2, 8.5), person.skin * (0.9, 0.88, 0.94), -9.0)
            crease = curve(
                (side * (person.width + 1), -1), (side * (person.width + 3.4), 4), (side * (person.width + 1), 10)
            )
            sketch.line(crease, person.skin * 0.68, 2, -9.0)


def face(sketch: Sketch, person: Identity, units: Units) -> None:
    """Draw the face itself, with stubble and moles."""
    edge = outline(person, units)
    sketch.body(edge, person.skin, 3.0)
    chin_drop = 8.0 * units.mean[26]
    if person.stubble > 0:
        growth = person.skin * (1 - 0.45 * person.stubble) + person.brow_colour * 0.45 * person.stubble
        inner = _beard_edge(person, chin_drop)
        lower = edge[(edge[:, 1] > 20)]
        sketch.fill(np.concatenate([lower * (0.985, 0.99), inner]), growth, 2.5)
    for x, y in person.moles:
        sketch.fill(oval(float(x), float(y), 0.7, 0.7), person.skin * 0.45)


def _beard_edge(person: Identity, drop: float) -> Array:
    """Return the upper edge of a beard from the image's left to its right, (5, 2)."""
    w = person.width
    return np.array(
        [
            [-0.93 * w, 20],
            [-0.6 * w, 33],
            [-5.5, 41 + drop],
            [0, 42.5 + drop],
            [5.5, 41 + drop],
            [0.6 * w, 33],
            [0.93 * w, 20],
        ]
    )


def beard(sketch: Sketch, person: Identity, units: Units) -> None:
    """Draw beard and moustache, which move with jaw and upper lip."""
    drop = 8.0 * units.mean[26] + 2.5 * units.mean[25]
    if person.beard > 0:
        edge = outline(person, units)
        lower = edge[edge[:, 1] > 18] * (1.0, 1.0) + (0.0, 0.6)
        colour = person.hair_colour * 0.85 * person.beard + person.skin * 0.8 * (1 - person.beard)
        sketch.fill(np.concatenate([lower, _beard_edge(person, drop)]), colour, 3.0)
    if person.moustache > 0:
        m = units.mean
        top = person.nose_y + 4.6 - 1.2 * m[10]
        low = person.mouth_y - person.lip_upper - 0.4 - 2.8 * m[10] - 1.0 * m[25]
        reach = person.mouth_width * 0.95 + 3.6 * m[12] + 3 * m[20]
        end = person.mouth_y - 0.8 - 4.6 * m[12] + 4.0 * m[15]
        shape = np.array(
            [[-3, top], [3, top], [0.6 * reach, top + 2.2], [reach, end], [0.55 * reach, low + 0.4], [0, low]]
        )
        left = shape[2:5][::-1] * (-1, 1)
        colour = person.hair_colour * 0.9 * person.moustache + person.skin * 0.75 * (1 - person.moustache)
        sketch.fill(np.concatenate([shape, left]), colour, 3.0)


def hair_front(sketch: Sketch, person: Identity) -> None:
    """Draw hair, or cloth, over the forehead, with a few strands."""
    hair = person.hair
    if hair.volume == 0:
        return
    base, dark = _hair_colours(person)
    w = person.width * min(hair.volume, 1.14) * 1.0
    angle = np.linspace(np.pi, 0.0, 17)
    wave = hair.curl * 0.6 * np.sin(angle * 11.0 + 6.0 * person.strands[1, 0])
    top = -47.0 - 22.0 * max(min(hair.volume, 1.25) - 1.03, 0.0)
    skull = np.column_stack([(w + wave) * np.cos(angle), -9.0 + (top + 9.0 + wave) * np.sin(angle)])
    side = np.abs(_SPREAD)
    line = (
        hair.line + 17.0 * side**4 + 4.0 * hair.part * _SPREAD - hair.recede * np.sin(np.pi * np.clip(side * 1.1, 0, 1))
    )
    line = line + hair.fringe * (1 - side**6) + hair.curl * np.sin(_SPREAD * 13.0 + 6.0 * person.strands[2, 0])
    if hair.fringe > 0:
        line = line + 0.8 * np.sin(_SPREAD * 21.0)
    sideburn = min(hair.length, 14.0 if hair.length > 20 else 4.0)
    line = np.where(side > 0.96, np.maximum(line, sideburn), line)
    edge = np.column_stack([_SPREAD * person.width * 1.015, line])[::-1]
    lift = 5.0 if not hair.cloth else 6.0
    sketch.body(np.concatenate([skull, edge]), base, lift)
    if hair.cloth:
        sketch.line(edge, dark, 4, lift)
        return
    sweep = 10.0 * hair.part
    for index, (a, b, c) in enumerate(person.strands):
        foot = 1.7 * (index + a) / len(person.strands) - 0.85  # across the hairline, side by side so that none cross
        end = (person.width * foot, float(np.interp(foot, _SPREAD, line)) - 1.0 - 3.0 * b)
        start = (0.35 * w * foot - sweep, top + 4.0 + 5.0 * c)
        tone = base * (0.8 if index % 2 else 1.18) + (0 if index % 2 else 5)
        bend = (0.8 * w * foot - 0.6 * sweep, 0.6 * start[1] + 0.4 * end[1] - 4.0)
        sketch.line(curve(start, bend, end), np.clip(tone, 0, 255), 2 + 2 * b, lift)


def glasses(sketch: Sketch, person: Identity) -> None:
    """Draw two rims, a bridge and the temples; nothing for people who wear no glasses."""
    if person.glasses <= 0:
        return
    width = 1.4 + 2.2 * (person.glasses - 0.7)
    angle = np.linspace(0.0, 2.0 * np.pi, 25)
    power = person.glasses_round  # 1 is an ellipse, less is more of a rectangle
    cos, sin = np.cos(angle), np.sin(angle)
    rim = np.column_stack([np.sign(cos) * np.abs(cos) ** power * 11.8, np.sign(sin) * np.abs(sin) ** power * 8.2])
    for side in (-1, 1):
        sketch.line(rim + np.array([side * (person.eye_x + 0.4), 0.8]), person.glasses_colour, 2 * width, 7.0)
        temple = np.array([[side * (person.eye_x + 12.0), -2.0], [side * (person.width + 0.5), -1.0]])
        sketch.line(temple, person.glasses_colour, 2 * width, 1.0)
    reach = person.eye_x - 11.0
    sketch.line(curve((-reach, -1.5), (0, -4.0), (reach, -1.5)), person.glasses_colour, 2 * width, 7.0)
