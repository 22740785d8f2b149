"""Small videos with rendered faces at known places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from rendering.face import render
from rendering.sketch import SIZE
from rendering.video import UNI_TRAIN, draw_video


def picture_of(person: int, size: int) -> np.ndarray:
    drawn = draw_video(3, UNI_TRAIN, person, 1)
    return cv2.resize(render(drawn.person, drawn.moments[0], drawn.background), (size, size))


def centre_of(person: int, left: int, top: int, size: int) -> tuple[float, float]:
    """Where the middle between brows and chin of a placed face is, px, by the pose in which it was drawn."""
    pose = draw_video(3, UNI_TRAIN, person, 1).moments[0].pose
    x, y = pose.project(np.array([[0.0, 12.0, 8.0]]))[0] / SIZE * size
    return left + x, top + y


Placed = tuple[int, int, int, int]  # person, left, top, size of the picture


@pytest.fixture
def write_video(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of videos: the pictures that are in each frame, on grey."""

    def write(name: str, frames: Sequence[Sequence[Placed]], width: int = 400, height: int = 300) -> Path:
        path = tmp_path / name
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (width, height))
        assert writer.isOpened()
        pictures = {(person, size): picture_of(person, size) for placed in frames for person, _, _, size in placed}
        for placed in frames:
            frame = np.full((height, width, 3), 110, np.uint8)
            for person, left, top, size in placed:
                frame[top : top + size, left : left + size] = pictures[person, size]
            writer.write(frame)
        writer.release()
        return path

    return write
