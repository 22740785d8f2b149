"""Transform images: uint8 RGB in, uint8 RGB of the network's size out. Only this file uses albumentations.

Every random draw is a pure function of (seed, epoch, row). albumentations 2.0.8 keeps its own generators, which every
DataLoader worker would copy and no outside seed reaches. Here all steps share one pair of generators, re-seeded before
each image: much cheaper than building new ones.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Protocol

import cv2
import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise it asks the network for a newer version on import
import albumentations as A  # type: ignore[import-untyped]
from albumentations.augmentations.pixel import functional as pixels  # type: ignore[import-untyped]

from affect.batch import Augmentation
from affect.preprocessing import IMAGENET, Interpolation
from affect.settings import Count, NotNegative, Probability, Range, Whole, buildable
from datamodules.resizing import Image, flag_of, resize

_PCG64_INCREMENT: Final = 0xDA3E39CB94B95BDB  # any odd number: it selects the stream, and the state comes from the row
STORED_SIZE: Final = 112
"""Side of Aff-Wild2's aligned crops, px, and of the images passed to a method that augments them itself."""


class Transform(Protocol):
    """The interface of a dataset's transform and a data module's augmentation.

    A class that a file in conf/augmentation names gets ``image_size``, ``interpolation`` and ``seed`` besides the keys
    of that file.
    """

    image_size: int

    def __call__(self, image: Image, *, epoch: int, row: int) -> Image:
        """Return the (image_size, image_size, 3) uint8 picture that epoch ``epoch`` sees of row ``row``."""
        ...

    def left_to_do(self, *, epoch: int, row: int) -> Augmentation | None:
        """Return the augmentation that the method must still apply, or None if all is done."""
        ...


class _Pipeline:
    """albumentations steps whose randomness is a pure function of (seed, epoch, row)."""

    def __init__(self, steps: Sequence[A.BasicTransform], *, image_size: int, seed: int) -> None:
        self.image_size = image_size
        self.seed = seed
        self._numpy = np.random.Generator(np.random.PCG64(seed))
        self._python = random.Random(seed)
        self._steps = A.Compose(list(steps))
        self._steps.set_random_state(self._numpy, self._python)

    def __call__(self, image: Image, *, epoch: int, row: int) -> Image:
        """Transform one image.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.
            epoch: epoch number, so that epochs differ.
            row: row number in the split's list, so that rows differ.

        Returns:
            (image_size, image_size, 3) uint8 RGB.
        """
        key = hashlib.blake2b(f"{self.seed},{epoch},{row}".encode(), digest_size=24).digest()
        self._python.seed(int.from_bytes(key[:8], "little"))
        self._numpy.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": int.from_bytes(key[8:], "little"), "inc": _PCG64_INCREMENT},
            "has_uint32": 0,
            "uinteger": 0,
        }
        result: Image = self._steps(image=image)["image"]
        return result

    def left_to_do(self, *, epoch: int, row: int) -> None:
        """Return None: all is done."""


@buildable("augmentation")
class JitterAndCrop:
    """Augmentation of EMMA and of CoTEX: colour jitter, horizontal flip, resize a little larger, random crop.

    Jitter and flip are applied to the stored face (112 px), which is cheaper than after enlarging. All parameters are
    drawn first, so that a method that looks at few patches can apply them itself. The jitter's steps have a fixed
    order; torchvision's, which the papers' code calls, have a random one.

    Args:
        image_size: side of the network's input, px.
        resize_ratio: the image is resized to int(image_size · resize_ratio) before the crop; at least 1.
        flip: probability of the horizontal flip.
        jitter_probability: probability of the colour jitter.
        brightness: factor drawn from [1 − brightness, 1 + brightness].
        contrast: factor drawn from [1 − contrast, 1 + contrast].
        saturation: factor drawn from [1 − saturation, 1 + saturation].
        hue: hue shift drawn from [−hue, hue], as a fraction of the colour circle.
        grey: probability of conversion to grey. Like the next two not in the papers: for small sets of photographs.
        affine: probability of rotation (up to 15°), scaling (``smallest`` to 1.15) and shift (up to 0.06 of the side);
            the border is repeated outside.
        smallest: least scale of ``affine``: below 1, faces get smaller.
        erase: probability of erasing one rectangle (2–33 % of the area) to ImageNet's mean colour.
        blur: probability of blur (sigma 0.3–1.5 px of the result). Like the next two not in the papers: photographs
            have more of them than drawn faces.
        noise: probability of sensor noise (deviation 2–15 grey levels).
        jpeg: probability of JPEG compression (quality 30–90).
        input: ``full``: apply all of this; ``visible``: return pictures of ``STORED_SIZE`` and the augmentation, for a
            method that computes only the patches that it looks at.
        interpolation: how images are enlarged; shrinking averages areas, so that it does not alias.
        seed: decides every draw, together with epoch and row.

    Raises:
        ValueError: a resize ratio below 1, an unknown interpolation, or ``visible`` with one of the changes from
            ``affine`` to ``jpeg``.
    """

    def __init__(
        self,
        *,
        image_size: Count,
        resize_ratio: Annotated[float, Range(least=1)] = 1.04,
        flip: Probability = 0.5,
        jitter_probability: Probability = 0.2,
        brightness: NotNegative = 0.4,
        contrast: NotNegative = 0.4,
        saturation: NotNegative = 0.4,
        hue: Annotated[float, Range(least=0, most=0.5)] = 0.1,
        grey: Probability = 0.0,
        affine: Probability = 0.0,
        smallest: Annotated[float, Range(above=0, most=1)] = 0.85,
        erase: Probability = 0.0,
        blur: Probability = 0.0,
        noise: Probability = 0.0,
        jpeg: Probability = 0.0,
        input: Literal["full", "visible"] = "full",
        interpolation: Interpolation = "bilinear",
        seed: Whole = 0,
    ) -> None:
        if resize_ratio < 1:
            raise ValueError(
                f"resize_ratio is {resize_ratio}, but a crop cannot be larger than the resized image: >= 1"
            )
        flag_of(interpolation)
        self.visible = input == "visible"
        changes = {"affine": affine, "erase": erase, "blur": blur, "noise": noise, "jpeg": jpeg}
        whole = any(changes.values())
        if self.visible and whole:
            unset = " ".join(f"{name}=0" for name, share in changes.items() if share)
            raise ValueError(f"input=visible leaves no whole picture to change: set {unset}")
        self.image_size = STORED_SIZE if self.visible else image_size
        self.crop_size, self.resized = image_size, int(image_size * resize_ratio)
        self.flip, self.jitter_probability, self.grey = flip, jitter_probability, grey
        self.strengths = (brightness, contrast, saturation, hue)
        self.interpolation: Interpolation = interpolation
        self.seed = seed
        self._random = random.Random()
        moved = {"rotate": (-15, 15), "scale": (smallest, 1.15), "translate_percent": (-0.06, 0.06)}
        steps = [
            A.Affine(**moved, keep_ratio=True, border_mode=cv2.BORDER_REPLICATE, p=affine),
            _erasing(erase),
        ]
        if blur or noise or jpeg:  # a step that is never taken would still take its draws
            steps += [
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.5), p=blur),
                A.GaussNoise(std_range=(2 / 255, 15 / 255), p=noise),
                A.ImageCompression(quality_range=(30, 90), p=jpeg),
            ]
        self._then = _Pipeline(steps, image_size=image_size, seed=seed) if whole else None

    def draw(self, *, epoch: int, row: int) -> Augmentation:
        """Return the parameters of a row in an epoch; apart from these they depend on the seed only."""
        key = hashlib.blake2b(f"{self.seed},{epoch},{row}".encode(), digest_size=16).digest()
        self._random.seed(int.from_bytes(key, "little"))
        draws = [self._random.random() for _ in range(9)]
        offsets = self.resized - self.crop_size + 1
        jittered = draws[3] < self.jitter_probability
        brightness, contrast, saturation, hue = (
            strength * (2 * value - 1) if jittered else 0.0
            for strength, value in zip(self.strengths, draws[4:8], strict=True)
        )
        return Augmentation(
            resized=self.resized,
            top=int(draws[0] * offsets),
            left=int(draws[1] * offsets),
            flip=float(draws[2] < self.flip),
            brightness=1 + brightness,
            contrast=1 + contrast,
            saturation=0.0 if draws[8] < self.grey else 1 + saturation,
            hue=hue,
        )

    def left_to_do(self, *, epoch: int, row: int) -> Augmentation | None:
        """Return the parameters if the method applies them, else None."""
        return self.draw(epoch=epoch, row=row) if self.visible else None

    def __call__(self, image: Image, *, epoch: int, row: int) -> Image:
        """Augment one (H, W, 3) image, or bring it to the stored size."""
        if self.visible:
            return resize(image, STORED_SIZE, self.interpolation)
        image = augment(image, self.draw(epoch=epoch, row=row), self.crop_size, self.interpolation)
        return image if self._then is None else self._then(image, epoch=epoch, row=row)


@buildable("augmentation")
class MAETransform(_Pipeline):
    """Augmentation of masked autoencoding (He et al. 2022): random resized crop (20–100 % of the area) and flip.

    Args:
        image_size: side of the result, px.
        least_area: smallest share of the picture that a crop has.
        flip: probability of the horizontal flip.
        interpolation: how crops are enlarged.
        seed: decides every draw, together with epoch and row.

    Raises:
        ValueError: an unknown interpolation.
    """

    def __init__(
        self,
        *,
        image_size: Count,
        least_area: Annotated[float, Range(above=0, most=1)] = 0.2,
        flip: Probability = 0.5,
        interpolation: Interpolation = "bicubic",
        seed: Whole = 0,
    ) -> None:
        crop = A.RandomResizedCrop(
            (image_size, image_size),
            scale=(least_area, 1.0),
            ratio=(3 / 4, 4 / 3),
            interpolation=flag_of(interpolation),
            area_for_downscale="image",
        )
        super().__init__([crop, A.HorizontalFlip(p=flip)], image_size=image_size, seed=seed)


@buildable("augmentation")
class DANTransform(_Pipeline):
    """Augmentation of DAN (github.com/yaoing/DAN): resize, flip, affine with p = 0.7, random erasing.

    Args:
        image_size: side of the result, px.
        flip: probability of the horizontal flip.
        affine: probability of the affine transform (to 20°, scale 0.8–1, shift to 0.2 of the side; black outside).
        erase: probability of erasing one rectangle (2–33 % of the area, aspect 0.3–3.3) to ImageNet's mean colour,
            which is 0 once normalised, as in the published code.
        interpolation: how images are enlarged.
        seed: decides every draw, together with epoch and row.

    Raises:
        ValueError: an unknown interpolation.
    """

    def __init__(
        self,
        *,
        image_size: Count,
        flip: Probability = 0.5,
        affine: Probability = 0.7,
        erase: Probability = 0.5,
        interpolation: Interpolation = "bilinear",
        seed: Whole = 0,
    ) -> None:
        super().__init__(
            [
                _resize(image_size, interpolation),
                A.HorizontalFlip(p=flip),
                A.Affine(
                    rotate=(-20, 20), scale=(0.8, 1.0), translate_percent=(-0.2, 0.2), keep_ratio=True, fill=0, p=affine
                ),
                _erasing(erase),
            ],
            image_size=image_size,
            seed=seed,
        )


def augment(image: Image, augmentation: Augmentation, size: int, interpolation: Interpolation) -> Image:
    """Apply an augmentation to a whole (H, W, 3) picture; return (size, size, 3)."""
    image = pixels.adjust_brightness_torchvision(image, augmentation.brightness)
    image = pixels.adjust_contrast_torchvision(image, augmentation.contrast)
    image = pixels.adjust_saturation_torchvision(image, augmentation.saturation)
    image = pixels.adjust_hue_torchvision(image, augmentation.hue)
    if augmentation.flip:
        image = np.ascontiguousarray(image[:, ::-1])
    image = resize(image, int(augmentation.resized), interpolation)
    top, left = int(augmentation.top), int(augmentation.left)
    return image[top : top + size, left : left + size]


class EvalTransform(_Pipeline):
    """Resizes straight to the network's size, without anything random.

    Args:
        image_size: side of the result, px.
        interpolation: how images are enlarged.

    Raises:
        ValueError: an unknown interpolation.
    """

    def __init__(self, *, image_size: int, interpolation: Interpolation = "bilinear") -> None:
        super().__init__([_resize(image_size, interpolation)], image_size=image_size, seed=0)


def middle_square(image: Image) -> Image:
    """Return the largest square in the middle of an (H, W, 3) picture."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _resize(size: int, interpolation: str) -> Any:
    """Return the step that resizes to ``size`` x ``size``, averaging areas where that shrinks the image."""
    return A.Resize(size, size, interpolation=flag_of(interpolation), area_for_downscale="image")


def _erasing(probability: float) -> Any:
    """Return the step that erases one rectangle to ImageNet's mean colour."""
    colour = tuple(round(255 * mean) for mean in IMAGENET.mean)
    return A.Erasing(scale=(0.02, 0.33), ratio=(0.3, 3.3), fill=colour, p=probability)
