"""What the data modules of Aff-Wild2 share: the augmentation of EMMA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Unpack

from affect.ranges import NotNegative, Probability, Range
from datamodules.base import FaceDataModule, LoaderOptions, Split
from datamodules.transforms import TrainTransform


class AugmentationOptions(LoaderOptions, total=False):
    """The keywords of ``AugmentedDataModule``, which its subclasses hand on."""

    resize_ratio: float
    flip: float
    jitter_probability: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float
    affine: float
    erase: float


class AugmentedDataModule(FaceDataModule):
    """Base of the data modules whose training images are augmented as EMMA's.

    Args:
        resize_ratio: see ``TrainTransform``, also for the nine below.
        flip: probability of the horizontal flip.
        jitter_probability: probability of the colour jitter.
        brightness: strength of the jitter.
        contrast: strength of the jitter.
        saturation: strength of the jitter.
        hue: strength of the jitter.
        grey: probability of taking the colours away.
        affine: probability of turning, scaling and shifting a little.
        erase: probability of erasing a rectangle.
        **options: see ``FaceDataModule``.
    """

    def __init__(
        self,
        *,
        resize_ratio: Annotated[float, Range(least=1)] = 1.04,
        flip: Probability = 0.5,
        jitter_probability: Probability = 0.2,
        brightness: NotNegative = 0.4,
        contrast: NotNegative = 0.4,
        saturation: NotNegative = 0.4,
        hue: Annotated[float, Range(least=0, most=0.5)] = 0.1,
        grey: Probability = 0.0,
        affine: Probability = 0.0,
        erase: Probability = 0.0,
        **options: Unpack[LoaderOptions],
    ) -> None:
        super().__init__(**options)
        self.augmentation = {
            "resize_ratio": resize_ratio,
            "flip": flip,
            "jitter_probability": jitter_probability,
            "brightness": brightness,
            "contrast": contrast,
            "saturation": saturation,
            "hue": hue,
            "grey": grey,
            "affine": affine,
            "erase": erase,
        }

    def kept_apart(self, split: Split) -> Sequence[str]:
        """Return the video of each row: its frames are too alike to be in two splits."""
        return self.frames(split).video

    def train_transform(self) -> TrainTransform:
        """Return the augmentation of EMMA."""
        return TrainTransform(
            image_size=self.image_size, interpolation=self.interpolation, seed=self.seed, **self.augmentation
        )
