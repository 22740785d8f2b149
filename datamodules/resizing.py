"""Resize faces to the size of a network: what training, evaluation and prediction do alike."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from affect.preprocessing import Interpolation

Image = npt.NDArray[np.uint8]

_FLAGS: Final[dict[Interpolation, int]] = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def resize(image: Image, size: int, interpolation: Interpolation) -> Image:
    """Resize to (size, size, 3), averaging areas when shrinking."""
    if image.shape[:2] == (size, size):
        return image
    flags = cv2.INTER_AREA if max(image.shape[:2]) > size else flag_of(interpolation)
    return cv2.resize(image, (size, size), interpolation=flags).astype(np.uint8, copy=False)


def flag_of(interpolation: str) -> int:
    """Return OpenCV's number of an interpolation, or raise ValueError for an unknown one."""
    if interpolation not in _FLAGS:
        raise ValueError(f"interpolation is {interpolation!r}, expected one of {', '.join(_FLAGS)}")
    return _FLAGS[interpolation]
