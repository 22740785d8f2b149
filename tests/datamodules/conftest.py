"""Small Aff-Wild2 and AffectNet layouts with generated pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

HEADER = "image,valence,arousal,expression,aus"
LABELS = "0.25,-0.5,4," + ",".join("01" * 6)
UNLABELLED = "-5,-5,-1," + ",".join(["-1"] * 12)


def write_picture(path: Path, number: int, size: int = 112) -> None:
    """Write a JPEG whose picture depends on ``number``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(number).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC))


def process(rank: int = 0, world_size: int = 1, *, device: str = "cpu", num_devices: int = 1) -> Any:
    """Stand for the trainer of one process, as a data module looks at it."""
    strategy = SimpleNamespace(root_device=SimpleNamespace(type=device))
    return SimpleNamespace(
        global_rank=rank, world_size=world_size, num_devices=num_devices, strategy=strategy, training=True
    )


def truncate(path: Path) -> None:
    """Cut off the second half of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def write_annotation(folder: Path, stem: str, kind: str, value: object) -> None:
    """Write one of AffectNet's annotation files: an array without dimensions."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{stem}_{kind}.npy", np.array(value))


def write_release(split: Path, expressions: Sequence[object], size: int = 48) -> None:
    """Write a split of AffectNet as it is given out: pictures 0.jpg, 1.jpg, … with these expressions."""
    for number, value in enumerate(expressions):
        write_picture(split / "images" / f"{number}.jpg", number, size=size)
        write_annotation(split / "annotations", str(number), "exp", value)
        write_annotation(split / "annotations", str(number), "lnd", [0.5] * 136)


@pytest.fixture
def make_root(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of roots: ``train`` and ``val`` are numbers of labelled frames, each with a picture."""

    def write(train: int = 10, val: int = 7, name: str = "root") -> Path:
        root = tmp_path / name
        for file, video, count in (("training_set", "a", train), ("validation_set", "b", val)):
            images = [f"{video}/{number:05d}.jpg" for number in range(1, count + 1)]
            for number, image in enumerate(images):
                write_picture(root / "cropped_aligned" / image, number + (1000 if video == "b" else 0))
            lines = [HEADER, *(f"{image},{LABELS}" for image in images)]
            (root / f"{file}_annotations.txt").write_text("\n".join(lines) + "\n")
        return root

    return write
