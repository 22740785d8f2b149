"""A clip of two people from photographs who move, cross, hide, leave, come back, and are cut; and who is where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from videos.decoding import Picture

LONDON = Path(__file__).resolve().parents[2] / "../shared/london/images"
FPS, WIDTH, HEIGHT, SIDE = 25, 640, 480, 190
CUT, END = 9.0, 12.0


class Placed(NamedTuple):
    """Where a person is, px, whether any of the face can be seen, and whether all of it."""

    x: float
    y: float
    there: bool
    whole: bool


def clip(seed: int) -> Iterator[tuple[Picture, dict[str, Placed]]]:
    """Yield each frame of 12 s with where the two are."""
    random = np.random.default_rng(seed)
    names = sorted(path.name.split("_")[0] for path in LONDON.glob("*_neutral.jpg"))
    people = [str(name) for name in random.choice(names, 2, replace=False)]
    faces = {(name, look): cv2.resize(cv2.imread(str(LONDON / f"{name}_{look}.jpg")), (SIDE, SIDE),
                                      interpolation=cv2.INTER_AREA).astype(np.float32)
             for name in people for look in ("neutral", "smiling")}  # fmt: skip
    mask = np.zeros((SIDE, SIDE), np.float32)
    cv2.ellipse(mask, (SIDE // 2, SIDE // 2), (int(SIDE * 0.36), int(SIDE * 0.46)), 0, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (7, 7), 0)[..., None]
    walls = [cv2.GaussianBlur(cv2.resize(random.integers(0, 256, (6, 8, 3), dtype=np.uint8), (WIDTH, HEIGHT),
                                         interpolation=cv2.INTER_CUBIC), (0, 0), 5) for _ in range(2)]  # fmt: skip
    high = 225 + random.integers(-8, 9), 250 + random.integers(-8, 9)
    for number in range(int(END * FPS)):
        time = number / FPS
        frame = walls[int(time >= CUT)].astype(np.float32)
        shown = {}
        front, front_hidden = _front(time, seed), 5.6 <= time < 6.0
        # the second is drawn first, and the first in front of it
        for index, x in ((1, _behind(time, seed)), (0, front)):
            if index == 0 and front_hidden:
                frame[:, int(x) - 110 : int(x) + 110] = 60
            else:
                smile = np.clip(1.5 * np.sin(1.3 * time + 2 * index) + 0.5, 0, 1)
                face = (1 - smile) * faces[people[index], "neutral"] + smile * faces[people[index], "smiling"]
                _put(frame, face, mask, x + random.normal(0, 0.5), high[index] + random.normal(0, 0.5))
            inside = -20 < x < WIDTH + 20 and not (index == 0 and front_hidden)
            covered = index == 1 and not front_hidden and abs(front - x) < SIDE * 0.5
            shown[people[index]] = Placed(x, high[index], inside, inside and 60 < x < WIDTH - 60 and not covered)
        yield Picture(time, frame.astype(np.uint8)), shown


def _front(time: float, seed: int) -> float:
    """Cross from left to right between the seconds 2 and 5."""
    if time >= CUT:
        return 480.0 if seed % 2 else 170.0
    if time < 2:
        return 150 + 20 * float(np.sin(3 * time))
    return 150 + 340 * (time - 2) / 3 if time < 5 else 490 + 15 * float(np.sin(2 * (time - 5)))


def _behind(time: float, seed: int) -> float:
    """Cross from right to left, leave at 6.6 s, and come back before 8 s."""
    if time >= CUT:
        return 160.0 if seed % 2 else 470.0
    if time < 2:
        return 490 + 15 * float(np.sin(2 * time))
    if time < 5:
        return 490 - 340 * (time - 2) / 3
    away = min(time - 6.6, 8 - time) / 0.35
    return 150 + 20 * float(np.sin(3 * (time - 5))) - 320 * float(np.clip(away, 0, 1))


def _put(frame: np.ndarray, face: np.ndarray, mask: np.ndarray, x: float, y: float) -> None:
    left, top = round(x - SIDE / 2), round(y - SIDE / 2)
    columns, rows = slice(max(left, 0), min(left + SIDE, WIDTH)), slice(max(top, 0), min(top + SIDE, HEIGHT))
    if columns.start < columns.stop:
        part = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        frame[rows, columns] = frame[rows, columns] * (1 - mask[part]) + face[part] * mask[part]
