"""Why masks cost what they cost: masked CoTEX on labels that every patch shows, at equal compute.

    python -m benchmarks.studies.patterns FOLDER [key=value …] [--seconds 600] [--seeds 0 1 2]

An expression lies in a few places of a face, and a view of few patches often lacks them. Here the same drawn faces get
other labels: a faint grating over the whole picture, whose period is the class and whose direction is not. If that is
the reason, what masks lose in ``benchmarks.studies.masks`` they must not lose here, with the same networks and time. A
``key=value`` goes to every run; ``render.train_faces`` and ``render.val_faces`` say how many faces are drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from affect.files import put_in_place
from affect.labels import LSD_FOLDERS
from benchmarks.studies import masks
from benchmarks.studies.running import timed_study
from rendering.cache import draw
from rendering.layouts import LAYOUTS
from runs.ending import clear_errors

PERIODS: Final = (5.0, 6.3, 7.9, 10.0, 12.6, 15.9)
"""Of the grating of each class, in pixels of a picture of 112; a patch has 14."""

AMPLITUDE: Final = 6.0
"""Of the gratings, in levels of 255."""

ROWS: Final = ("0 %", "50 %", "75 %", "90 %")
"""What is compared; keys of ``masks.ROWS``."""


def relabelled(folder: Path, seed: int, faces: Mapping[str, int]) -> Path:
    """Draw faces, and write them again with gratings as their labels, unless that is done.

    Args:
        folder: where they go, in the layout of ``data=lsd``.
        seed: of faces, labels, directions and phases.
        faces: how many, by split, as ``rendering.cache.draw`` takes them.

    Returns:
        The folder.
    """
    source = draw(folder.with_name(f"faces{seed}"), "lsd", workers=1, seed=seed, **faces)  # refuses other sizes
    if folder.is_dir():
        return folder
    made = folder.with_name(f".{folder.name}")
    generator = np.random.default_rng(seed)
    for split in sorted(path for path in source.iterdir() if path.is_dir()):
        pictures = sorted(split.glob("*/*.jpg"))
        labels = generator.permutation(len(pictures)) % len(PERIODS)
        for name, *_ in LSD_FOLDERS:
            (made / split.name / name).mkdir(parents=True, exist_ok=True)
        for path, label in zip(pictures, labels, strict=True):
            pixels = np.asarray(cv2.imread(str(path)), np.float64)
            pixels += grating(pixels.shape[0], pixels.shape[1], PERIODS[label], generator)[..., None]
            place = made / split.name / LSD_FOLDERS[label][0] / f"{path.parent.name}-{path.stem}.png"
            cv2.imwrite(str(place), np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
    put_in_place(made, folder)
    return folder


def grating(height: int, width: int, period: float, generator: np.random.Generator) -> np.ndarray:
    """Return (H, W) levels of a grating of any direction and phase."""
    direction, phase = generator.uniform(0, 2 * np.pi, size=2)
    y, x = np.mgrid[:height, :width]
    return np.asarray(AMPLITUDE * np.sin(2 * np.pi * (x * np.cos(direction) + y * np.sin(direction)) / period + phase))


def study(folder: Path, seeds: Sequence[int], budget: float, overrides: Sequence[str]) -> None:
    """Make the runs that are missing; then write and print the table, and draw the curves."""
    given = dict(one.partition("=")[::2] for one in overrides)
    faces = {name: int(given.pop(f"render.{name}", size)) for name, size in LAYOUTS["lsd"].sizes.items()}

    def data(seed: int) -> list[str]:
        return ["data=lsd", f"data.root={relabelled(folder / f'pictures{seed}', seed, faces)}"]

    rest = [f"{key}={value}" for key, value in given.items()]
    masks.study(folder, seeds, budget, rest, data=data, faces=faces["train_faces"], rows=ROWS)


def main() -> None:
    """Read the command line and make the study."""
    timed_study(__doc__, study, seconds=600.0)


if __name__ == "__main__":
    with clear_errors():
        main()
