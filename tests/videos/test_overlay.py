"""The video again: same pictures at the same times with the same sound, and marks where the faces are."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from affect import files
from affect.errors import DataError
from videos import overlay
from videos.decoding import Picture, decode, inspect
from videos.overlay import Mark, Pen, write_overlay

av = pytest.importorskip("av")

UNITS = [(unit, unit / 30) for unit in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)]
FACE = Mark(1, "#2e9e6b", (60, 60, 80, 90), "happiness 0.92", (0.5, 0.4), UNITS)


def film(path: Path, count: int = 10, *, sound: str | None = None, size: tuple[int, int] = (96, 128),
         times: list[int] | None = None, angle: int = 0, delay: int = 0) -> Path:  # fmt: skip
    """A grey video whose frames brighten, and a tone, which begins some frames later."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        if angle:
            stream.set_display_rotation(angle)
        tone = container.add_stream(sound, rate=44100) if sound else None
        for number in range(count):
            image = np.full((*size, 3), 40 + 4 * (number % 50), np.uint8)
            image[: size[0] // 4, : size[1] // 4] = 250
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number if times is None else times[number], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if tone is not None:
            wave = (8000 * np.sin(np.arange(1764 * count) / 20)).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, 1764 * delay, Fraction(1, 44100)
            resampled = av.AudioResampler(tone.format, tone.layout, tone.rate, frame_size=tone.frame_size or 1024)
            container.mux([packet for part in [*resampled.resample(frame), *resampled.resample(None)]
                           for packet in tone.encode(part)])  # fmt: skip
            container.mux(tone.encode())
    return path


def as_it_is(picture: Picture) -> np.ndarray:
    return picture.image


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and content of each packet of the sound."""
    with av.open(str(path)) as container:
        packets = container.demux(audio=0)
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.size]


@pytest.mark.parametrize(("sound", "suffix"), [("aac", ".mp4"), ("mp2", ".mkv"), (None, ".mp4")])
def test_pictures_times_and_sound_are_kept(tmp_path: Path, sound: str | None, suffix: str) -> None:
    video = film(tmp_path / "clip.mkv", sound=sound)
    made = write_overlay(video, tmp_path / "new", as_it_is, 10)
    assert made == tmp_path / f"new{suffix}"
    before, after = list(decode(video)), list(decode(made))
    assert len(after) == 10
    for one, other in zip(before, after, strict=True):
        assert one.time == pytest.approx(other.time, abs=2e-3)
        assert np.abs(one.image.astype(int) - other.image).mean() < 4
    if sound:
        kept = sound_of(made)
        assert [content for _, content in kept] == [content for _, content in sound_of(video)]
        for (time, _), (wanted, _) in zip(kept, sound_of(video), strict=True):
            assert float(time) == pytest.approx(float(wanted), abs=2e-3)


@pytest.mark.parametrize("late", [-12, 12])
def test_sound_that_begins_earlier_or_later_stays_with_its_pictures(tmp_path: Path, late: int) -> None:
    video = film(tmp_path / "clip.mkv", 30, sound="aac", times=[max(-late, 0) + number for number in range(30)],
                 delay=max(late, 0))  # fmt: skip
    made = write_overlay(video, tmp_path / "new", as_it_is, 30)
    begins = []
    for path in (video, made):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            begins.append(float(frame.pts * frame.time_base))
    kept, wanted = sound_of(made)[-1], sound_of(video)[-1]
    assert kept[1] == wanted[1]
    assert float(kept[0]) - begins[1] == pytest.approx(float(wanted[0]) - begins[0], abs=3e-3)


def test_a_rate_that_varies_stays_so(tmp_path: Path) -> None:
    times = [0, 1, 2, 5, 6, 13, 14, 22, 23, 40]
    made = write_overlay(film(tmp_path / "vary.mkv", times=times), tmp_path / "new", as_it_is, 10)
    np.testing.assert_allclose([one.time for one in decode(made)], np.array(times) / 25, atol=2e-3)


def test_it_is_upright(tmp_path: Path) -> None:
    video = film(tmp_path / "turned.mp4", 3, angle=90)
    made = write_overlay(video, tmp_path / "new", as_it_is, 3)
    assert (inspect(made).width, inspect(made).height) == (96, 128)
    with av.open(str(made)) as container:
        assert next(container.decode(video=0)).rotation == 0
    for one, other in zip(decode(video), decode(made), strict=True):
        assert np.abs(one.image.astype(int) - other.image).mean() < 4


def test_odd_sides_and_other_sizes_in_the_midst_are_fitted(tmp_path: Path) -> None:
    sizes = iter([(97, 129), (97, 129), (200, 100), (40, 129)])
    video = film(tmp_path / "clip.mp4", 4, size=(96, 128))
    made = write_overlay(video, tmp_path / "new", lambda _: np.full((*next(sizes), 3), 200, np.uint8), 4)
    images = [one.image for one in decode(made)]
    assert {image.shape for image in images} == {(96, 128, 3)}
    assert images[2][48, 64].min() > 180
    assert images[2][48, 5].max() < 40  # beside the tall one
    assert images[3][5, 64].max() < 40  # above the low one


def test_it_is_there_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = film(tmp_path / "clip.mp4")
    folder = tmp_path / "out"
    for count, message in ((9, "more than 9 frames"), (11, "it has 10 frames, and had 11 before")):
        with pytest.raises(DataError, match=message):
            write_overlay(video, folder / "new", as_it_is, count)
        assert not list(folder.iterdir())

    def full(point: str, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "hook", full)
    with pytest.raises(OSError, match="No space"):
        write_overlay(video, folder / "new", as_it_is, 10)
    assert not list(folder.iterdir())


def test_without_the_encoder_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "CODEC", "no_such_codec")
    with pytest.raises(DataError, match=r"clip\.mp4: this FFmpeg cannot write no_such_codec"):
        write_overlay(film(tmp_path / "clip.mp4"), tmp_path / "new", as_it_is, 10)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    peaks = []
    for count in (20, 80):
        video, pen = film(tmp_path / f"{count}.mp4", count, size=(240, 320)), Pen()

        def draw(picture: Picture, pen: Pen = pen) -> np.ndarray:
            assert picture.time is not None
            return pen.draw(picture.image, [FACE], picture.time)

        tracemalloc.start()
        write_overlay(video, tmp_path / f"new{count}", draw, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_text_is_read_on_light_and_on_dark(shade: int) -> None:
    image = np.full((360, 640, 3), shade, np.uint8)
    drawn = Pen().draw(image, [FACE])
    assert (image == shade).all()  # the picture itself is left as it was
    tag = drawn[40:58, 70:140]
    assert tag.max() > 200
    assert np.median(tag) < 90
    np.testing.assert_array_equal(drawn[59, 100], (107, 158, 46))  # the person's colour, as BGR, on the box
    outside = np.ones((360, 640), bool)
    outside[30:230, 50:320] = False
    assert (drawn[outside] == shade).all()


def test_a_dot_leaves_a_trail_for_a_second() -> None:
    pen, image = Pen(), np.full((360, 640, 3), 128, np.uint8)
    moves = [Mark(1, "#2e9e6b", FACE.box, "", (step / 10, 0.0)) for step in range(6)]
    first = pen.draw(image, moves[:1], 0.0)
    later = [pen.draw(image, [one], 0.1 * number) for number, one in enumerate(moves[1:], 1)][-1]
    fresh = Pen().draw(image, moves[-1:])
    assert (later != fresh).any()
    assert (pen.draw(image, moves[-1:], 5.0) == fresh).all()
    assert (first != fresh).any()


def test_no_panel_hides_another_face() -> None:
    image = np.full((360, 640, 3), 128, np.uint8)
    boxes = [
        (20.0, 40.0, 90.0, 110.0),
        (130.0, 40.0, 90.0, 110.0),
        (240.0, 40.0, 90.0, 110.0),
        (600.0, 200.0, 70.0, 80.0),
    ]
    marks = [Mark(number, "#c8496a", box, "neutral 0.50", (0.0, 0.0), UNITS) for number, box in enumerate(boxes, 1)]
    drawn = Pen().draw(image, marks)
    for left, top, width, height in np.array(boxes, int)[:3]:
        inside = drawn[top + 6 : top + height - 6, left + 6 : left + width - 6]
        assert (inside == 128).all(axis=2).mean() > 0.8
    only = Pen().draw(image, [Mark(7, "#c8496a", boxes[0])])
    assert (only[60:140, 40:100] == 128).all()  # no panel where nothing is said


def test_boxes_beyond_the_edge_and_tiny_pictures_are_drawn() -> None:
    for shape in ((30, 40), (360, 640)):
        image = np.full((*shape, 3), 128, np.uint8)
        corner = (shape[1] - 5.0, shape[0] - 5.0, 50.0, 60.0)
        first = Mark(1, "#2e9e6b", (-30.0, -20.0, 60.0, 70.0), "happiness 0.92", (1.0, -1.0), UNITS)
        drawn = Pen().draw(image, [first, Mark(2, "#2e9e6b", corner, "fear 0.40", (-1.0, 1.0), UNITS)])
        assert drawn.shape == image.shape
        assert (drawn != image).any()
