"""How networks are asked about a stream of faces: what checkpoints and exported files have in common, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from affect.frames import FloatArray
from affect.labels import TASKS, Task
from affect.preprocessing import Preprocessing
from datamodules.resizing import Image, resize

Weights: TypeAlias = str | Sequence[str | None] | None
"""Of heads on stored features: where the networks of the stores are now; None: where they were (``runs.frozen``)."""


class Asked(Protocol):
    """Asks a network about a stream of faces."""

    def add(self, faces: Sequence[Image]) -> None:
        """Ask about the next ones."""

    def said(self) -> Mapping[str, Any]:
        """Return what was said of all faces, (N, …) by task, when the stream has ended: arrays, or tensors on a CPU."""


class OneByOne:
    """Asks about each face alone.

    Args:
        ask: says something of B faces, by task: arrays, or tensors on any device.
    """

    def __init__(self, ask: Callable[[Sequence[Image]], Mapping[str, Any]]) -> None:
        self._ask = ask
        self._said: dict[Task, list[FloatArray]] = {}

    def add(self, faces: Sequence[Image]) -> None:
        """Ask about the next ones."""
        said = self._ask(faces)
        for task in TASKS:
            if task in said:
                self._said.setdefault(task, []).append(as_array(said[task]))

    def said(self) -> Mapping[str, FloatArray]:
        """Return what was said, in the order of the faces."""
        return {task: np.concatenate(values) for task, values in self._said.items()}


def as_array(values: Any) -> FloatArray:
    """Return an array, or a tensor on any device, as a float32 array."""
    return np.asarray(values if isinstance(values, np.ndarray) else values.float().cpu(), dtype=np.float32)


def shaped(faces: Sequence[Image], wanted: Preprocessing) -> Image:
    """Return a network's input, (B, 3, H, W) uint8, of B RGB crops of any size."""
    images = np.stack([resize(face, wanted.image_size, wanted.interpolation) for face in faces])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
