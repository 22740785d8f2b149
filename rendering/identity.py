"""Draw a person: everything about a face that does not change within a video.

Geometry is in pixels of the 112 x 112 crop with the origin midway between the eyes, x to the right and y down.
Colours are BGR in 0..255, as OpenCV wants them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rendering.sketch import Array

_SKINS: Final = np.array(
    [[198, 216, 243], [172, 196, 232], [134, 172, 216], [92, 130, 178], [62, 92, 138], [42, 60, 96]]
)
_HAIRS: Final = np.array(
    [[28, 26, 30], [32, 40, 58], [38, 58, 92], [70, 116, 166], [120, 178, 214], [42, 76, 150], [150, 152, 156]]
)
_IRISES: Final = np.array([[24, 38, 66], [30, 52, 92], [58, 92, 106], [130, 112, 82], [74, 96, 72]])

OLD: Final = 0.45
"""Age from which the forehead has furrows at rest, and hair may be grey; about 40 of 100 people are as old."""


@dataclass(frozen=True)
class Hair:
    """A haircut: how the hair (or the cloth worn instead) lies around the face.

    Attributes:
        volume: half-width of the hair behind the head in half-widths of the face; 0 for none.
        length: y down to which it hangs.
        line: y of the hairline at the middle of the forehead.
        fringe: by how much a fringe hangs below the hairline, 0 for none.
        part: sideways slope of the hairline, -1..1.
        recede: by how much the hairline rises beside the middle.
        curl: amplitude of the waves of its edge.
        cloth: whether a scarf or a hat is worn instead.
    """

    volume: float
    length: float
    line: float
    fringe: float = 0.0
    part: float = 0.0
    recede: float = 0.0
    curl: float = 0.0
    cloth: bool = False


@dataclass(frozen=True)
class Identity:
    """Neutral geometry, colours and accessories of one person (in pixels of the crop, and BGR)."""

    width: float
    jaw: float
    chin: float
    chin_width: float
    eye_x: float
    eye_width: float
    eye_upper: float
    eye_lower: float
    eye_tilt: float
    iris_size: float
    crease: float
    brow_y: float
    brow_arch: float
    brow_tilt: float
    brow_thickness: float
    nose_width: float
    nose_y: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    age: float
    skin: Array
    hair_colour: Array
    brow_colour: Array
    lip_colour: Array
    iris_colour: Array
    cloth_colour: Array
    shirt_colour: Array
    lashes: float
    hair: Hair
    strands: Array
    beard: float
    moustache: float
    stubble: float
    glasses: float
    glasses_round: float
    glasses_colour: Array
    moles: Array
    folds: float = 1.0  # how deep the skin's folds are; the next two are those of rendering.look
    skin_texture: float = 0.0
    skin_seed: int = 0


def draw_hair(rng: np.random.Generator) -> Hair:
    """Draw one of ten haircuts with its own proportions.

    Args:
        rng: the person's own generator.

    Returns:
        The haircut.
    """
    line = rng.uniform(-33.0, -27.0)
    part = rng.uniform(-1.0, 1.0)
    curl = rng.uniform(0.0, 1.0)
    cuts = (
        Hair(0.0, 0.0, -60.0),  # bald
        Hair(1.03, 2.0, line - 1.0, recede=1.5, curl=0.2),  # buzz cut
        Hair(1.08, 6.0, line, part=part, curl=curl),  # short, parted
        Hair(1.1, 10.0, line, part=part, recede=2.0, curl=1.5),  # short, wavy
        Hair(1.04, 8.0, line - 3.0, recede=7.0),  # receding
        Hair(1.2, 75.0, line, part=0.6 * part, recede=-3.0, curl=curl),  # long, parted
        Hair(1.18, rng.uniform(28, 70), line, fringe=rng.uniform(7, 12), part=0.3 * part, curl=0.5 * curl),  # fringe
        Hair(1.42, 30.0, line + 1.0, curl=2.6),  # curly, wide
        Hair(1.03, 4.0, line - 1.5, part=0.4 * part),  # tied back
        Hair(1.16, 75.0, line + 2.0, recede=-9.0, cloth=True),  # scarf
        Hair(1.1, -12.0, line + 5.0, recede=-1.0, cloth=True),  # woollen hat
    )
    weights = np.array([0.05, 0.12, 0.16, 0.12, 0.08, 0.17, 0.1, 0.07, 0.06, 0.04, 0.03])
    return cuts[int(rng.choice(len(cuts), p=weights))]


def _along(palette: NDArray[np.int_], position: float) -> Array:
    """Interpolate a colour at ``position`` (0..1) on a palette of (n, 3) colours."""
    steps = np.linspace(0.0, 1.0, len(palette))
    return np.array([np.interp(position, steps, palette[:, channel]) for channel in range(3)])


def draw_identity(rng: np.random.Generator) -> Identity:
    """Draw a person.

    Args:
        rng: the person's own generator; nothing else may draw from it before.

    Returns:
        The person; two generators with different seeds give two different people.
    """
    tone = rng.beta(1.1, 1.3)
    skin = np.clip(_along(_SKINS, tone) * rng.normal(1.0, 0.018, 3), 20, 250)
    age = rng.beta(1.3, 2.0)
    masculine = rng.random() < 0.5
    shade = rng.beta(1.0, 1.6) * (1.0 if tone < 0.55 else 0.35)
    hair_colour = _along(_HAIRS[:6], shade) if rng.random() > 0.8 * max(age - OLD, 0.0) else _HAIRS[6] * 1.0
    hair_colour = np.clip(hair_colour * rng.normal(1.0, 0.1), 8, 245)
    hair = draw_hair(rng)
    made_up = not masculine and rng.random() < 0.45
    lip_base = skin * np.array([0.68, 0.62, 0.86])
    lip_colour = lip_base if not made_up else 0.4 * lip_base + 0.6 * np.array([70, 50, rng.uniform(130, 210)])
    hairy = masculine and rng.random() < 0.5
    full = hairy and rng.random() < 0.4
    wave = rng.uniform(size=(7, 3))
    return Identity(
        width=rng.normal(36.0, 1.7),
        jaw=rng.normal(0.86 if masculine else 0.8, 0.04),
        chin=rng.normal(53.5, 1.8),
        chin_width=rng.normal(0.44 if masculine else 0.36, 0.05),
        eye_x=rng.normal(15.8, 0.8),
        eye_width=rng.normal(7.9, 0.55),
        eye_upper=np.clip(rng.normal(4.1, 0.5), 2.9, 5.4),
        eye_lower=np.clip(rng.normal(2.7, 0.3), 2.0, 3.4),
        eye_tilt=rng.normal(0.5, 0.6),
        iris_size=rng.normal(3.9, 0.18),
        crease=np.clip(rng.normal(2.0, 0.7), 0.3, 3.6),
        brow_y=rng.normal(-10.2, 0.9),
        brow_arch=rng.normal(1.9, 0.7),
        brow_tilt=rng.normal(0.4, 0.7),
        brow_thickness=rng.normal(2.0 if masculine else 1.5, 0.35),
        nose_width=rng.normal(6.1, 0.7),
        nose_y=rng.normal(17.5, 1.0),
        mouth_y=rng.normal(32.5, 1.1),
        mouth_width=rng.normal(11.8, 0.9),
        lip_upper=np.clip(rng.normal(2.3 + 0.5 * tone, 0.45), 1.2, 3.8),
        lip_lower=np.clip(rng.normal(3.2 + 0.6 * tone, 0.55), 1.8, 4.8),
        age=age,
        skin=skin,
        hair_colour=hair_colour,
        brow_colour=np.clip(0.75 * hair_colour + 0.1 * skin, 8, 190),
        lip_colour=np.clip(lip_colour, 15, 245),
        iris_colour=_IRISES[0 if tone > 0.55 else int(rng.integers(len(_IRISES)))] * rng.normal(1.0, 0.1),
        cloth_colour=rng.uniform(25, 215, 3),
        shirt_colour=rng.uniform(20, 235, 3),
        lashes=rng.uniform(0.9, 1.5) if made_up else rng.uniform(0.4, 0.9),
        hair=hair,
        strands=wave,
        beard=rng.uniform(0.75, 1.0) if full else 0.0,
        moustache=rng.uniform(0.7, 1.0) if full or (hairy and rng.random() < 0.25) else 0.0,
        stubble=rng.uniform(0.1, 0.5) if hairy and not full else 0.0,
        glasses=rng.uniform(0.7, 1.5) if rng.random() < 0.22 else 0.0,
        glasses_round=rng.uniform(0.35, 1.0),
        glasses_colour=rng.uniform(10, 90, 3) if rng.random() < 0.8 else rng.uniform(60, 190, 3),
        moles=rng.uniform([-26, 4], [26, 44], (int(rng.integers(0, 4)), 2)),
    )
