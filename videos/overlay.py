"""Draw over a video, or a picture, what is said of its faces, and write it again."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from PIL import ImageFont

from affect.errors import DataError
from affect.files import whole_file
from affect.labels import AFFECT
from videos.decoding import Image, Picture, frames_of, import_av, inspect, opened, packets, to_picture
from videos.tracks import Array
from videos.watching import RATE

TRAIL: Final = 1.0
"""For how long the dot of valence and arousal leaves a trail, s."""

CODEC, QUALITY, SPEED = "libx264", "20", "veryfast"  # every player knows it; 18 cannot be told from the original
SUFFIXES: Final = {"mp4": ".mp4", "matroska": ".mkv"}
"""Of the formats in which an overlay may be written."""
MP4_SOUNDS: Final = frozenset(["aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"])
"""Codecs that players find in MP4."""
# the index goes to the front, so that a browser shows the beginning before it has the end
_OPTIONS: Final = {"mp4": {"movflags": "+faststart"}, "matroska": {}}
_TICK: Final = Fraction(1, 90_000)  # in which times are written, s
_DARK: Final = (26, 21, 18)  # BGR, under all text: it is read on light pictures and on dark ones
_LIGHT: Final = (245, 242, 240)
_SHADE: Final = 0.8  # how much the dark covers
_COVER: Final = 0.05  # of a face, or of its text, that a panel may hide


@dataclass(frozen=True)
class Mark:
    """What is drawn of one face.

    Attributes:
        face_id: whose.
        colour: ``#rrggbb``.
        box: left, top, width, height, px.
        expression: what it is said to show; empty: nothing is said.
        affect: valence and arousal, -1..1; None: nothing is said.
        units: of action units, number and probability, 0..1.
    """

    face_id: int
    colour: str
    box: tuple[float, float, float, float]
    expression: str = ""
    affect: tuple[float, float] | None = None
    units: Sequence[tuple[int, float]] = ()


@dataclass
class Pen:
    """Draws the marks of a video's pictures, one after the other; it remembers the trails, and where panels stand."""

    _trails: dict[int, deque[tuple[float, float, float]]] = field(default_factory=dict)
    _places: dict[int, int] = field(default_factory=dict)

    def draw(self, image: Image, marks: Sequence[Mark], time: float = 0.0) -> Image:
        """Return the picture with its marks.

        Args:
            image: (H, W, 3) uint8 BGR.
            marks: of its faces.
            time: at which it is shown, s.
        """
        image = image.copy()
        size = max(11, round(11 * (min(image.shape[:2]) / 360) ** 0.75))
        line = max(2, size // 6)
        for mark in marks:
            left, top, right, bottom = (round(edge) for edge in _edges(mark))
            for colour, width in ((_DARK, line + 2), (_bgr(mark.colour), line)):
                cv2.rectangle(image, (left, top), (right, bottom), colour, width, cv2.LINE_AA)
        tags = {mark.face_id: _tag(image, mark, size) for mark in marks}
        panels: list[Array] = []
        places = {}
        for mark in sorted(marks, key=lambda one: -one.box[3]):
            trail = self._trail(mark, time)
            if mark.affect is None and not mark.units:
                continue
            others = [box for other in marks if other is not mark for box in (_edges(other), tags[other.face_id])]
            last = self._places.get(mark.face_id)
            found = _place(mark, tags[mark.face_id], image, _panel_size(mark, size), [*others, *panels], last)
            if found is not None:
                number, corner = found
                places[mark.face_id] = number
                panels.append(_panel(image, mark, corner, size, trail))
        self._places = places
        gone = [face_id for face_id, trail in self._trails.items() if time - trail[-1][0] > TRAIL]
        for face_id in gone:
            del self._trails[face_id]
        return image

    def _trail(self, mark: Mark, time: float) -> Sequence[tuple[float, float, float]]:
        """Return time, valence and arousal of a person's last second."""
        if mark.affect is None:
            return ()
        trail = self._trails.setdefault(mark.face_id, deque())
        trail.append((time, *mark.affect))
        while time - trail[0][0] > TRAIL:
            trail.popleft()
        return trail


def write_overlay(path: Path, out: Path, draw: Callable[[Picture], Image], count: int) -> Path:
    """Write a video again with its pictures drawn over, upright, at their times; its sound is copied as it is.

    It holds a few pictures at a time. The file appears as a whole or not at all.

    Args:
        path: of the video.
        out: of the new one, without its suffix: MP4, or Matroska where the sound is of a kind that MP4 cannot hold.
        draw: makes a picture from each of the video's, in their order, for which a time is always told.
        count: how many pictures it must have.

    Returns:
        Path of the new video.

    Raises:
        DataError: the video cannot be decoded, has more or fewer pictures, or a sound that cannot be copied; or this
            FFmpeg cannot encode.
    """
    av, about = import_av(), inspect(path)
    with opened(path) as (container, stream):
        sounds = container.streams.audio
        kind = _kind(path, av, sounds)
        out = out.with_name(out.name + SUFFIXES[kind])
        rate = about.fps or RATE
        with (
            whole_file(out) as beside,
            av.open(f"file:{beside.absolute()}", "w", format=kind, options=_OPTIONS[kind]) as made,
        ):
            try:
                film = made.add_stream(
                    CODEC, rate=Fraction(rate).limit_denominator(1001), options={"crf": QUALITY, "preset": SPEED}
                )
            except (av.error.FFmpegError, ValueError) as error:
                raise DataError(f"{path}: this FFmpeg cannot write {CODEC} ({error}): pip install av") from error
            film.pix_fmt = "yuv420p"
            film.width, film.height = (side + side % 2 for side in (about.width, about.height))
            film.codec_context.time_base = _TICK
            copies = {sound.index: made.add_stream_from_template(sound) for sound in sounds}
            now, number = -1e-3, 0
            for packet in packets(container, stream, *sounds):
                if packet.stream_index != stream.index:
                    _copy(av, made, packet, copies[packet.stream_index], stream)
                    continue
                for frame in frames_of(packet):
                    if number == count:
                        raise DataError(f"{path}: it has more than {count} frames, as it had before: has it changed?")
                    told = to_picture(frame, stream)
                    # a damaged file may tell times that do not increase
                    now = max(now + 1e-3, told.time if told.time is not None else number / rate)
                    image = draw(Picture(now, told.image))
                    shown = av.VideoFrame.from_ndarray(_fitted(image, film.width, film.height), format="bgr24")
                    shown.pts, shown.time_base = round(now / _TICK), _TICK
                    made.mux(film.encode(shown))
                    number += 1
            if number != count:
                raise DataError(f"{path}: it has {number} frames, and had {count} before: has it changed?")
            made.mux(film.encode())
    return out


def _kind(path: Path, av: Any, sounds: Sequence[Any]) -> str:
    """Return the format that holds the sounds of a video."""
    codecs = {"" if sound.codec_context is None else sound.codec_context.codec.canonical_name for sound in sounds}
    if codecs <= MP4_SOUNDS:
        return "mp4"
    with av.open(io.BytesIO(), "w", format="matroska") as made:
        if lacking := codecs - made.supported_codecs:
            raise DataError(f"{path}: its sound ({', '.join(lacking)}) cannot be copied: ffmpeg -i FILE OTHER.mp4")
    return "matroska"


def _copy(av: Any, made: Any, packet: Any, copy: Any, film: Any) -> None:
    """Copy a packet of the sound, so that it is heard with the picture with which it was."""
    if packet.dts is None or packet.size == 0:
        return
    begins = round((film.start_time or 0) * film.time_base / packet.time_base)
    packet.dts -= begins
    if packet.pts is not None:
        packet.pts -= begins
    packet.stream = copy
    with suppress(
        av.error.InvalidDataError, av.error.ArgumentError
    ):  # it is damaged: its time lies before the last one
        made.mux(packet)


def _fitted(image: Image, width: int, height: int) -> Image:
    """Bring a picture to the size of the first one, whose sides were made even: codecs halve the colours."""
    if image.shape[0] > height or image.shape[1] > width or min(height - image.shape[0], width - image.shape[1]) > 1:
        scale = min(width / image.shape[1], height / image.shape[0])
        image = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))  # type: ignore[assignment]
    missing = height - image.shape[0], width - image.shape[1]
    before = [side // 2 for side in missing]
    border = cv2.BORDER_REPLICATE if max(missing) <= 1 else cv2.BORDER_CONSTANT
    return np.asarray(
        cv2.copyMakeBorder(image, before[0], missing[0] - before[0], before[1], missing[1] - before[1], border),
        np.uint8,
    )


def _edges(mark: Mark) -> Array:
    """Return left, top, right and bottom of a face."""
    left, top, width, height = mark.box
    return np.array([left, top, left + width, top + height])


def _tag(image: Image, mark: Mark, size: int) -> Array:
    """Write id and expression above the face, or into it where there is no room; return where."""
    text = f"{mark.face_id}  {mark.expression}" if mark.expression else str(mark.face_id)
    mask, gap = _mask(text, size), size // 3
    height, width = mask.shape[0] + gap, mask.shape[1] + 3 * gap + size // 2
    left = int(np.clip(round(mark.box[0]), 0, max(image.shape[1] - width, 0)))
    top = round(mark.box[1]) - height - 2
    top = int(np.clip(top if top >= 0 else round(mark.box[1]) + 2, 0, max(image.shape[0] - height, 0)))
    _shade(image, left, top, width, height)
    image[top : top + height, left : left + size // 2] = _bgr(mark.colour)
    _write(image, mask, left + size // 2 + gap, top + gap // 2, _LIGHT)
    return np.array([left, top, left + width, top + height], dtype=np.float64)


def _panel_size(mark: Mark, size: int) -> tuple[int, int]:
    return 15 * size, size + (0 if mark.affect is None else 6 * size) + (9 * size // 2 if mark.units else 0)


def _place(
    mark: Mark, tag: Array, image: Image, panel: tuple[int, int], others: Sequence[Array], last: int | None
) -> tuple[int, tuple[int, int]] | None:
    """Find where a face's panel hides least, rather where it stood last; None where it would hide too much."""
    left, top, right, bottom = _edges(mark)
    width, height = panel
    room = image.shape[1] - width, image.shape[0] - height
    if min(room) < 0:
        return None
    low, before = bottom - height, left - width - 4
    corners = [(right + 4, top), (before, top), (max(right, tag[2]) + 4, low), (before, low), (left, bottom + 4),
               (left, min(top, tag[1]) - height - 4)]  # fmt: skip
    best: tuple[float, int, tuple[int, int]] | None = None
    for number, corner in enumerate(corners):
        x, y = (int(np.clip(round(one), 0, most)) for one, most in zip(corner, room, strict=True))
        box = np.array([x, y, x + width, y + height], dtype=np.float64)
        hidden = [_hidden(one, box) for one in (_edges(mark), tag, *others)]
        if max(hidden) > _COVER:
            continue
        cost = 0.5 * (hidden[0] + sum(hidden))
        cost -= 0.15 * (number == last)
        if best is None or cost < best[0]:
            best = cost, number, (x, y)
    return None if best is None else best[1:]


def _hidden(one: Array, by: Array) -> float:
    """Return which part of a box another one hides."""
    width, height = (max(min(one[axis + 2], by[axis + 2]) - max(one[axis], by[axis]), 0.0) for axis in (0, 1))
    return float(width * height / max((one[2] - one[0]) * (one[3] - one[1]), 1.0))


def _panel(image: Image, mark: Mark, corner: tuple[int, int], size: int, trail: Sequence[Any]) -> Array:
    """Draw valence and arousal as a dot with its trail, and a bar for each action unit; return where."""
    (left, top), (width, height) = corner, _panel_size(mark, size)
    colour = _bright(mark.colour)
    _shade(image, left, top, width, height)
    y = top + size // 2
    if mark.affect is not None:
        radius = 5 * size // 2
        middle = left + size + radius, y + radius + size // 3
        cv2.circle(image, middle, radius, _LIGHT, 1, cv2.LINE_AA)
        for along, up in ((radius, 0), (0, radius)):
            ends = (middle[0] - along, middle[1] - up), (middle[0] + along, middle[1] + up)
            cv2.line(image, ends[0], ends[1], (120, 115, 110), 1)
        points = [(round(middle[0] + radius * valence), round(middle[1] - radius * arousal))
                  for _, valence, arousal in trail]  # fmt: skip
        for number, (before, after) in enumerate(pairwise(points), 1):
            age = 0.3 + 0.7 * number / len(points)
            faded = tuple(round(dark + (one - dark) * age) for one, dark in zip(colour, _DARK, strict=True))
            cv2.line(image, before, after, faded, max(1, size // 6), cv2.LINE_AA)
        cv2.circle(image, points[-1], max(3, size // 3), _LIGHT, -1, cv2.LINE_AA)
        cv2.circle(image, points[-1], max(2, size // 3 - 1), colour, -1, cv2.LINE_AA)
        for row, (name, value) in enumerate(zip(AFFECT, mark.affect, strict=True)):
            text = y + round((2.5 * row + 0.4) * size)
            _write(image, _mask(name, round(0.9 * size)), left + 7 * size, text, (200, 195, 190))
            _write(image, _mask(f"{value:+.2f}", size), left + 7 * size, text + size, _LIGHT)
        y += 6 * size
    first, bottom = left + 2 * size, y + 3 * size
    apart = (width - 2.5 * size) / max(len(mark.units), 1)
    for number, (unit, probability) in enumerate(mark.units):
        begin, end = (round(first + apart * (number + part)) for part in (0.12, 0.88))
        high = round(3 * size * float(np.clip(probability, 0, 1)))
        cv2.rectangle(image, (begin, y), (end, bottom), (90, 84, 80), -1)
        cv2.rectangle(image, (begin, bottom - high), (end, bottom), colour, -1)
        mask = _mask(str(unit), max(8, round(0.75 * size)))
        _write(image, mask, (begin + end - mask.shape[1]) // 2 + 1, bottom + 2, _LIGHT)
    if mark.units:
        _write(image, _mask("AU", max(8, round(0.75 * size))), left + size // 2, bottom + 2, _LIGHT)
    return np.array([left, top, left + width, top + height], dtype=np.float64)


def _shade(image: Image, left: int, top: int, width: int, height: int) -> None:
    part = image[top : top + height, left : left + width]
    part[:] = np.round(part * (1 - _SHADE) + np.array(_DARK) * _SHADE)


def _write(image: Image, mask: Image, left: int, top: int, colour: tuple[int, ...]) -> None:
    """Write a text into a picture, as far as it lies inside."""
    part = image[max(top, 0) : top + mask.shape[0], max(left, 0) : left + mask.shape[1]]
    alpha = mask[max(-top, 0) :, max(-left, 0) :][: part.shape[0], : part.shape[1], None] / 255
    part[:] = np.round(part * (1 - alpha) + np.array(colour) * alpha)


@lru_cache(maxsize=2048)
def _mask(text: str, size: int) -> Image:
    """Return a text as (height, width) uint8, how much of each pixel it covers; all of one size are equally high."""
    font = ImageFont.load_default(size)
    drawn = font.getmask(text, "L")
    top = font.getbbox(text)[1]
    mask = np.zeros((round(1.3 * size), drawn.size[0] + 1), np.uint8)
    glyphs = np.array(drawn, dtype=np.uint8).reshape(drawn.size[::-1])
    rows = mask[round(top) :][: glyphs.shape[0]]
    rows[:, : glyphs.shape[1]] = glyphs[: len(rows)]
    return mask


def _bgr(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return blue, green, red


def _bright(colour: str) -> tuple[int, int, int]:
    """Return a colour that is seen on the dark of a panel."""
    blue, green, red = (round(one + 0.3 * (255 - one)) for one in _bgr(colour))
    return blue, green, red
