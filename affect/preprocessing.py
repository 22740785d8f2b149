"""How a network wants its images prepared. This belongs to the weights, not to the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

Interpolation = Literal["bilinear", "bicubic"]

LARGEST: Final = 4096
"""Side in pixels of the largest input; a damaged file may say anything."""


@dataclass(frozen=True)
class Preprocessing:
    """Size and normalisation with which weights were trained; the defaults are ImageNet's.

    Attributes:
        mean: mean of each RGB channel, of values in [0, 1].
        std: standard deviation of each RGB channel, of values in [0, 1].
        image_size: side of the square input in pixels.
        interpolation: how images are resized to ``image_size``; down-scaling is antialiased.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    image_size: int = 224
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation not in get_args(Interpolation):
            raise ValueError(f"interpolation={self.interpolation!r}: choose one of {get_args(Interpolation)}")
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ValueError(f"mean={self.mean}, std={self.std}: three values each, std above 0")
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise ValueError(f"mean={self.mean}, std={self.std}: values must be finite")
        if type(self.image_size) is not int or not 1 <= self.image_size <= LARGEST:
            raise ValueError(f"image_size={self.image_size!r}: give pixels, 1 to {LARGEST}")

    def at(self, image_size: int, interpolation: Interpolation | None = None) -> Preprocessing:
        """Return a copy with this input size and, unless it is None, this interpolation."""
        return replace(self, image_size=image_size, interpolation=interpolation or self.interpolation)


IMAGENET = Preprocessing()
