"""Networks with integers: what is in the file, what it says, and what it costs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import ConfigError, DataError
from affect.preprocessing import Preprocessing
from runs.int8 import MOST, faces_of
from runs.predictor import Predictor
from tests.runs.test_export import HEADS, call, model_of, saved

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")


@pytest.fixture(scope="module")
def emma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an EMMA's run, with its export, and faces."""
    folder = tmp_path_factory.mktemp("emma")
    call(saved(folder, model_of("emma")), f"out={folder}/emma.onnx")
    (folder / "faces").mkdir()
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (4 + number, 4 + number, 3), np.uint8)
        cv2.imwrite(f"{folder}/faces/{number:02}.png", cv2.resize(noise, (48, 48)))
    return folder


def integers(path: Path) -> set[str]:
    """The operators that work with integers, and those of which some do not."""
    graph = onnx.load(path).graph
    made = {name: node for node in graph.node for name in node.output}
    found = {node.op_type for node in graph.node if "Integer" in node.op_type}
    for node in graph.node:
        inputs = [made[name].op_type for name in node.input[:2] if name in made]
        if node.op_type in ("Conv", "MatMul", "Gemm") and inputs == ["DequantizeLinear"] * 2:
            found.add(node.op_type)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("faces", [False, True])
def test_weights_take_a_byte_and_the_card_says_what_it_costs(emma: Path, tmp_path: Path, faces: bool) -> None:
    path = tmp_path / "one.onnx"
    call(emma / "run", f"out={path}", f"int8={emma / 'faces' if faces else 'true'}")
    assert integers(path) == ({"Conv", "MatMul", "Gemm"} if faces else {"MatMulInteger"})
    assert path.stat().st_size < (0.5 if faces else 0.98) * (emma / "emma.onnx").stat().st_size
    told = {one.key: one.value for one in onnx.load(path).metadata_props}
    assert told["int8"] == ("convolutions" if faces else "products")
    assert json.loads(told["learnt_from"]) == {"data": "MadeUp", "renderer": None}
    images = [cv2.imread(str(one))[..., ::-1] for one in sorted((emma / "faces").iterdir())]
    rest = images[1::2]
    said, expected = (Predictor(one).crops(rest) for one in (path, emma / "emma.onnx"))
    text = path.with_suffix(".md").read_text()
    for task, values in said.items():
        far = np.abs(values - expected[task])
        assert 0 < far.max() < 0.2
        mean, most = map(float, re.findall(rf"{task} ([0-9.]+) on average, ([0-9.]+) at most", text)[0])
        if faces:
            assert mean == pytest.approx(far.mean(), abs=6e-5)
            assert most == pytest.approx(far.max(), abs=6e-4)
    assert ("on 6 other faces of that folder" if faces else "on 16 made-up inputs") in text


def test_faces_are_taken_evenly_from_a_folder(tmp_path: Path) -> None:
    for number in range(MOST + 44):
        cv2.imwrite(f"{tmp_path}/{number:03}.png", np.full((2, 2, 3), number * 200 // 300, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    values = faces_of(tmp_path, Preprocessing(image_size=2))[:, 0, 0, 0]
    assert len(values) == MOST
    assert values.tolist() == [(number * 300 // MOST) * 200 // 300 for number in range(MOST)]


def test_what_cannot_be_done_is_told_before_anything_is_written(emma: Path, tmp_path: Path) -> None:
    out = f"out={tmp_path}/out/one.onnx"
    with pytest.raises(ConfigError, match="int8 is for to=onnx"):
        call(emma / "run", "int8=true", "to=safetensors")
    with pytest.raises(DataError, match=r"int8=.*nowhere: no such folder"):
        call(emma / "run", out, f"int8={tmp_path}/nowhere")
    (tmp_path / "faces").mkdir()
    with pytest.raises(DataError, match="0 pictures; give a folder of cut-out faces"):
        call(emma / "run", out, f"int8={tmp_path}/faces")
    for name in "ab":
        (tmp_path / f"faces/{name}.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"a\.png"):
        call(emma / "run", out, f"int8={tmp_path}/faces")
    with pytest.raises(ConfigError, match="sees features as they come, and no faces: give int8=true"):
        call(saved(tmp_path, HEADS["gru"]), out, f"int8={emma}/faces")
    assert not (tmp_path / "out").exists()
