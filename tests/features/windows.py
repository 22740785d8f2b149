"""Stores and lists of made-up videos, for the tests of windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from affect.frames import Frames, unlabelled
from datamodules.base import FaceDataModule, Split
from features.store import open_store
from features.store_files import FeatureWriter, StoreInfo
from features.windows import WindowsDataModule

INFO = StoreInfo(
    network="n", sha256="a" * 64, embedding=3, outputs=("x",), images="cropped", image_size=8, dtype="float32"
)


class Video(NamedTuple):
    """A video: the frames that the list has, in its order, and those that the store has."""

    listed: Sequence[int]
    known: Sequence[int]


def values(video: str, frames: Any, width: int = 3) -> np.ndarray[Any, Any]:
    """The features of frames, which tell what they are of."""
    base = np.asarray(frames, dtype=np.float64)[:, None] + 1000.0 * len(video)
    return np.sin(base * (1 + np.arange(width))).astype(np.float32)


def write_store(root: Path, videos: Mapping[str, Video], info: StoreInfo = INFO) -> Path:
    """Write a store of the known frames."""
    open_store(root, info)
    for name, video in videos.items():
        if len(video.known):
            writer = FeatureWriter(root, name, info)
            frames = np.array(video.known)
            writer.add(frames, values(name, frames, info.embedding), np.zeros((len(frames), 1), np.float32))
            writer.finish()
    return root


def frames_of(videos: Mapping[str, Video]) -> Frames:
    """The list, in the order of the videos, with a label of every task in each row."""
    names = [name for name, video in videos.items() for _ in video.listed]
    numbers = np.array([frame for video in videos.values() for frame in video.listed], dtype=np.int64)
    empty = unlabelled(
        [f"{name}/{frame:05d}.jpg" for name, frame in zip(names, numbers, strict=True)], names, numbers, {}
    )
    random = np.random.default_rng(len(names))
    return replace(
        empty,
        valence_arousal=random.uniform(-1, 1, (len(names), 2)).astype(np.float32),
        expression=random.integers(8, size=len(names)),
        action_units=random.integers(2, size=(len(names), 12)).astype(np.float32),
    )


class Listed(FaceDataModule):
    """The lists of made-up videos; a row has an image if the store has the frame."""

    def __init__(self, videos: Mapping[str, Video], frames: Frames | None = None) -> None:
        super().__init__(image_size=1, batch_size=1)
        self.videos, self.root = videos, "nowhere"
        self.list = frames_of(videos) if frames is None else frames

    def read_split(self, split: Split) -> tuple[Frames, Sequence[Path | None]]:
        rows = zip(self.list.video, self.list.frame.tolist(), strict=True)
        found = (frame in self.videos[name].known for name, frame in rows)
        return self.list, [Path("x") if here else None for here in found]


def windows_of(
    root: Path, videos: Mapping[str, Video], frames: Frames | None = None, *, stores: int = 1, **options: Any
) -> WindowsDataModule:
    """A data module of windows; of several stores, each has a column more than the one before."""
    given: dict[str, Any] = {"window": 4, "hop": 3, "batch_size": 2, "drop_last": False, **options}
    roots = []
    for number in range(stores):
        info = replace(INFO, sha256=f"{number:064x}", embedding=INFO.embedding + number)
        roots.append(str(write_store(root / f"store{number}", videos, info)))
    return WindowsDataModule(roots if stores > 1 else roots[0], Listed(videos, frames), image_size=1, **given)
