"""Frames of video files, and files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from videos.decoding import VideoError, decode, inspect


def test_frames_come_in_order_and_the_container_says_what_they_are(write_video: Callable[..., Path]) -> None:
    path = write_video("a:1 %05d.mp4", [[(0, 10 * t, 20, 112)] for t in range(5)], width=320, height=200)
    container = inspect(path)
    assert (container.width, container.height, container.fps, container.announced) == (320, 200, 12.5, 5)
    images = list(decode(path))
    assert len(images) == 5
    assert all(image.shape == (200, 320, 3) and image.dtype == np.uint8 for image in images)
    for t, image in enumerate(images):
        columns = np.flatnonzero(np.abs(image[20:132].astype(int) - 110).max(axis=(0, 2)) > 30)
        assert columns.min() == pytest.approx(10 * t, abs=12)


@pytest.mark.parametrize("kind", ["missing", "text", "truncated", "folder"])
def test_a_file_that_is_no_video_is_named(write_video: Callable[..., Path], tmp_path: Path, kind: str) -> None:
    path = tmp_path / "v.mp4"
    if kind == "text":
        path.write_text("no video")
    elif kind == "truncated":
        content = write_video("v.mp4", [[]] * 3).read_bytes()
        path.write_bytes(content[: len(content) // 2])
    elif kind == "folder":
        path.mkdir()
    message = "no such file" if kind in ("missing", "folder") else "truncated, or no video"
    for read in (inspect, lambda path: next(decode(path))):
        with pytest.raises(VideoError, match=message) as error:
            read(path)
        assert str(error.value).startswith(str(path))
