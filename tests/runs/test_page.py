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

from affect.labels import AFFECT, AU_NAMES, EXPRESSIONS, TASKS
from datamodules.transforms import EvalTransform
from evaluators.found import Found
from evaluators.table import Table, column_names
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


def said_of(rng: np.random.Generator) -> np.ndarray:
    """Score, box and predictions of a face, large and small."""
    return (rng.random(27) * 10.0 ** rng.integers(-9, 1, 27)).astype(np.float32)


SIZES = {"valence_arousal": 2, "expression": len(EXPRESSIONS), "action_units": 12}
ENDS = np.cumsum([5, *SIZES.values()]).tolist()


def table_of(name: str, pictures: Sequence[tuple[float | None, list[np.ndarray]]]) -> Table:
    none = np.full(27, np.nan, np.float32)
    rows = [(frame, time, number, values) for frame, (time, faces) in enumerate(pictures, 1)
            for number, values in (enumerate(faces, 1) if faces else [(0, none)])]  # fmt: skip
    values = np.stack([row[3] for row in rows])
    times = np.array([np.nan if row[1] is None else row[1] for row in rows], float)
    found = Found(times, np.array([row[2] for row in rows], np.int64), values[:, 0], values[:, 1:5])
    predictions = {task: values[:, ENDS[at] : ENDS[at + 1]] for at, task in enumerate(TASKS)}
    names = [name] * len(rows)
    return Table(names, np.array([row[0] for row in rows]), names, predictions, EXPRESSIONS, {}, "made up", found)


def test_the_csv_is_that_of_predict(page: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    model = {"tasks": TASKS, "affect": AFFECT, "expressions": EXPRESSIONS, "action_units": AU_NAMES}
    given: list[Any] = []
    tables = []
    for name in ("clip.mp4", 'a "b", c', "1\n2", "ä é"):
        times = [None if rng.random() < 0.2 else float(rng.random() * 100) for _ in range(5)]
        pictures = [(time, [said_of(rng) for _ in range(rng.integers(0, 3))]) for time in times]
        tables.append(table_of(name, pictures))
        told = []
        for frame, (time, faces) in enumerate(pictures, 1):
            numbers = [values.tolist() for values in faces]
            told.append({"video": name, "image": name, "frame": frame, "time": time, "faces": [
                {**dict(zip(("score", "x", "y", "width", "height"), one, strict=False)), "id": number,
                 "said": {task: one[ENDS[at] : ENDS[at + 1]] for at, task in enumerate(TASKS)}}
                for number, one in enumerate(numbers, 1)]})  # fmt: skip
        given.append({"call": "csv", "pictures": told, "model": model})
    floats = {"detection_score", "x", "y", "width", "height", *(name for task in TASKS for name in column_names(task))}
    for table, said in zip(tables, ask(page, given), strict=True):
        write_csv(table, tmp_path / "right.csv")
        right = (tmp_path / "right.csv").read_bytes()
        assert said.splitlines()[0] == right.decode().splitlines()[0]
        one, other = (read_csv(content) for content in (said.encode(), right))
        assert one.column_names == other.column_names
        for column in one.column_names:
            values, expected = one[column].to_pylist(), other[column].to_pylist()
            if column in floats:
                values, expected = (np.array(each, np.float32).tolist() for each in (values, expected))
                np.testing.assert_array_equal(values, expected, column)
            else:
                assert values == expected, column


def read_csv(content: bytes) -> Any:
    return pyarrow.csv.read_csv(
        io.BytesIO(content), parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(("x", "timestamp"), "float64")),
    )  # fmt: skip


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
    u, v = ({"offset": height * width + start, "stride": width} for start in (0, 1))
    (other,) = ask(page, [{"call": "planes", "width": width, "height": height, "data": told(mixed), "bt709": bt709,
                           "fullRange": full, "at": {"y": y, "u": u, "v": v, "apart": 2}}])  # fmt: skip
    assert other == said
