"""Draw people in harder ways, on request: for studies of what keeps networks that learnt from drawings from people.

None of it changes what a face shows, and so no label. Who is changed, and by how much, is drawn from a generator of
their own, so that everything else about a video stays the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rendering.identity import Identity
from rendering.sketch import SIZE, Image

_SPREAD: Final = {
    "width": 3.5, "chin": 3.0, "eye_x": 1.6, "eye_width": 1.1, "brow_y": 1.8, "nose_y": 2.0, "nose_width": 1.4,
    "mouth_y": 2.2, "mouth_width": 1.8,
}  # fmt: skip
"""Deviation, in pixels, that ``shapes`` adds to a proportion; about twice the one that people are drawn with."""

_TEXTURE: Final = ((5, 0.6), (14, 0.5), (40, 0.35))
"""Cells along a side, and strength, of each layer of the skin's texture."""


class Look(NamedTuple):
    """Of 100 people, how many are drawn in each of these ways (``render.…``).

    Attributes:
        walls: before a plain wall, lit a little from one side.
        folds: with fainter folds of the skin, down to none.
        skin: with softer strokes and a patchy skin.
        shapes: with proportions that differ more from person to person.
    """

    walls: int = 0
    folds: int = 0
    skin: int = 0
    shapes: int = 0


USUAL: Final = Look()


def changed(person: Identity, background: Image, look: Look, rng: np.random.Generator) -> tuple[Identity, Image]:
    """Return a person and what is behind them as they look.

    Args:
        person: who is drawn.
        background: (H, W, 3) uint8 BGR.
        look: how many people are changed.
        rng: the video's generator of this purpose.
    """
    chosen = Look(*(100 * rng.random(len(look)) < look))
    folds, skin = rng.random(2)
    moved = rng.normal(0.0, 1.0, len(_SPREAD))
    wall = _wall(background, rng)
    if chosen.folds:
        person = replace(person, folds=folds)
    if chosen.skin:
        person = replace(person, skin_texture=skin, skin_seed=int(rng.integers(2**31)))
    if chosen.shapes:
        shapes = {name: getattr(person, name) + sd * by for (name, sd), by in zip(_SPREAD.items(), moved, strict=True)}
        person = replace(person, **shapes)
    return person, wall if chosen.walls else background


def _wall(background: Image, rng: np.random.Generator) -> Image:
    """Draw a plain wall of the size of a background."""
    colour = rng.uniform(60, 245) + rng.normal(0, 6, 3)
    y, x = np.mgrid[-1 : 1 : len(background) * 1j, -1 : 1 : len(background) * 1j]
    across, down = rng.normal(0, 0.06, 2)
    return np.asarray(np.clip(colour * (1 + across * x + down * y)[..., None], 0, 255), np.uint8)


def textured(picture: NDArray[np.float32], mask: Image, person: Identity) -> NDArray[np.float32]:
    """Soften the strokes of a face and make its skin patchy, by as much as the person has it.

    Args:
        picture: (112, 112, 3) the lit picture.
        mask: (112, 112) 255 where head and body are.
        person: who is drawn.
    """
    rng, patches = np.random.default_rng(person.skin_seed), np.zeros((SIZE, SIZE), np.float32)
    for cells, strength in _TEXTURE:
        layer = rng.normal(0.0, strength, (cells, cells)).astype(np.float32)
        patches += cv2.resize(layer, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    share = np.float32(person.skin_texture / 255) * mask[..., None]
    soft = cv2.GaussianBlur(picture, (0, 0), 1.2)
    mixed: NDArray[np.float32] = picture + 0.6 * share * (soft - picture)
    return mixed * (1 + 0.1 * share * patches[..., None])
