"""Networks of timm as ONNX files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from torch import nn

SMALL = "test_efficientnet"  # of timm, 0.4 million parameters
SIDE = 64
SINGLE = 5e-5
"""Of the largest value: the networks below are up to 3e-5 from themselves in double precision, exported or not."""


class Exported(NamedTuple):
    path: Path
    source: nn.Module


def make(name: str, outputs: int, **options: object) -> nn.Module:
    """A network whose batch norms and biases do something, and whose activations keep their size."""
    torch.manual_seed(outputs)
    network = timm.create_model(name, num_classes=outputs, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            module.momentum = None  # running statistics are those of the images below
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.1)
    with torch.no_grad():
        network.train()(torch.randn(32, 3, SIDE, SIDE))
    return network.eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def export(
    network: nn.Module, path: Path, *, dynamo: bool = False, dtype: torch.dtype = torch.float32, **options: object
) -> Exported:
    """As the published files were: operators 11, input and output named, any number of images."""
    if dynamo:
        options = {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "verbose": False} | options
    else:
        options = {"opset_version": 11, "dynamic_axes": {"input": {0: "batch"}, "output": {0: "batch"}}} | options
    # two images: one would be taken for a constant
    names = {"input_names": ["input"], "output_names": ["output"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the exporters say of each other, and of sizes that they fix
        torch.onnx.export(network, (images().to(dtype),), str(path), dynamo=dynamo, **names, **options)
    return Exported(path, network)


class Case(NamedTuple):
    name: str
    outputs: int
    options: dict = {}  # noqa: RUF012 (never changed)
    network: dict = {}  # noqa: RUF012


CASES = {
    "b0": Case("tf_efficientnet_b0", 8),
    "b0 va": Case("tf_efficientnet_b0", 10),
    "b2": Case("tf_efficientnet_b2", 8),
    "b2 va": Case("tf_efficientnet_b2", 10),
    "b0 of any size": Case("tf_efficientnet_b0", 8, {"dynamic_axes": {"input": {0: "batch", 2: "height", 3: "width"}}}),
    "small": Case(SMALL, 8),
    "not folded": Case(SMALL, 8, {"do_constant_folding": False}),
    "dynamo": Case(SMALL, 8, {"dynamo": True}, {"pad_type": "same"}),
    "resnet": Case("test_resnet", 8),
}
SLOW = {"b0 dynamo": Case("tf_efficientnet_b0", 10, {"dynamo": True})}


def fresh(case: str, outputs: int | None = None) -> nn.Module:
    name, own, _, network = (CASES | SLOW)[case]
    return timm.create_model(name, num_classes=own if outputs is None else outputs, **network).eval()


def difference(values, expected) -> float:
    """Relative to the largest value."""
    values, expected = (np.asarray(array, dtype=np.float64) for array in (values, expected))
    assert values.shape == expected.shape
    assert np.std(expected) > 1e-2
    return float(np.abs(values - expected).max() / np.abs(expected).max())
