"""What ONNX files may hold, by hand, and files that cannot be read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from affect.errors import WeightsError
from backbones.weights import classifier_state, load_weights
from tests.backbones.exports import SIDE, SINGLE, SMALL, difference, export, fresh, images, make


class Handmade(nn.Sequential):
    def __init__(self, *, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=bias)
        self.norm = nn.BatchNorm2d(4)
        self.flat = nn.Flatten()
        self.classifier = nn.Linear(4 * 6 * 6, 5)


def constant(name: str, array: np.ndarray) -> onnx.NodeProto:
    return onnx.helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))


def handmade(path: Path, *, gemm: bool) -> dict[str, np.ndarray]:
    """Weights through Constant, Identity, Transpose; a linear layer of MatMul and Add, or a scaled Gemm; a softmax."""
    draw = np.random.default_rng(3)
    kernel, shift = draw.normal(size=(4, 3, 3, 3)).astype("f"), draw.normal(size=4).astype("f")
    matrix, bias = draw.normal(size=(5, 144)).astype("f"), draw.normal(size=5).astype("f")
    make_node = onnx.helper.make_node
    nodes = [
        constant("kernel", kernel.transpose(3, 1, 0, 2)),
        make_node("Identity", ["kernel"], ["kernel_"]),
        make_node("Transpose", ["kernel_"], ["turned"], perm=[2, 1, 3, 0]),
        make_node("Conv", ["input", "turned", "shift"], ["map"], name="first"),
        make_node("Flatten", ["map"], ["flat"]),
        make_node("Transpose", ["matrix"], ["matrix_t"]),
    ]
    if gemm:
        nodes.append(make_node("Gemm", ["flat", "matrix_t", "bias"], ["sum"], name="second", alpha=0.5, beta=2.0))
    else:
        nodes.append(make_node("MatMul", ["flat", "matrix_t"], ["product"], name="second"))
        nodes.append(make_node("Add", ["bias", "product"], ["sum"]))
    nodes.append(make_node("Softmax", ["sum"], ["output"]))
    stored = [numpy_helper.from_array(a, n) for n, a in {"shift": shift, "matrix": matrix, "bias": bias}.items()]
    given = onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", 3, 8, 8])
    output = onnx.helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["batch", 5])
    graph = onnx.helper.make_graph(nodes, "handmade", [given], [output], stored)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8), path)
    scales = (0.5, 2) if gemm else (1, 1)
    return {"kernel": kernel, "shift": shift, "matrix": scales[0] * matrix, "bias": scales[1] * bias}


@pytest.mark.parametrize("gemm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_constants_identities_transposes_and_products(tmp_path, bias, gemm):
    made = handmade(tmp_path / "hand.onnx", gemm=gemm)
    network = Handmade(bias=bias).eval()
    load_weights(network, str(tmp_path / "hand.onnx"), kind="timm")
    image = images()[:, :, :8, :8]
    (run,) = onnxruntime.InferenceSession(tmp_path / "hand.onnx").run(None, {"input": image.numpy()})
    with torch.no_grad():
        assert difference(network(image).softmax(1), run) < SINGLE
    assert np.array_equal(network.conv.weight.detach(), made["kernel"])
    assert np.array_equal((network.conv if bias else network.norm).bias.detach(), made["shift"])
    linear = classifier_state(str(tmp_path / "hand.onnx"))
    assert np.array_equal(linear["weight"], made["matrix"])
    assert np.array_equal(linear["bias"], made["bias"])


def test_a_file_that_ends_with_features_has_no_classifier(tmp_path):
    export(nn.Sequential(nn.Linear(SIDE, 2), nn.ReLU()), tmp_path / "hidden.onnx")
    assert classifier_state(str(tmp_path / "hidden.onnx")) is None
    export(nn.Conv2d(3, 2, 1), tmp_path / "conv.onnx")
    assert classifier_state(str(tmp_path / "conv.onnx")) is None


# --- files that cannot be read


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fraction=st.floats(0, 0.9999))
def test_a_truncated_file(exported, tmp_path, fraction):
    content = exported("small").path.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(WeightsError, match=r"cut\.onnx: not readable as an ONNX file .*fetch it again"):
        load_weights(fresh("small"), str(tmp_path / "cut.onnx"), kind="timm")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.just(b"<!DOCTYPE html>") | st.just(b"version https://git-lfs.github.com"))
def test_no_onnx(tmp_path, content):
    (tmp_path / "file.onnx").write_bytes(content)
    with pytest.raises(WeightsError, match=r"file\.onnx: not readable as an ONNX file"):
        classifier_state(str(tmp_path / "file.onnx"))


def test_data_that_are_kept_beside_the_file(exported, tmp_path):
    path = exported("dynamo").path
    (tmp_path / "net.onnx").write_bytes(path.read_bytes())
    with pytest.raises(WeightsError, match=r"keeps its tensors in dynamo\.onnx\.data, which must lie beside it"):
        load_weights(fresh("dynamo"), str(tmp_path / "net.onnx"), kind="timm")
    data = (path.parent / "dynamo.onnx.data").read_bytes()
    (tmp_path / "dynamo.onnx.data").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=r"net\.onnx: not readable as an ONNX file"):
        load_weights(fresh("dynamo"), str(tmp_path / "net.onnx"), kind="timm")
    (tmp_path / "dynamo.onnx.data").write_bytes(data)
    load_weights(fresh("dynamo"), str(tmp_path / "net.onnx"), kind="timm")


def test_data_outside_the_folder_are_not_read(exported, tmp_path):
    """A file must not make the reader open others of this machine."""
    (tmp_path / "secret").write_bytes(bytes(10_000))
    (tmp_path / "inner").mkdir()
    model = onnx.load(exported("small").path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    link = tmp_path / "inner" / "link"
    link.symlink_to(tmp_path / "secret")
    for location in ("../secret", str(tmp_path / "secret"), "link", "/dev/zero"):
        tensor.external_data[0].value = location
        (tmp_path / "inner" / "net.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(WeightsError, match=rf"keeps its tensors in {location}, which must lie beside it"):
            load_weights(fresh("small"), str(tmp_path / "inner" / "net.onnx"), kind="timm")


def test_without_the_package(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(WeightsError) as error:
        load_weights(fresh("small"), str(exported("small").path), kind="timm")
    assert 'the Python package onnx reads such files; pip install -e ".[onnx]"' in str(error.value)


def test_computed_weights(tmp_path):
    """torch's second exporter writes biases of zeros as a computation where it may not optimise."""
    path, _ = export(make(SMALL, 8), tmp_path / "plain.onnx", dynamo=True, optimize=False)
    with pytest.raises(WeightsError, match=r"of node 'node_conv2d' \(Conv\) is computed, not stored"):
        load_weights(timm.create_model(SMALL, num_classes=8), str(path), kind="timm")
