"""The scripts of the page do what the framework's own code does, as Node runs them."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.labels import AFFECT, AU_NAMES, EXPRESSIONS, TASKS
from datamodules.transforms import EvalTransform
from evaluators.found import Found
from evaluators.table import Table
from evaluators.text import write_csv
from runs.to_web import PAGE, repeated
from videos.centerface import STEP, decode
from videos.detector import scaled_down
from videos.faces import cut
from videos.numbering import TOLERANCE, frame_numbers
from videos.people import People
from videos.settings import CropSettings
from videos.tracks import smooth

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node")
CALLS = Path(__file__).with_name("page.mjs")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts, as modules for any version of Node."""
    folder = tmp_path_factory.mktemp("page")
    for path in PAGE.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def ask(page: Path, cases: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What the scripts answer to some calls."""
    assert NODE
    ended = subprocess.run([NODE, str(CALLS), str(page)], input=json.dumps(cases), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    answers: list[Any] = json.loads(ended.stdout)
    return answers


def told(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def image_of(array: np.ndarray) -> dict[str, Any]:
    return {"width": array.shape[1], "height": array.shape[0], "data": told(array)}


def back(image: Mapping[str, Any]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(image["data"]), np.uint8)
    return data.reshape(image["height"], image["width"], 3).astype(int)


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise, coarse or fine."""
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 2) if rng.random() < 0.5 else image


@pytest.mark.parametrize(
    ("how", "flag"), [("area", cv2.INTER_AREA), ("linear", cv2.INTER_LINEAR), ("cubic", cv2.INTER_CUBIC)]
)
def test_pictures_are_resized_as_opencv_does_it(page: Path, how: str, flag: int) -> None:
    rng = np.random.default_rng(0)
    sizes = [(36, 64, 27, 48), (20, 20, 10, 10), (30, 30, 10, 10), (155, 155, 112, 112), (50, 50, 112, 112),
             (7, 6, 8, 8), (5, 30, 8, 8), (2, 2, 8, 8), (1, 1, 8, 8), (111, 111, 112, 112), (16, 16, 16, 16),
             (93, 93, 32, 32), (48, 64, 24, 32)]  # fmt: skip
    images = [picture(rng, height, width) for height, width, _, _ in sizes]
    cases = [{"call": "resize", "image": image_of(image), "width": wide, "height": high, "how": how}
             for image, (_, _, high, wide) in zip(images, sizes, strict=True)]  # fmt: skip
    for image, size, said in zip(images, sizes, ask(page, cases), strict=True):
        away = np.abs(back(said) - cv2.resize(image, (size[3], size[2]), interpolation=flag))
        assert away.max() <= 1, size  # OpenCV 4 and 5, with Intel's code and without, differ by as much
        assert away.mean() <= 0.2, size


def test_faces_are_cut_out_and_prepared_as_predict_does_it(page: Path) -> None:
    rng = np.random.default_rng(1)
    cases: list[dict[str, Any]] = []
    expected = []
    for side in (20.4, 60, 93.3333, 93.34, 140.7, 300):
        image, square = picture(rng, 120, 160), np.array([*rng.uniform(-20, 180, 2), side])
        faces = CropSettings(detector="centerface", margin=0.1 if side != 60 else 0)
        cases.append({"call": "cut", "image": image_of(image), "square": square.tolist(),
                      "settings": {"margin": faces.margin, "size": faces.size}})  # fmt: skip
        expected.append(cut(image, square, faces))
    for image, said in zip(expected, ask(page, cases), strict=True):
        assert np.abs(back(said) - image).max() <= 1
    crop = expected[0]
    wanted = [(size, how) for size in (32, 112, 224) for how in ("bilinear", "bicubic")]
    cases = [{"call": "crop", "image": image_of(crop), "preprocessing": {"image_size": size, "interpolation": how}}
             for size, how in wanted]  # fmt: skip
    for (size, how), said in zip(wanted, ask(page, cases), strict=True):
        made = np.frombuffer(base64.b64decode(said), np.uint8).reshape(3, size, size).astype(int)
        right = EvalTransform(image_size=size, interpolation=how)(crop, epoch=0, row=0)  # type: ignore[arg-type]
        assert np.abs(made - right.transpose(2, 0, 1)).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(96, 64), (50, 33), (100, 481), (300, 640)])
def test_the_detector_sees_what_predict_shows_it(page: Path, height: int, width: int) -> None:
    image = picture(np.random.default_rng(2), height, width)
    (said,) = ask(page, [{"call": "input", "image": image_of(image), "longest": 480, "step": STEP}])
    small, scale = scaled_down(image, 480)
    below, right = (-side % STEP for side in small.shape[:2])
    padded = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT).transpose(2, 0, 1)
    made = np.frombuffer(base64.b64decode(said["data"]), np.float32).reshape(said["dims"])
    assert said["scale"] == scale
    assert np.abs(made[0] - padded).max() <= 1


def test_outputs_become_faces_as_in_python(page: Path) -> None:
    rng = np.random.default_rng(3)
    cases, expected = [], []
    for height, width in ((8, 12), (20, 15), (30, 40)):
        heat = rng.beta(0.5, 3, (height, width)).astype(np.float32)
        size, shift = (rng.normal(mean, 0.4, (2, height, width)).astype(np.float32) for mean in (1.5, 0))
        cases.append({"call": "decode", "heat": told(heat), "size": told(size), "shift": told(shift),
                      "columns": width, "confidence": 0.2, "detector": repeated()["detector"]})  # fmt: skip
        expected.append(decode(heat, size, shift, 0.2))
    for faces, said in zip(expected, ask(page, cases), strict=True):
        made = [[one[name] for name in ("x", "y", "width", "height", "score")] for one in said]
        assert len(faces) > 5
        np.testing.assert_allclose(made, faces, rtol=1e-9)


def test_squares_are_steadied_as_in_python(page: Path) -> None:
    rng = np.random.default_rng(4)
    squares = np.column_stack((rng.normal(0, 4, (60, 2)).cumsum(axis=0) + 200, np.exp(rng.normal(4, 0.1, 60))))
    squares[[10, 11, 12, 40]] = np.nan
    squares[30:] += (120, 0, 0)  # a cut
    given = [None if np.isnan(one).any() else one.tolist() for one in squares]
    (said,) = ask(page, [{"call": "steady", "squares": given, "smoothing": repeated()["smoothing"]}])
    made = np.array([[np.nan] * 3 if one is None else one for one in said], dtype=float)
    np.testing.assert_allclose(made, smooth(squares), rtol=1e-9)


def scene(seed: int, length: int = 36) -> list[tuple[np.ndarray, float, np.ndarray]]:
    """Frames of faces that cross, hide and come back, with a cut: picture, time, and boxes from left to right."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    back, looks = rng.integers(0, 256, (6, 8, 3), np.uint8), rng.integers(0, 256, (count, 3, 3, 3), np.uint8)
    place, speed = rng.uniform(20, 140, (count, 2)), rng.normal(0, 5, (count, 2))
    frames, time = [], 0.0
    for number in range(length):
        if number == 25:
            back = rng.integers(0, 256, back.shape, np.uint8)
        image = cv2.resize(back, (160, 120), interpolation=cv2.INTER_LINEAR)
        boxes = []
        for face in range(count):
            place[face] += speed[face] + rng.normal(0, 1, 2)
            left, top = (int(value) for value in place[face])
            if rng.random() < 0.15 or not (0 <= left < 130 and 0 <= top < 90):
                speed[face] *= 1 if 0 <= left < 130 and 0 <= top < 90 else -1
                continue
            image[top : top + 30, left : left + 30] = cv2.resize(looks[face], (30, 30))[: 120 - top, : 160 - left]
            boxes.append([*place[face], *rng.uniform(26, 34, 2), 0.9])
        time += float(rng.choice([0.033, 0.04, 0.2], p=[0.6, 0.35, 0.05]))
        frames.append((image, time, np.array(sorted(boxes), dtype=float).reshape(-1, 5)))
    return frames


def test_people_keep_their_ids_as_in_python(page: Path) -> None:
    scenes = [scene(seed) for seed in range(5)]
    names = ("x", "y", "width", "height", "score")
    cases = [
        {
            "call": "follow", "rules": repeated()["people"],
            "frames": [{"image": image_of(image), "time": time,
                        "faces": [dict(zip(names, box, strict=True)) for box in boxes.tolist()]}
                       for image, time, boxes in frames],
        } for frames in scenes
    ]  # fmt: skip
    ids = []
    for frames, said in zip(scenes, ask(page, cases), strict=True):
        people = People()
        expected = [people.follow(image, time, boxes) for image, time, boxes in frames]
        assert said == expected
        ids.append(max(max(one, default=0) for one in expected))
    assert len(set(ids)) > 1  # the scenes are not all simple


def test_frames_are_numbered_as_in_python(page: Path) -> None:
    rng = np.random.default_rng(5)
    cases: list[list[float | None]] = [[0.0], [None], [], [0.0, 0.0], [0.1, None, 0.2], [0, 1, 2.5, 3]]
    for rate in (10, 25, 29.97, 60):
        times = np.arange(50) / rate + rng.choice([0, 0.5])
        cases += [times.tolist(), np.round(times, 3).tolist(), np.delete(times, [3, 9, 10]).tolist()]
        cases += [np.sort(times + rng.normal(0, 0.3 / rate, 50)).tolist()]
    asked = [{"call": "numbers", "times": times, "tolerance": TOLERANCE} for times in cases]
    for times, said in zip(cases, ask(page, asked), strict=True):
        expected = frame_numbers(times)
        assert said == (None if expected is None else expected.tolist()), times


FLOATS = st.floats(0, 1, width=32)


@settings(max_examples=5, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.none() | st.floats(0, 1e6)), max_size=4), st.randoms(), st.text())
def test_the_csv_is_that_of_predict(
    tmp_path_factory: pytest.TempPathFactory, pictures: list[tuple[int, float | None]], random: Any, name: str
) -> None:
    name = name.replace("\0", "").encode("utf-8", "ignore").decode()
    rng = np.random.default_rng(random.randrange(2**32))
    folder = tmp_path_factory.mktemp("csv")
    for path in PAGE.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    sizes = {"valence_arousal": 2, "expression": len(EXPRESSIONS), "action_units": 12}
    rows: list[tuple[int, float | None, int, np.ndarray]] = []
    given: list[dict[str, Any]] = []
    for frame, (count, time) in enumerate(pictures, 1):
        faces = []
        for face_id in range(1, count + 1):
            values = (rng.random(27) * 10.0 ** rng.integers(-9, 1, 27)).astype(np.float32)
            rows.append((frame, time, face_id, values))
            numbers, at = values.tolist(), 5
            said = {}
            for task in TASKS:
                said[task], at = numbers[at : at + sizes[task]], at + sizes[task]
            faces.append({**dict(zip(("score", "x", "y", "width", "height"), numbers, strict=False)),
                          "id": face_id, "said": said})  # fmt: skip
        if not count:
            rows.append((frame, time, 0, np.full(27, np.nan, np.float32)))
        given.append({"video": name, "image": name, "frame": frame, "time": time, "faces": faces})
    model = {"tasks": TASKS, "affect": AFFECT, "expressions": EXPRESSIONS, "action_units": AU_NAMES}
    (said,) = ask(folder, [{"call": "csv", "pictures": given, "model": model}])
    values = np.stack([one[3] for one in rows]) if rows else np.zeros((0, 27), np.float32)
    found = Found(
        np.array([np.nan if one[1] is None else one[1] for one in rows], float),
        np.array([one[2] for one in rows], np.int64), values[:, 0], values[:, 1:5],
    )  # fmt: skip
    ends = np.cumsum([5, *sizes.values()])
    predictions = {task: values[:, start:end] for task, start, end in zip(TASKS, ends[:-1], ends[1:], strict=True)}
    frames = np.array([one[0] for one in rows], np.int64)
    table = Table([name] * len(rows), frames, [name] * len(rows), predictions, EXPRESSIONS, {}, "made up", found)
    write_csv(table, folder / "right.csv")
    right = (folder / "right.csv").read_bytes()
    read = [pyarrow.csv.read_csv(io.BytesIO(one), parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True))
            for one in (said.encode(), right)]  # fmt: skip
    assert said.splitlines()[0] == right.decode().splitlines()[0]
    for column in read[1].column_names:
        one, other = (each[column].to_pylist() for each in read)
        if column in ("timestamp", "video", "image", "frame", "row", "face_id", "success"):
            assert one == other, column
        else:
            assert [None if v is None else np.float32(v) for v in one] == [
                None if v is None else np.float32(v) for v in other
            ], column


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("bt709", [False, True])
def test_planes_become_the_colours_that_ffmpeg_gives(page: Path, full: bool, bt709: bool) -> None:
    av = pytest.importorskip("av", reason="the extra `video` is not installed")
    rng = np.random.default_rng(6)
    height, width = 48, 64
    planes = cv2.GaussianBlur(rng.integers(0, 256, (height * 3 // 2, width), np.uint8), (3, 3), 0)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.colorspace, frame.color_range = 1 if bt709 else 5, 2 if full else 1
    y, u, v = ({"offset": offset, "stride": stride} for offset, stride in (
        (0, width), (height * width, width // 2), (height * width * 5 // 4, width // 2)))  # fmt: skip
    (said,) = ask(page, [{"call": "planes", "width": width, "height": height, "data": told(planes), "bt709": bt709,
                          "fullRange": full, "at": {"y": y, "u": u, "v": v, "apart": 1}}])  # fmt: skip
    away = np.abs(back(said) - frame.to_ndarray(format="rgb24").astype(int))
    assert away.max() <= 2  # none on x86, where FFmpeg has code of its own
    mixed = np.concatenate([planes[:height].ravel(), planes[height:].reshape(2, -1).T.ravel()])
    at = {
        "y": y,
        "u": {"offset": height * width, "stride": width},
        "v": {"offset": height * width + 1, "stride": width},
    }
    (other,) = ask(page, [{"call": "planes", "width": width, "height": height, "data": told(mixed), "bt709": bt709,
                           "fullRange": full, "at": {**at, "apart": 2}}])  # fmt: skip
    assert other == said
