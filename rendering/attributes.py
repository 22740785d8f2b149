"""Put in words who is drawn, and in which light: the groups of people that ``compare.py attributes=`` compares.

They follow from the seed and the number of a video alone, so a data set of any age can be described
(``prepare.py attributes``).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from affect.files import whole_file
from rendering import video
from rendering.face import Light
from rendering.identity import OLD, Identity
from rendering.writing import SPLITS, Plan

SKIN_TONES: Final = {"light": 41.0, "medium": 10.0, "dark": -90.0}
"""The individual typology angle, in degrees, from which on a skin has each tone (Chardon et al., "Skin colour typology
and suntanning pathways", International Journal of Cosmetic Science 13, 1991): very light and light; intermediate and
tan; brown and dark skin."""

LIGHTS: Final = {"bright": 1.05, "normal": 0.85, "dim": 0.0}
"""The light in the middle of a face that looks straight ahead, from which on it is called so; 1 keeps its colours."""

AGES: Final = {"old": OLD, "young": 0.0}


def attributes(person: Identity, light: Light) -> dict[str, str]:
    """Return the group of a person, and of the light on them, by the names of the columns."""
    return {
        "skin_tone": _group(skin_angle(person), SKIN_TONES),
        "age": _group(person.age, AGES),
        "glasses": "yes" if person.glasses > 0 else "no",
        "light": _group(light.ambient[1] + light.key[1] * light.direction[2], LIGHTS),
    }


def skin_angle(person: Identity) -> float:
    """Return the individual typology angle of a skin, in degrees: the lighter and the less yellow, the greater."""
    lightness, _, yellow = cv2.cvtColor((person.skin / 255).astype(np.float32)[None, None], cv2.COLOR_BGR2LAB)[0, 0]
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def _group(value: float, limits: Mapping[str, float]) -> str:
    return next(name for name, limit in limits.items() if value >= limit)


def write_attributes(folder: Path, plan: Plan, seed: int) -> list[Path]:
    """Write a line for each video into ``attributes.csv``, or for each single face.

    The pictures of two splits may have the same names, so single faces have a file for each split:
    ``attributes-train.csv`` and ``attributes-val.csv``.

    Args:
        folder: of the data set.
        plan: of what is drawn into it.
        seed: of every random draw.

    Returns:
        The files.
    """
    lines: dict[Path, list[dict[str, str]]] = {}
    for split, (stream, count) in zip(("train", "val"), plan.splits.items(), strict=True):
        key, name = ("video", "attributes.csv") if stream in SPLITS else ("image", f"attributes-{split}.csv")
        for index in range(count):
            seen = attributes(video.draw_person(seed, stream, index), video.scene_light(seed, stream, index))
            lines.setdefault(folder / name, []).append({key: plan.name(stream, index), **seen})
    for path, rows in lines.items():
        with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return list(lines)
