"""Features as the published EmotiEffNet code keeps them: one pickled dictionary, whole in memory."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Frame = tuple[str, NDArray[np.float32], NDArray[np.float32]]


def write(path: Path, frames: Iterable[Frame]) -> None:
    """Collect every frame's embedding and scores under its name, then pickle them."""
    features = {name: (embedding, scores) for name, embedding, scores in frames}
    with path.open("wb") as file:
        pickle.dump(features, file, protocol=4)


def read(path: Path, batch_size: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Unpickle everything, then yield shuffled batches of embeddings."""
    with path.open("rb") as file:
        features = pickle.load(file)
    names = np.random.default_rng(seed).permutation(list(features))
    for start in range(0, len(names), batch_size):
        yield np.stack([features[name][0] for name in names[start : start + batch_size]])
