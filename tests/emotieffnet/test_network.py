"""EmotiEffNet's networks: the orders of their outputs, weights in and out, freezing, heads from checkpoints."""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from affect.errors import WeightsError
from affect.labels import AFFECTNET_ALPHABETICAL, AFFECTNET_EXPRESSIONS, EXPRESSIONS
from emotieffnet.network import EmotiEffNet, FineTunedNet

IMAGE = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def make(backbone: str = "test_efficientnet", **options) -> EmotiEffNet:
    torch.manual_seed(0)
    return EmotiEffNet(backbone, **{"image_size": 32, "weights": None, **options}).eval()


def tuned(**options) -> FineTunedNet:
    torch.manual_seed(0)
    return FineTunedNet("test_efficientnet", **{"image_size": 32, "weights": None, **options}).eval()


def published(path: Path, outputs: int) -> nn.Module:
    torch.manual_seed(5)
    source = timm.create_model("test_efficientnet", num_classes=outputs).eval()
    torch.save({"state_dict": source.state_dict()}, path)
    return source


@pytest.mark.parametrize("classes", [7, 8])
@pytest.mark.parametrize("affect", [False, True])
def test_outputs_are_alphabetical_and_scores_in_affectnets_numbering(classes: int, affect: bool) -> None:
    network = make(classes=classes, valence_arousal=affect)
    names = network.output_names
    assert list(names[:classes]) == sorted(AFFECTNET_EXPRESSIONS[:classes])
    assert names[classes:] == (("valence", "arousal") if affect else ())
    with torch.no_grad():
        features, outputs = network.embed(IMAGE)
        scores = network(IMAGE)
    assert features.shape == (2, 256)
    assert outputs.shape == (2, len(names))
    assert scores.action_units is None
    for row in range(2):
        by_name = dict(zip(names, outputs[row].tolist(), strict=True))
        assert scores.expression[row].tolist() == [by_name[name] for name in AFFECTNET_EXPRESSIONS[:classes]]
        if affect:
            assert scores.valence_arousal[row].tolist() == [by_name["valence"], by_name["arousal"]]
    assert (scores.valence_arousal is not None) == affect


def test_eight_outputs_are_those_of_the_published_files() -> None:
    assert make().output_names == AFFECTNET_ALPHABETICAL


def test_the_embedding_is_the_mean_of_the_feature_map() -> None:
    network = make()
    with torch.no_grad():
        features, outputs = network.embed(IMAGE)
        mean = network.backbone.forward_features(network.normalize(IMAGE)).mean(dim=(2, 3))
    torch.testing.assert_close(features, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(outputs, features @ network.classifier.weight.T + network.classifier.bias)


def test_weights_of_a_file_with_its_classifier(tmp_path: Path) -> None:
    source = published(tmp_path / "faces.pth", 10)
    network = make(weights=str(tmp_path / "faces.pth"), valence_arousal=True)
    with torch.no_grad():
        torch.testing.assert_close(network.embed(IMAGE)[1], source(network.normalize(IMAGE)), rtol=1e-4, atol=1e-5)


def test_a_classifier_of_another_shape_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = published(tmp_path / "faces.pth", 10)
    with caplog.at_level(logging.WARNING):
        network = make(weights=str(tmp_path / "faces.pth"))
    assert "no classifier of 8 outputs" in caplog.text
    assert torch.equal(network.backbone.conv_stem.weight, source.conv_stem.weight)
    caplog.clear()
    assert make(weights=str(tmp_path / "faces.pth"), classes=None).output_names == ()
    assert not caplog.text


def test_without_classes_there_are_features_alone() -> None:
    network = make(classes=None)
    with torch.no_grad():
        features, outputs = network.embed(IMAGE)
        assert network(IMAGE).expression is None
    assert features.shape == (2, 256)
    assert outputs.shape == (2, 0)


@pytest.mark.parametrize("wrong", [{"classes": 6}, {"classes": None, "valence_arousal": True}])
def test_other_outputs_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="EmotiEffNet classes="):
        make(**wrong)


def test_a_frozen_backbone_is_evaluated_and_has_no_gradients() -> None:
    network = make().train()
    network.freeze(True)
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    network.train()
    network(IMAGE).expression.sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.backbone.state_dict().items())
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {
        "classifier.weight",
        "classifier.bias",
    }
    network.freeze(False)
    assert network.backbone.training
    network(IMAGE).expression.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def checkpoint(path: Path, *sizes: int) -> dict[str, torch.Tensor]:
    """A checkpoint of heads: Linear layers of these sizes, and a head of another task."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    head = nn.Sequential(*layers[:-1]).state_dict()
    state = {f"network.heads.expression.{name}": value for name, value in head.items()}
    state |= {"network.heads.valence_arousal.0.weight": torch.zeros(2, sizes[0])}
    torch.save({"state_dict": state, "model_config": {}}, path)
    return head


@pytest.mark.parametrize("hidden", [None, 16])
def test_the_classifier_starts_from_a_head(tmp_path: Path, hidden: int | None) -> None:
    head = checkpoint(tmp_path / "heads.ckpt", *([256, 8] if hidden is None else [256, hidden, 8]))
    network = tuned(hidden=hidden, head_weights=str(tmp_path / "heads.ckpt"))
    assert network.output_names == EXPRESSIONS
    with torch.no_grad():
        features, outputs = network.embed(IMAGE)
        expected = features @ head["0.weight"].T + head["0.bias"]
        if hidden is not None:
            expected = expected.clamp(min=0) @ head["2.weight"].T + head["2.bias"]
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(network(IMAGE).expression, expected)


def test_heads_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "heads.ckpt"
    with pytest.raises(WeightsError, match="no such file"):
        tuned(head_weights=str(path))
    checkpoint(path, 256, 16, 8)
    with pytest.raises(WeightsError, match=r"'2.weight': \(8, 16\).*but the classifier is .*model\.network\.hidden"):
        tuned(head_weights=str(path))
    checkpoint(path, 1280, 8)
    with pytest.raises(WeightsError, match=r"'0.weight': \(8, 1280\)"):
        tuned(head_weights=str(path))
    torch.save({"state_dict": {"network.backbone.weight": torch.zeros(1)}}, path)
    with pytest.raises(WeightsError, match="holds no expression head"):
        tuned(head_weights=str(path))
    path.write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="not readable"):
        tuned(head_weights=str(path))


def test_a_network_whose_classifier_timm_names_otherwise_reads_its_own_export(tmp_path: Path) -> None:
    network = make("resnet10t")
    state = dict(network.backbone.state_dict())
    state |= {f"classifier.{name}": value for name, value in network.classifier.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "emotieffnet.pth")
    torch.manual_seed(1)
    again = EmotiEffNet("resnet10t", image_size=32, weights=str(tmp_path / "emotieffnet.pth"))
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
