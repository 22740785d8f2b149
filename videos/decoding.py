"""Decode the pictures of a video file with their times, in the order in which they are shown."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from affect.errors import DataError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Image = npt.NDArray[np.uint8]

INSTALL: Final = 'pip install -e ".[video]"'


FASTEST: Final = 10_000
"""Frames per second from which on a container's rate is ignored: some say 90,000, the unit of their times."""


@dataclass(frozen=True)
class Container:
    """What a video's container says about it.

    Attributes:
        width: width of its first frame as it is shown, px (a telephone's video is turned upright).
        height: height of that frame, px.
        fps: frames per second according to the container; None if it does not say.
        announced: number of frames according to the container, which may differ from what can be decoded; None if it
            does not say.
    """

    width: int
    height: int
    fps: float | None
    announced: int | None


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        time: time at which it is shown, s after the beginning of the stream; None if the file does not say.
        image: (H, W, 3) uint8 BGR, upright.
    """

    time: float | None
    image: Image


def inspect(path: Path) -> Container:
    """Read the container and decode the first frame.

    Raises:
        DataError: the file is missing, has no video stream or one in a codec that cannot be decoded, is cut off before
            the first frame, or PyAV is not installed.
    """
    with opened(path) as (container, stream):
        first = next(_frames(container, stream), None)
        if first is None:
            codec = stream.codec_context.name
            raise DataError(
                f"{path}: no frame of its {codec} stream can be decoded; it is truncated, or this FFmpeg cannot do "
                f"{codec} here. Copy it again, or convert it: ffmpeg -i FILE OTHER.mp4"
            )
        height, width = _image(first).shape[:2]
        rate = float(stream.guessed_rate or 0)
        fps = rate if 0 < rate < FASTEST else None
        seconds = _seconds(container, stream)
        return Container(
            width=width,
            height=height,
            fps=fps,
            announced=stream.frames or (round(seconds * fps) if seconds and fps else None),
        )


def decode(path: Path, wanted: AbstractSet[int] | None = None) -> Iterator[Picture]:
    """Yield each picture up to the last one that can be decoded; damaged ones are left out.

    Args:
        path: of the file.
        wanted: numbers of the pictures that are yielded, from 0; None: all. The others cost less.

    Raises:
        DataError: the file is missing, has no video stream or one in a codec that cannot be decoded, or PyAV is not
            installed.
    """
    with opened(path) as (container, stream):
        for number, frame in enumerate(_frames(container, stream)):
            if wanted is None or number in wanted:
                yield to_picture(frame, stream)


def check_same_length(path: Path, before: int, now: int) -> None:
    """Refuse a video that is decoded a second time with another number of frames.

    Raises:
        DataError: it is.
    """
    if now != before:
        raise DataError(f"{path}: {before} frames at the first reading, {now} at the second. Is it being written?")


def to_picture(frame: VideoFrame, stream: VideoStream) -> Picture:
    """Return a decoded frame as an upright picture, with its time."""
    time = None
    if frame.pts is not None and stream.time_base is not None:
        time = float((frame.pts - (stream.start_time or 0)) * stream.time_base)
    return Picture(time, _image(frame))


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the file's container and its first stream of moving pictures; a song's cover does not count."""
    if not path.is_file():
        raise DataError(f"{path}: no such file. Give the path of a video.")
    av = import_av()
    try:
        # `file:` because FFmpeg reads `clip:1.mp4` as a protocol; and a playlist must not lead into the network
        container = av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file"})
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path}: FFmpeg cannot read it ({error.strerror}); it is truncated, or no video. Copy it again."
        ) from error
    with container:
        yield container, stream_of(container, path)


def stream_of(container: InputContainer, path: Path | str) -> VideoStream:
    """Return a container's first stream of moving pictures.

    Raises:
        DataError: there is none, or no decoder for it; the message names ``path``.
    """
    cover = import_av().stream.Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise DataError(f"{path}: no video stream in it, only {_content(container)}. Leave the file out.")
    if streams[0].codec_context is None:
        raise DataError(
            f"{path}: this FFmpeg has no decoder of its codec, {_codec(container, streams[0])}. "
            "Convert it where there is one: ffmpeg -i FILE OTHER.mp4"
        )
    return streams[0]


def _frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    for packet in packets(container, stream):
        yield from frames_of(packet)


def packets(container: InputContainer, *streams: Stream) -> Iterator[Packet[Any]]:
    """Yield the packets of some streams, up to where the file is cut off."""
    read = container.demux(*streams)
    while True:
        try:
            yield next(read)
        except (StopIteration, import_av().error.FFmpegError):
            return


def frames_of(packet: Packet[VideoStream]) -> Iterator[VideoFrame]:
    """Decode what can be decoded of a packet; none if it is damaged."""
    with suppress(import_av().error.FFmpegError):
        yield from packet.decode()


def _image(frame: VideoFrame) -> Image:
    image = frame.to_ndarray(format="bgr24")
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90), dtype=np.uint8)


def _seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the duration of the stream, or of the container where the stream has none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / 1e6


def _content(container: InputContainer) -> str:
    kinds = sorted({"a picture" if stream.type == "video" else str(stream.type) for stream in container.streams})
    return " and ".join(kinds) or "nothing"


def _codec(container: Any, stream: VideoStream) -> str:
    """Return the name of a stream's codec; PyAV gives FFmpeg's name only where there is no decoder."""
    logging = importlib.import_module("av.logging")
    level = logging.get_level()
    logging.set_level(logging.INFO)
    try:
        found = re.search(rf"Stream #0:{stream.index}\b.*?Video: (?:none \()?(\w+)", container.dumps_format())
    finally:
        logging.set_level(level)
    return found[1] if found else "which has no name"


def import_av() -> Any:
    """Return PyAV, which is imported where a video is read: prepare.py has other uses."""
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise DataError(f"videos are decoded by PyAV, which cannot be loaded ({error}): {INSTALL}") from error
