"""Frames of video files, and files that are none."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from affect.errors import DataError
from videos.decoding import decode, inspect

av: Any = pytest.importorskip("av", reason="the extra `video` is not installed")
REAL = Path(__file__).resolve().parents[2] / "../shared/videos"


def test_frames_come_in_order_and_the_container_says_what_they_are(write_video: Callable[..., Path]) -> None:
    path = write_video("a:1 %05d.mp4", [[(0, 10 * t, 20, 112)] for t in range(5)], width=320, height=200)
    container = inspect(path)
    assert (container.width, container.height, container.fps, container.announced) == (320, 200, 12.5, 5)
    pictures = list(decode(path))
    assert len(pictures) == 5
    for t, (time, image) in enumerate(pictures):
        assert time == pytest.approx(t / 12.5)
        assert image.shape == (200, 320, 3)
        assert image.dtype == np.uint8
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
        with pytest.raises(DataError, match=message) as error:
            read(path)
        assert str(error.value).startswith(str(path))


def encoded(path: Path, image: np.ndarray, codec: str, pixels: str, frames: int = 3, **tags: int) -> Path:
    """A video of one picture, by a codec that OpenCV cannot write."""
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder {codec}")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], pixels
        for tag, value in tags.items():
            setattr(stream.codec_context, tag, value)
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("codec", "pixels", "tags"),
    [
        ("libsvtav1", "yuv420p", {}),
        ("libx265", "yuv420p10le", {"color_primaries": 9, "color_trc": 16, "colorspace": 9}),  # HDR10
        ("libvpx-vp9", "yuv420p", {}),
    ],
)
def test_what_telephones_and_the_web_give(tmp_path: Path, codec: str, pixels: str, tags: dict[str, int]) -> None:
    image = np.full((144, 192, 3), (60, 120, 200), np.uint8)
    image[40:100, 50:120] = (200, 160, 90)
    path = encoded(tmp_path / "v.mkv", image, codec, pixels, **tags)
    assert (inspect(path).width, inspect(path).fps) == (192, 25)
    pictures = list(decode(path))
    assert len(pictures) == 3
    assert np.abs(pictures[2].image.astype(int) - image).mean() < 12


def test_a_codec_without_a_decoder_is_named(write_video: Callable[..., Path]) -> None:
    path = write_video("v.avi", [[]] * 3)
    path.write_bytes(path.read_bytes().replace(b"mp4v", b"ZZ9x"))
    with pytest.raises(DataError, match=r"v\.avi: this FFmpeg has no decoder of its codec, ZZ9x\. Convert it"):
        inspect(path)


def test_a_song_with_its_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 11520), np.int16), format="s16p", layout="mono")
        frame.sample_rate = 44100
        container.mux([*stream.encode(frame), *stream.encode()])
    cover = b"\0image/jpeg\0\3\0" + cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    tag = b"APIC" + struct.pack(">IH", len(cover), 0) + cover
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\0" + size + tag + path.read_bytes())
    with pytest.raises(DataError, match=r"song\.mp3: no video stream in it, only a picture and audio\."):
        inspect(path)


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (270, 3)])
def test_a_video_is_turned_upright(tmp_path: Path, angle: int, turns: int) -> None:
    image = np.full((48, 96, 3), 40, np.uint8)
    image[:24, :32] = 220
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        stream.set_display_rotation(angle)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    (picture,) = decode(path)
    done, expected = cv2.VideoCapture(str(path)).read()  # turns it by itself
    assert done
    assert picture.image.shape == expected.shape == np.rot90(image, turns).shape
    assert np.abs(picture.image.astype(int) - expected).max() <= 4


def test_damaged_packets_cost_their_pictures_and_no_others(write_video: Callable[..., Path]) -> None:
    path = write_video("v.avi", [[(0, 5 * t, 20, 112)] for t in range(9)])
    content = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"00dc", content[: content.rindex(b"idx1")])]
    content[starts[3] + 8 : starts[4]] = b"\xff" * (starts[4] - starts[3] - 8)
    path.write_bytes(content)
    assert 8 <= len(list(decode(path))) <= 9


def test_without_pyav_its_package_is_named(write_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video("v.mp4", [[]])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r'PyAV, which cannot be loaded .*: pip install -e "\.\[video\]"'):
        inspect(path)


@pytest.mark.parametrize("name", ["pyfeat_single_face.mp4", "intel_asl_bird.mkv"])
def test_real_pictures_are_those_of_opencv(name: str) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"{REAL / name} is not there: real videos are not part of the repository")
    capture = cv2.VideoCapture(str(REAL / name), cv2.CAP_FFMPEG)
    pictures = list(decode(REAL / name))
    for picture in pictures:
        done, expected = capture.read()
        assert done
        assert np.abs(picture.image.astype(int) - expected).max() <= 2
    assert not capture.read()[0]
