"""Files of weights that no training wrote: an error that names the file, in no time and without gigabytes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from affect.errors import WeightsError
from backbones.state import read_state
from backbones.weights import classifier_state, load_weights
from tests.backbones.test_graph import Handmade, handmade
from tests.changes import changed


def in_itself() -> object:
    content: dict[str, object] = {}
    content["model"] = content
    return content


def nested(depth: int) -> object:
    content: object = {"a": torch.ones(2)}
    for _ in range(depth):
        content = {"model": content}
    return content


STRANGE: dict[str, Tensor] = {
    "terabytes": torch.zeros(1).expand(10**12),
    "sparse": torch.eye(3).to_sparse(),
    "nowhere": torch.zeros(10**12, device="meta"),
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (in_itself(), "no state dict in it"),
        (nested(5), "no state dict in it"),
        (nested(200), "not readable|no state dict in it"),
        *(
            ({"a": tensor, "b": torch.ones(1)}, r"more values than the file can hold: a\.")
            for tensor in STRANGE.values()
        ),
        ({"model": {"b": torch.ones(2), "a": torch.tensor([1, float("nan")])}}, "a holds NaN or infinite values"),
        ({"a": torch.tensor(float("inf"), dtype=torch.bfloat16)}, "a holds NaN or infinite values"),
        ({"a": torch.tensor([1e300], dtype=torch.float64)}, "a holds NaN or infinite values"),
    ],
)
def test_states_that_are_none(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=rf"(?s)file\.pth: .*({message})"):
        read_state(tmp_path / "file.pth")


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match=r"bomb\.pth: not readable .*its entries are larger than the file"):
        read_state(tmp_path / "bomb.pth")


@pytest.mark.parametrize("shape", [[10**12], [2**40, 2**40]])
def test_a_header_of_safetensors_that_promises_terabytes(tmp_path: Path, shape: list[int]) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * 10**12]}}).encode()
    for length in (len(header), 2**62):
        (tmp_path / "file.safetensors").write_bytes(length.to_bytes(8, "little") + header)
        with pytest.raises(WeightsError, match=r"file\.safetensors: not readable"):
            read_state(tmp_path / "file.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken(tmp_path: Path, dtype: torch.dtype) -> None:
    network = nn.Linear(2, 2)
    state = {name: tensor.round(decimals=1).to(dtype) for name, tensor in network.state_dict().items()}
    torch.save(state, tmp_path / "file.pth")
    load_weights(network, str(tmp_path / "file.pth"), kind="timm")
    assert torch.equal(network.weight, state["weight"].float())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_integers_are_no_weights(tmp_path: Path, dtype: torch.dtype, suffix: str) -> None:
    network, path = nn.Linear(2, 2), tmp_path / f"file.{suffix}"
    state = {"weight": torch.ones(2, 2).to(dtype), "bias": torch.ones(2)}
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    before = network.weight.clone()
    with pytest.raises(WeightsError, match=rf"not of floating-point numbers \(1\): weight is {dtype}"):
        load_weights(network, str(path), kind="timm")
    assert torch.equal(network.weight, before)
    save = {"fc.weight": state["weight"], "fc.bias": state["bias"]}
    save_file(save, path) if suffix == "safetensors" else torch.save(save, path)
    with pytest.raises(WeightsError, match=r"are no linear layer"):
        classifier_state(str(path))


@pytest.mark.parametrize("shape", [(), (0,), (1, 0, 8), (2, 50, 8), (1, 50, 0), (1, 50, 9)])
def test_position_embeddings_of_no_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=8, depth=1, num_heads=2, num_classes=0)
    torch.save({**network.state_dict(), "pos_embed": torch.zeros(shape)}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"mis-shaped \(1\): pos_embed is"):
        load_weights(network, str(tmp_path / "file.pth"), kind="vit")


# --- ONNX


def edited(path: Path, edit: Callable[[onnx.ModelProto], None]) -> str:
    handmade(path, gemm=True)
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return str(path)


def initializer(name: str, array: np.ndarray | list[float], *dims: int) -> Callable[[onnx.ModelProto], None]:
    """Replace a stored tensor; ``dims`` are written into it whatever it holds."""

    def edit(model: onnx.ModelProto) -> None:
        (place,) = (place for place in model.graph.initializer if place.name == name)
        place.CopyFrom(numpy_helper.from_array(np.asarray(array, np.float32), name))
        if dims:
            place.dims[:] = dims

    return edit


def no_input(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Gemm")
    del node.input[1:]


def wide(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 10**6


def turned(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Transpose")
    node.attribute[0].ints[:] = [0, 0, 9, -9]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (initializer("matrix", np.float32(1)), ""),
        (initializer("shift", np.float32(1)), r"bias of node 'first' has the shape \(\)"),
        (initializer("matrix", np.ones(144)), ""),
        (initializer("matrix", [1.0], 2**40, 2**20), "not readable"),
        (initializer("matrix", [1.0], -1, 144), "not readable"),
        (initializer("shift", [1, 2, np.nan, 3]), "node 'first': bias holds NaN or infinite values"),
        (no_input, "not readable"),
        (wide, "more than 1024 pixels"),
        (turned, "not readable"),
    ],
)
def test_graphs_that_no_exporter_wrote(tmp_path: Path, edit: Callable[[onnx.ModelProto], None], message: str) -> None:
    path = edited(tmp_path / "hand.onnx", edit)
    with pytest.raises(WeightsError, match=rf"hand\.onnx: .*{message}"):
        load_weights(Handmade(), path, kind="timm")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), way=st.integers(0, 3))
def test_changed_files_end_in_weights_or_in_an_error(tmp_path: Path, seed: int, way: int) -> None:
    random = np.random.default_rng(seed)
    handmade(tmp_path / "hand.onnx", gemm=bool(seed % 2))
    content = (tmp_path / "hand.onnx").read_bytes()
    at = len(content) - 700 if seed % 3 else 0  # two in three where the graph is, not in the numbers
    (tmp_path / "hand.onnx").write_bytes(content[:at] + changed(content[at:], random, way))
    for read in (lambda path: load_weights(Handmade(), path, kind="timm"), classifier_state):
        try:
            read(str(tmp_path / "hand.onnx"))
        except WeightsError as error:
            assert "hand.onnx" in str(error)  # noqa: PT017
