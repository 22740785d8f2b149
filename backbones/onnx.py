"""Read weights from ONNX files, and name them after the layers of a timm network.

An exporter keeps the order in which layers run, but not always their names, and it folds a BatchNorm into the
convolution before it. Nothing in the file is run.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import Tensor, nn

from affect.errors import WeightsError
from backbones.graph import GraphLayer, LayerKind, read_graph
from backbones.state import some

_log = logging.getLogger(__name__)

_SIDE: Final = 224  # side of the image that the network is run on to find the order, if the file does not fix one
_LARGEST: Final = 1024  # side of the largest image that a network is run on: larger ones would take gigabytes
_FOLDED: Final = (
    "were folded into convolutions when the file was made. That is exact in evaluation mode, but in training mode they "
    "would normalise what they never saw: keep the network frozen, or train from a state dict"
)


@dataclass(frozen=True)
class _Place:
    """A layer of the network, recorded while it ran.

    Attributes:
        kind: kind of the layer, which it must also have in the file.
        name: name of the module.
        module: the module, in a copy of the network.
        sides: height and width of its input; empty for a linear layer.
        chained: its input was the output of the layer before it.
    """

    kind: LayerKind
    name: str
    module: nn.Module
    sides: tuple[int, ...]
    chained: bool


def onnx_state(path: Path, network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of an ONNX file under the names of a timm network.

    Each Conv, BatchNormalization and Gemm or MatMul of the graph is matched with the network's next Conv2d, BatchNorm2d
    or Linear in the order of execution. If two branches have the same layers, the order in the file decides.

    A BatchNorm that was folded into its convolution gets weight 1, the convolution's bias, mean 0 and variance
    1 - eps. In evaluation mode that is the same function. In training mode it is not, because the scale of the batches
    is now in the convolutions; the log warns of it.

    Args:
        path: path of the ``.onnx`` file.
        network: a network of ``timm.create_model``, which is not changed. It may have no classifier, or one of another
            size.

    Returns:
        State dict on the CPU; the file's classifier has timm's name for it.

    Raises:
        WeightsError: the file is not readable (``backbones.graph.read_graph``), or belongs to another network: it has
            another number of layers, another layer somewhere, or tensors that belong to no layer.
    """
    graph = read_graph(path)
    channels, *sides = (*graph.image, None, None, None)[:3]
    classifier = _classifier_name(network)
    if any(side is not None and side > _LARGEST for side in (channels, *sides)):
        raise _something_else(path, f"its images are {graph.image}, more than {_LARGEST} pixels")
    places = _execution(network, (channels or 3, sides[0] or _SIDE, sides[1] or _SIDE), f"weights {path}")
    body = [place for place in places if place.name != classifier]
    layers = _unfolded(graph.layers, body)
    state: dict[str, Tensor] = {}
    for place, layer in zip(body, layers, strict=False):
        tensors = _fitted(layer, place)
        if difference := _difference(layer, place, tensors):
            raise _something_else(path, f"node {layer.name!r} in the place of {place.name}: {difference}")
        state |= {f"{place.name}.{name}": tensor for name, tensor in tensors.items()}
    if len(layers) < len(body):
        raise _something_else(path, f"it ends after {len(layers)} layers, before {body[len(layers)].name}")
    rest = layers[len(body) :]
    if len(rest) == 1 and rest[0].last:
        state |= {f"{classifier}.{name}": tensor for name, tensor in _with_bias(rest[0].tensors).items()}
    elif rest:
        raise _something_else(path, f"{len(rest)} layers of the file are left over, from node {rest[0].name!r} on")
    if graph.others:
        raise _something_else(path, f"it has tensors beside those of the layers: {some(list(graph.others))}")
    if folded := len(layers) - len(graph.layers):
        _log.warning("%s: %d BatchNorm layers %s", path, folded, _FOLDED)
    return state


def onnx_classifier(path: Path) -> dict[str, Tensor] | None:
    """Return ``weight`` (classes, features) and ``bias`` (classes) of the linear layer at the end of an ONNX file.

    Args:
        path: path of the ``.onnx`` file.

    Returns:
        The two tensors by name; None if the file ends with another kind of layer.

    Raises:
        WeightsError: the file is not readable.
    """
    layers = read_graph(path).layers
    return _with_bias(layers[-1].tensors) if layers and layers[-1].kind == "linear" and layers[-1].last else None


def _with_bias(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the bias, which exporters leave out where it is zero."""
    weight = tensors["weight"]
    return {"bias": weight.new_zeros(len(weight)), **tensors}


def _classifier_name(network: nn.Module) -> str:
    cfg: Any = getattr(network, "pretrained_cfg", {})
    name = cfg.get("classifier") or "classifier"
    return name if isinstance(name, str) else str(name[0])


def _kind(module: nn.Module) -> LayerKind | None:
    # only these exact classes: other convolutions standardise or choose their kernels first
    if type(module) in (nn.Conv2d, Conv2dSame):
        return "convolution"
    if isinstance(module, nn.BatchNorm2d):
        return "batch norm"
    return "linear" if isinstance(module, nn.Linear) else None


def _execution(network: nn.Module, image: tuple[int, ...], source: str) -> list[_Place]:
    """Return the layers with weights in the order in which they run on an image (channels, height, width)."""
    network = copy.deepcopy(network).cpu().eval()
    names = {module: name for name, module in network.named_modules()}
    holders = {name.rpartition(".")[0] for name in network.state_dict()}
    if strange := [f"{n} ({type(m).__name__})" for m, n in names.items() if n in holders and _kind(m) is None]:
        raise WeightsError(
            f"{source}: ONNX files are read for networks of convolutions, batch norms and linear layers; this one has "
            f"{some(strange)}. Give a state dict"
        )
    places: list[_Place] = []
    given: list[Tensor] = []  # output of the layer before

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kind = _kind(module)
        if kind is not None:
            sides = tuple(inputs[0].shape[2:]) if kind == "convolution" else ()
            places.append(_Place(kind, names[module], module, sides, bool(given) and inputs[0] is given[-1]))
            given[:] = [output]

    for module in names:
        if _kind(module) is not None:
            module.register_forward_hook(record)
    dtype = next(network.parameters()).dtype
    try:
        with torch.no_grad():
            network(torch.zeros(1, *image, dtype=dtype))
    except (RuntimeError, AssertionError, ValueError) as error:
        size = " x ".join(map(str, image))
        raise WeightsError(f"{source}: its images are {size}, which the network cannot take: {error}") from error
    if len({place.name for place in places}) != len(places):
        raise WeightsError(f"{source}: the network runs a layer more than once, so that order tells nothing")
    return places


def _unfolded(layers: tuple[GraphLayer, ...], places: list[_Place]) -> list[GraphLayer]:
    """Return the layers of the file, with the batch norms that were folded into its convolutions put back."""
    whole = list(layers)
    for index, (before, place) in enumerate(pairwise(places)):
        if before.kind != "convolution" or place.kind != "batch norm" or not place.chained:
            continue
        convolution, following = (*whole[index : index + 2], None, None)[:2]
        if convolution is None or convolution.kind != "convolution":
            break  # the file belongs to another network
        if following is None or following.kind != "batch norm":
            whole[index : index + 1] = _split(convolution, before.module, place.module)
    return whole


def _split(folded: GraphLayer, convolution: nn.Module, norm: nn.Module) -> tuple[GraphLayer, GraphLayer]:
    """Split a folded convolution into a convolution without the BatchNorm's shift, and that BatchNorm."""
    weight = folded.tensors["weight"]
    zero, one = weight.new_zeros(len(weight)), weight.new_ones(len(weight))
    shift = folded.tensors.get("bias", zero)
    if getattr(convolution, "bias", None) is not None:
        rest, shift = {"weight": weight, "bias": shift}, zero
    else:
        rest = {"weight": weight}
    eps = float(getattr(norm, "eps"))  # noqa: B009 (typed as a module otherwise)
    tensors = {"weight": one, "bias": shift, "running_mean": zero, "running_var": one - eps}
    return replace(folded, tensors=rest), GraphLayer("batch norm", folded.name, tensors, {"eps": eps})


def _fitted(layer: GraphLayer, place: _Place) -> dict[str, Tensor]:
    """Return a layer's tensors under the names that the network's layer has, with or without a bias of zero."""
    tensors, own = dict(layer.tensors), place.module.state_dict()
    if "bias" in own:
        tensors = _with_bias(tensors)
    elif "bias" in tensors and not tensors["bias"].any():
        del tensors["bias"]
    if "num_batches_tracked" in own:
        tensors["num_batches_tracked"] = torch.zeros_like(own["num_batches_tracked"])
    return tensors


def _difference(layer: GraphLayer, place: _Place, tensors: dict[str, Tensor]) -> str | None:
    """Return how a layer of the file differs from the network's; None if it does not."""
    module, own = place.module, place.module.state_dict()
    if layer.kind != place.kind:
        return f"a {layer.kind}, not a {place.kind}"
    for name in [*own, *(tensors.keys() - own.keys())]:
        theirs, ours = ("none" if name not in t else f"{tuple(t[name].shape)}" for t in (tensors, own))
        if theirs != ours:
            return f"{name} {theirs}, not {ours}"
    for name, value in layer.options.items():
        expected: Any = getattr(module, name)
        if value != expected and not (name == "eps" and math.isclose(layer.options["eps"], expected, rel_tol=1e-5)):
            return f"{name} {value}, not {expected}"
    if isinstance(module, Conv2dSame):
        if (layer.padded and not any(layer.pads)) or layer.pads == _same_pads(module, place.sides):
            return None
        return f"padding {layer.pads}, not {_same_pads(module, place.sides)} or computed from the size"
    if isinstance(module, nn.Conv2d) and (layer.padded or layer.pads != (*module.padding, *module.padding)):
        return f"padding {layer.pads}{' after a Pad node' * layer.padded}, not {module.padding}"
    return None


def _same_pads(module: Conv2dSame, sides: tuple[int, ...]) -> tuple[int, ...]:
    """Return TensorFlow's padding for an image of this size: at the beginning of each side, then at the end."""
    sums = [
        get_same_padding(*axis) for axis in zip(sides, module.kernel_size, module.stride, module.dilation, strict=True)
    ]
    return (*(total // 2 for total in sums), *(total - total // 2 for total in sums))


def _something_else(path: Path, difference: str) -> WeightsError:
    return WeightsError(
        f"weights {path}: an ONNX file of something else than the network: {difference}. Give a file of this "
        "network, or the name of the network that the file is of"
    )
