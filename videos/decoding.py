"""Frames of a video file, in the order in which they are decoded."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.labels import DataError

Image = npt.NDArray[np.uint8]


class VideoError(DataError):
    """A video, or a folder of faces made of videos, that cannot be used."""


@dataclass(frozen=True)
class Container:
    """What a video says of itself.

    Attributes:
        width: of its first frame as it is shown, px (a telephone's video is turned upright).
        height: likewise.
        fps: frames per second as the container says; None where it does not.
        announced: number of frames as the container says, which may differ from those that can be decoded; None where
            it does not.
    """

    width: int
    height: int
    fps: float | None
    announced: int | None


def inspect(path: Path) -> Container:
    """Read the container and decode the first frame.

    Raises:
        VideoError: the file is missing, no video, or cut off before the first frame.
    """
    capture = _open(path)
    try:
        decoded, image = capture.read()
        if not decoded:
            raise VideoError(f"{path}: no frame of it can be decoded; it is truncated, or no video. Copy it again.")
        return Container(
            width=image.shape[1],
            height=image.shape[0],
            fps=_positive(capture.get(cv2.CAP_PROP_FPS)),
            announced=None if (count := _positive(capture.get(cv2.CAP_PROP_FRAME_COUNT))) is None else int(count),
        )
    finally:
        capture.release()


def decode(path: Path) -> Iterator[Image]:
    """Yield each frame, (H, W, 3) uint8 BGR, up to the last one that can be decoded.

    Raises:
        VideoError: the file is missing, or no video.
    """
    capture = _open(path)
    try:
        while True:
            decoded, image = capture.read()
            if not decoded:
                return
            yield image.astype(np.uint8, copy=False)
    finally:
        capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise VideoError(f"{path}: no such file. Give the path of a video.")
    # FFmpeg by name: OpenCV's other backend would take `clip_001.jpg` for a series of pictures; an absolute path,
    # because FFmpeg reads `clip:1.mp4` as a protocol
    capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise VideoError(f"{path}: OpenCV cannot read it; it is truncated, or no video. Copy it again.")
    return capture


def _positive(value: float) -> float | None:
    """Return the value; None for what OpenCV gives where the container does not say: 0, a negative number or NaN."""
    return value if math.isfinite(value) and value > 0 else None
