"""Read the layers of an ONNX file that hold its weights, in the order of its graph. Nothing in the file is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from affect.errors import WeightsError
from backbones.state import check_finite, some

if TYPE_CHECKING:  # an optional package: imported only where a file is read
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

LayerKind = Literal["convolution", "batch norm", "linear"]
INSTALL_ONNX: Final = 'pip install -e ".[onnx]"'

_DECISIONS: Final = ("Softmax", "LogSoftmax", "Sigmoid", "Identity")  # what may follow a classifier


_DIMENSIONS: Final[Mapping[LayerKind, tuple[int, int]]] = {
    "convolution": (3, 5),
    "batch norm": (1, 1),
    "linear": (2, 2),
}
"""The fewest and the most dimensions of a layer's weight; its other tensors have one dimension."""


@dataclass(frozen=True)
class GraphLayer:
    """A node with weights.

    Attributes:
        kind: kind of the layer in PyTorch.
        name: name of the node.
        tensors: ``weight``, ``bias`` where there is one, ``running_mean`` and ``running_var``; shaped as in PyTorch.
        options: ``stride``, ``dilation`` and ``groups`` of a convolution; ``eps`` of a batch norm.
        pads: padding of a convolution: at the beginning of each side, then at the end of each side.
        padded: a node before the convolution pads its images.
        last: its output is that of the graph, perhaps after a softmax.
    """

    kind: LayerKind
    name: str
    tensors: Mapping[str, Tensor]
    options: Mapping[str, Any] = field(default_factory=dict)
    pads: tuple[int, ...] = ()
    padded: bool = False
    last: bool = False


@dataclass(frozen=True)
class Graph:
    """The content of an ONNX file.

    Attributes:
        layers: the layers with weights, in the order of the graph.
        image: channels, height and width of the input; None where the file does not fix one.
        others: names of the tensors that belong to no layer, without scalars and integers.
    """

    layers: tuple[GraphLayer, ...]
    image: tuple[int | None, ...]
    others: tuple[str, ...]


def read_graph(path: Path) -> Graph:
    """Read the convolutions, batch norms and linear layers of an ONNX file.

    Args:
        path: path of the ``.onnx`` file; data in other files must lie beside it.

    Raises:
        WeightsError: the package onnx is not installed; the file is damaged, is not ONNX, or lacks its data files; or
            the weights of a layer are not finite, or are computed, as in a quantised network.
    """
    graph = _load(path).graph
    try:
        reader = _Reader(graph, path)
        layers = tuple(layer for node in graph.node if (layer := reader.layer(node)) is not None)
        dims = graph.input[0].type.tensor_type.shape.dim if graph.input else []
        image = tuple(dim.dim_value or None for dim in dims[1:])
        others = tuple(reader.others())
    except WeightsError:
        raise
    except Exception as error:  # a damaged graph raises whatever its nodes lead to
        raise _unreadable(path, error) from error
    for layer in layers:
        _check_layer(layer, path)
    return Graph(layers, image, others)


def _check_layer(layer: GraphLayer, path: Path) -> None:
    """Refuse tensors of a shape that no layer of this kind can have."""
    least, most = _DIMENSIONS[layer.kind]
    for name, tensor in layer.tensors.items():
        if not (least <= tensor.ndim <= most if name == "weight" else tensor.ndim == 1):
            raise WeightsError(
                f"weights {path}: the {name} of node {layer.name!r} has the shape {tuple(tensor.shape)}, which a "
                f"{layer.kind} cannot have: the file is damaged, fetch it again"
            )
    check_finite(layer.tensors, f"weights {path}: node {layer.name!r}")


def _load(path: Path) -> ModelProto:
    try:
        import onnx
        from onnx.external_data_helper import load_external_data_for_tensor
    except ImportError as error:
        raise WeightsError(f"weights {path}: the Python package onnx reads such files; {INSTALL_ONNX}") from error
    folder, absent = path.parent.resolve(), list[str]()
    try:
        model = onnx.load(path, load_external_data=False)
        external = list(_external(model))
        for tensor in external:
            name = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            place = (folder / name).resolve()
            # never read another file of this machine, neither by a path nor by a link
            if not place.is_file() or not place.is_relative_to(folder):
                absent.append(name)
        if not absent:
            for tensor in external:
                load_external_data_for_tensor(tensor, str(folder))
                tensor.data_location = onnx.TensorProto.DEFAULT
                del tensor.external_data[:]
            onnx.checker.check_model(model)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise _unreadable(path, error) from error
    if absent:
        raise WeightsError(
            f"weights {path}: it keeps its tensors in {some(sorted(set(absent)))}, which must lie beside it in "
            f"{path.parent} and does not: copy it there, too"
        )
    return model


def _unreadable(path: Path, error: Exception) -> WeightsError:
    cause = " ".join((str(error).split() or [type(error).__name__])[:20])
    return WeightsError(
        f"weights {path}: not readable as an ONNX file ({cause}); it may be an unfinished download, an HTML page, "
        "a Git LFS pointer or another format: fetch it again"
    )


def _external(model: ModelProto) -> Iterator[TensorProto]:
    """Yield the tensors of the graph whose values are in other files."""
    from onnx import TensorProto

    attributes = (attribute for node in model.graph.node for attribute in node.attribute)
    for tensor in (*model.graph.initializer, *(one.t for one in attributes if one.HasField("t"))):
        if tensor.data_location == TensorProto.EXTERNAL:
            yield tensor


class _Reader:
    """Finds the tensors of nodes, and remembers which of them were used."""

    def __init__(self, graph: GraphProto, path: Path) -> None:
        self._path = path
        self._producer = {output: node for node in graph.node for output in node.output}
        self._outputs = {output.name for output in graph.output}
        self._consumers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        self._tensors: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and "value" in (given := _attributes(node)):
                self._tensors[node.output[0]] = given["value"]
        self._used: set[str] = set()

    def layer(self, node: NodeProto) -> GraphLayer | None:
        """Read a node as a layer; return None if it has no weights."""
        if node.op_type == "Conv":
            return self._convolution(node)
        if node.op_type == "BatchNormalization":
            names = ("weight", "bias", "running_mean", "running_var")
            tensors = {name: self._own(node, place) for place, name in enumerate(names, start=1)}
            return GraphLayer("batch norm", node.name, tensors, {"eps": _attributes(node).get("epsilon", 1e-5)})
        if node.op_type == "Gemm":
            return self._gemm(node)
        return self._matmul(node) if node.op_type == "MatMul" else None

    def others(self) -> list[str]:
        """Return the names of the tensors that no layer used, except single numbers."""
        return [
            name
            for name, tensor in self._tensors.items()
            if name not in self._used and name in self._consumers and _is_float(tensor) and np.prod(tensor.dims) > 1
        ]

    def _convolution(self, node: NodeProto) -> GraphLayer:
        given = _attributes(node)
        tensors = {"weight": self._own(node, 1)}
        if len(node.input) > 2 and node.input[2]:
            tensors["bias"] = self._own(node, 2)
        sides = tensors["weight"].ndim - 2
        options = {
            "stride": tuple(given.get("strides", [1] * sides)),
            "dilation": tuple(given.get("dilations", [1] * sides)),
            "groups": given.get("group", 1),
        }
        before = self._producer.get(node.input[0])
        padded = given.get("auto_pad") == b"SAME_UPPER" or (before is not None and before.op_type == "Pad")
        pads = tuple(given.get("pads", [0] * 2 * sides))
        return GraphLayer("convolution", node.name, tensors, options, pads, padded)

    def _gemm(self, node: NodeProto) -> GraphLayer | None:
        given = _attributes(node)
        weight = self._tensor(node.input[1])
        if weight is None:
            return None  # a product of two activations
        if given.get("transA"):
            raise WeightsError(f"weights {self._path}: node {node.name!r} transposes its input, as no Linear does")
        if not given.get("transB"):
            weight = weight.mT
        tensors = {"weight": weight * given.get("alpha", 1.0)}
        if len(node.input) > 2 and node.input[2]:
            tensors["bias"] = (self._own(node, 2) * given.get("beta", 1.0)).expand(1, len(weight))[0]
        return GraphLayer("linear", node.name, tensors, last=self._is_last(node.output[0]))

    def _matmul(self, node: NodeProto) -> GraphLayer | None:
        weight = self._tensor(node.input[1])
        if weight is None or weight.ndim != 2:
            return None
        tensors, end = {"weight": weight.T}, node.output[0]
        following = self._consumers.get(end, [])
        if len(following) == 1 and following[0].op_type == "Add":
            before = self._used.copy()
            bias = self._tensor(next((name for name in following[0].input if name != end), end))
            if bias is not None and bias.numel() in (1, weight.shape[1]):
                tensors["bias"], end = bias.flatten().expand(weight.shape[1]), following[0].output[0]
            else:
                self._used = before  # not a bias: an embedding, for example
        return GraphLayer("linear", node.name, tensors, last=self._is_last(end))

    def _is_last(self, output: str) -> bool:
        while output not in self._outputs:
            following = self._consumers.get(output, [])
            if len(following) != 1 or following[0].op_type not in _DECISIONS:
                return False
            output = following[0].output[0]
        return True

    def _own(self, node: NodeProto, place: int) -> Tensor:
        tensor = self._tensor(node.input[place])
        if tensor is None:
            raise WeightsError(
                f"weights {self._path}: the tensor {node.input[place]} of node {node.name!r} ({node.op_type}) is "
                "computed, not stored, as in a quantised network: take a file with float weights"
            )
        return tensor

    def _tensor(self, name: str) -> Tensor | None:
        """Return the value of a node's input if it is constant; None if it depends on the image."""
        from onnx import numpy_helper

        if name in self._tensors:
            if not _is_float(self._tensors[name]):
                return None
            self._used.add(name)
            array = numpy_helper.to_array(self._tensors[name])
            exact = array if array.dtype in (np.float64, np.float16) else array.astype(np.float32)
            return torch.from_numpy(exact.copy())
        node = self._producer.get(name)
        if node is None or node.op_type not in ("Identity", "Transpose"):
            return None
        tensor = self._tensor(node.input[0])
        if tensor is None or node.op_type == "Identity":
            return tensor
        return tensor.permute(*_attributes(node).get("perm", range(tensor.ndim)[::-1]))


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _is_float(tensor: TensorProto) -> bool:
    from onnx import TensorProto

    return tensor.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
