"""Networks of timm that were exported to ONNX and come back: computed by torch, and by onnxruntime."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnxruntime
import pytest
import timm
import torch
from torch import nn

from affect.errors import WeightsError
from affect.labels import AFFECTNET_EXPRESSIONS
from affect.preprocessing import IMAGENET
from backbones.registry import REGISTRY
from backbones.weights import classifier_state, load_weights
from dan.network import DAN
from tests.backbones.exports import CASES, SINGLE, SLOW, SMALL, difference, export, fresh, images, make

HEAD = ("classifier.",)


# --- there and back


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_network_comes_back(exported, case):
    path, source = exported(case)
    whole, backbone = fresh(case), fresh(case, 0)
    assert load_weights(whole, str(path), kind="timm") == IMAGENET
    load_weights(backbone, str(path), kind="timm", head=("classifier.", "fc."))
    linear = classifier_state(str(path))
    assert linear is not None
    (run,) = onnxruntime.InferenceSession(path).run(None, {"input": images().numpy()})
    with torch.no_grad():
        embedding, logits = source.forward_head(source.forward_features(images()), pre_logits=True), source(images())
        assert difference(whole(images()), logits) < SINGLE
        assert difference(whole(images()), run) < SINGLE
        assert difference(backbone(images()), embedding) < SINGLE
        assert difference(nn.functional.linear(backbone(images()), **linear), run) < SINGLE
    assert all(torch.equal(linear[key], source.get_classifier().state_dict()[key]) for key in ("weight", "bias"))


@pytest.mark.parametrize("case", ["b0", "b2", "resnet", "not folded"])
def test_nothing_is_lost_but_roundings(tmp_path, case):
    """In double precision, in which no rounding hides a wrong scale."""
    name, outputs, options, _ = CASES[case]
    path, source = export(make(name, outputs).double(), tmp_path / "double.onnx", dtype=torch.float64, **options)
    network = fresh(case).double()
    load_weights(network, str(path), kind="timm")
    with torch.no_grad():
        assert difference(network(images().double()), source(images().double())) < 1e-12


def test_the_state_is_what_it_says(exported):
    path, source = exported("small")
    network, before = fresh("small").train(), torch.random.get_rng_state()
    load_weights(network, str(path), kind="timm")
    assert network.training
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not any(module._forward_hooks for module in network.modules())
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert not module.running_mean.any()
            torch.testing.assert_close(module.running_var, torch.full_like(module.running_var, 1 - module.eps))
            old = source.get_submodule(name)
            shift = old.bias - old.weight * old.running_mean / (old.running_var + old.eps).sqrt()
            torch.testing.assert_close(module.bias, shift, rtol=1e-4, atol=1e-5)
            assert module.num_batches_tracked == 0


def test_not_folded_batch_norms_come_back_as_they_were(exported, caplog):
    path, source = exported("not folded")
    network, expected = fresh("not folded"), source.state_dict()
    load_weights(network, str(path), kind="timm")
    own = network.state_dict()
    assert all(torch.equal(own[name], expected[name]) for name in own if not name.endswith("num_batches_tracked"))
    assert not caplog.records


def test_folded_batch_norms_are_told(exported, caplog):
    with caplog.at_level(logging.WARNING, "backbones.onnx"):
        load_weights(fresh("small"), str(exported("small").path), kind="timm")
    assert "13 BatchNorm layers were folded" in caplog.text
    assert "keep the network frozen" in caplog.text


# --- files of something else


def test_another_network(exported):
    """Names the node of the file and the layer of the network."""
    with pytest.raises(
        WeightsError,
        match=r"resnet\.onnx: an ONNX file of something else .*: node '/conv1/conv1\.0/Conv' in the place of "
        r"conv_stem: weight \(\d+, 3, 3, 3\), not \(32, 3, 3, 3\)",
    ):
        load_weights(fresh("b0"), str(exported("resnet").path), kind="timm")


def test_another_padding(exported):
    """The networks with and without ``tf_`` differ in nothing else that a file shows."""
    network = timm.create_model("efficientnet_b0", num_classes=8)
    with pytest.raises(WeightsError, match=r"conv_stem: padding \(0, 0, 0, 0\) after a Pad node, not \(1, 1\)"):
        load_weights(network, str(exported("b0").path), kind="timm")
    network = timm.create_model(SMALL, num_classes=8, pad_type="same")
    with pytest.raises(WeightsError, match=r"conv_stem: padding \(1, 1, 1, 1\), not \(0, 0, 1, 1\) or computed"):
        load_weights(network, str(exported("small").path), kind="timm")


def changed(source: Path, target: Path, operator: str, place: int, **values: object) -> str:
    """Writes a file in which one node of this operator has other attributes."""
    model = onnx.load(source)
    node = [node for node in model.graph.node if node.op_type == operator][place]
    kept = [attribute for attribute in node.attribute if attribute.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(onnx.helper.make_attribute(name, value) for name, value in values.items())])
    onnx.save(model, target)
    return str(target)


@pytest.mark.parametrize(
    ("operator", "values", "message"),
    [
        ("Conv", {"strides": [1, 1]}, r"conv_stem: stride \(1, 1\), not \(2, 2\)"),
        ("Conv", {"dilations": [2, 2]}, r"conv_stem: dilation \(2, 2\), not \(1, 1\)"),
        ("Conv", {"group": 3}, r"conv_stem: groups 3, not 1"),
        ("Conv", {"pads": [1, 1, 0, 0]}, r"conv_stem: padding \(1, 1, 0, 0\), not \(1, 1\)"),
        ("BatchNormalization", {"epsilon": 1e-3}, r"bn1: eps 0\.001\d*, not 1e-05"),
    ],
)
def test_another_attribute(exported, tmp_path, operator, values, message):
    path = changed(exported("not folded").path, tmp_path / "net.onnx", operator, 0, **values)
    with pytest.raises(WeightsError, match=message):
        load_weights(fresh("not folded"), path, kind="timm")


def test_another_number_of_layers(tmp_path, exported):
    one, two = (nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(count))) for count in (1, 2))
    for network, count in ((one, 1), (two, 2)):
        export(network, tmp_path / f"{count}.onnx")
    with pytest.raises(WeightsError, match=r"1\.onnx: .*it ends after 1 layers, before 1\. "):
        load_weights(two, str(tmp_path / "1.onnx"), kind="timm")
    with pytest.raises(WeightsError, match=r"2\.onnx: .*1 layers of the file are left over, from node '/1/Conv' on"):
        load_weights(one, str(tmp_path / "2.onnx"), kind="timm")


def test_a_batch_norm_that_follows_no_convolution_is_in_none(tmp_path):
    """Only one that is given what the convolution gives can have been folded into it."""
    convolution, norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
    export(nn.Conv2d(3, 4, 1), tmp_path / "net.onnx")
    load_weights(nn.Sequential(convolution, norm), str(tmp_path / "net.onnx"), kind="timm")
    with pytest.raises(WeightsError, match=r"node '/Conv' in the place of 0: bias \(4,\), not none"):
        load_weights(nn.Sequential(convolution, nn.ReLU(), norm), str(tmp_path / "net.onnx"), kind="timm")


def test_another_number_of_outputs(exported):
    path = str(exported("small").path)
    with pytest.raises(WeightsError, match=r"classifier\.weight is \(8, 256\), should be \(10, 256\)"):
        load_weights(fresh("small", 10), path, kind="timm")
    with pytest.raises(WeightsError, match=r"unexpected \(2\): classifier\.(bias|weight)"):
        load_weights(fresh("small", 0), path, kind="timm")
    network = fresh("small", 10)
    kept = network.classifier.weight.clone()
    load_weights(network, path, kind="timm", head=HEAD)
    assert torch.equal(network.classifier.weight, kept)


class Normalised(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.network(image - self.mean)


def test_what_the_network_does_not_compute(exported, tmp_path):
    """A file that normalises its images itself must not pass for one that does not."""
    export(Normalised(exported("small").source), tmp_path / "normalised.onnx")
    with pytest.raises(WeightsError, match=r"tensors beside those of the layers: mean"):
        load_weights(fresh("small"), str(tmp_path / "normalised.onnx"), kind="timm")


def test_networks_that_have_no_such_order(exported):
    path = str(exported("small").path)
    with pytest.raises(WeightsError, match=r"this one has .*norm.*\(LayerNorm\w*\).* Give a state dict"):
        load_weights(timm.create_model("test_convnext"), path, kind="timm")
    layer = nn.Conv2d(3, 3, 1)
    with pytest.raises(WeightsError, match="runs a layer more than once"):
        load_weights(nn.Sequential(layer, layer), path, kind="timm")
    with pytest.raises(WeightsError, match=r"images are 3 x 64 x 64, which the network cannot take"):
        load_weights(nn.Sequential(nn.Conv2d(1, 3, 1)), path, kind="timm")


@pytest.mark.parametrize("kind", ["vit", "mae", "dan", "resnet18"])
def test_only_for_networks_of_timm(exported, kind):
    with pytest.raises(WeightsError, match=r"small\.onnx: ONNX files are for networks of timm, not for a "):
        load_weights(DAN(weights=None), str(exported("small").path), kind=kind)


# --- the published files by name


@pytest.fixture
def published(exported, monkeypatch, tmp_path):
    """Files of ours, under the names of the published ones, in the weights folder."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for name, case in {"enet_b0_8_va_mtl": "b0 va", "enet_b2_8": "b2"}.items():
        (folder / f"{name}.onnx").write_bytes(exported(case).path.read_bytes())
    return exported


def test_a_published_name(published):
    network = fresh("b2", 0)
    assert load_weights(network, "enet_b2_8", kind="timm", head=HEAD) == IMAGENET.at(260)
    source = published("b2").source
    with torch.no_grad():
        expected = source.forward_head(source.forward_features(images()), pre_logits=True)
        assert difference(network(images()), expected) < SINGLE
    assert classifier_state("enet_b0_8_va_mtl")["weight"].shape == (10, 1280)
    assert classifier_state("enet_b2_8")["weight"].shape == (8, 1408)


def test_a_published_name_of_another_network(published):
    with pytest.raises(WeightsError, match=r"enet_b2_8 are those of timm's tf_efficientnet_b2, not of efficientnet_b2"):
        load_weights(timm.create_model("efficientnet_b2", num_classes=0), "enet_b2_8", kind="timm", head=HEAD)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        load_weights(fresh("b0", 0), "enet_b0_8_best_afew", kind="timm", head=HEAD)
    with pytest.raises(WeightsError, match="enet_b2_8 are those of a backbone of timm, not of a DAN"):
        DAN(weights="enet_b2_8")


@pytest.mark.parametrize("name", [name for name in REGISTRY if name.startswith("enet_")])
def test_what_is_known_of_the_published_files(name):
    """The names say it: size, number of classes, whether valence and arousal follow."""
    entry = REGISTRY[name]
    assert entry.file == f"{name}.onnx"
    assert f"/models/affectnet_emotions/onnx/{name}.onnx?raw=true" in entry.url
    size, classes = name.split("_")[1:3]
    assert entry.architecture == f"tf_efficientnet_{size}"
    assert entry.preprocessing == IMAGENET.at({"b0": 224, "b2": 260}[size])
    assert list(entry.classes) == sorted(AFFECTNET_EXPRESSIONS[: int(classes)])
    assert entry.valence_arousal == name.endswith("_mtl")
