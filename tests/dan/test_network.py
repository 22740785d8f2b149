from __future__ import annotations

import math

import pytest
import torch

from affect.errors import WeightsError
from dan.network import DAN
from losses.attention import AffinityLoss, partition_loss
from tests.golden import rebuild


@pytest.fixture(scope="module")
def published():
    return rebuild.state_dict("dan8")


def test_golden_dan(published, tmp_path):
    path = tmp_path / "affecnet8.pth"
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))]).state_dict()
    torch.save({"iter": 5, "model_state_dict": published, "optimizer_state_dict": optimizer}, path)
    network = DAN(weights=str(path)).eval()
    assert list(network.state_dict()) == list(published)
    image = torch.from_numpy(rebuild.input("input/dan", (2, 3, 224, 224)))
    numbers = rebuild.numbers("dan")
    with torch.no_grad():
        assert rebuild.relative_error(network(image)[0], numbers["logits"]) <= 1e-5
        # These weights make head values of several thousands, so that float32 heads are 2.5e-5 off on some CPUs (7e-6
        # on others): in float64 the error is the reference's own, and the same everywhere.
        logits, feature_map, heads = network.double()(image.double())
    assert rebuild.relative_error(logits, numbers["logits"]) <= 1e-5
    assert rebuild.relative_error(heads, numbers["heads"]) <= 1e-5
    assert rebuild.relative_error(feature_map.mean(dim=(2, 3)), numbers["feature_map_mean"]) <= 1e-5


@pytest.mark.parametrize(("classes", "heads", "width"), [(8, 4, 8), (7, 2, 16), (8, 1, 8)])
def test_shapes_and_gradients(classes, heads, width):
    network = DAN(num_classes=classes, num_heads=heads, width=width)
    logits, feature_map, attended = network(torch.randn(3, 3, 64, 64))
    assert logits.shape == (3, classes)
    assert feature_map.shape == (3, 8 * width, 2, 2)
    assert attended.shape == (3, heads, 8 * width)
    target = torch.tensor([0, 1, -1])
    loss = logits.square().sum() + AffinityLoss(classes, 8 * width)(feature_map, target) + partition_loss(attended)
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_heads_are_a_distribution_over_heads():
    heads = DAN(width=8).eval()(torch.randn(2, 3, 64, 64))[2]
    torch.testing.assert_close(heads.exp().sum(dim=1), torch.ones(2, 64))


def test_learns_from_scratch():
    """Two kinds of pictures that only a spatial filter tells apart."""
    torch.manual_seed(0)
    stripes = torch.arange(64).div(4, rounding_mode="floor").remainder(2).float().expand(3, 64, 64)
    images = torch.stack([stripes, stripes.mT] * 8) + 0.3 * torch.randn(16, 3, 64, 64)
    target = torch.tensor([0, 1] * 8)
    network = DAN(num_classes=2, width=8)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images)[0], target)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.35


def test_trunk_weights_of_a_resnet(tmp_path):
    source = DAN(width=8).features.state_dict()
    names = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    state = {f"module.{names[name[0]]}{name[1:]}": tensor for name, tensor in source.items()}
    state |= {"module.fc.weight": torch.zeros(1000, 64), "module.fc.bias": torch.zeros(1000)}
    path = tmp_path / "resnet18_msceleb.pth"
    torch.save({"epoch": 1, "state_dict": state}, path)
    network = DAN(width=8, weights=str(path), weights_for="trunk")
    assert all(torch.equal(network.features.state_dict()[name], tensor) for name, tensor in source.items())
    with pytest.raises(WeightsError, match="looks like a ResNet") as error:
        DAN(width=8, weights=str(path))  # EMMA's prior must not end up with untrained heads
    assert "missing (" in str(error.value)


def test_other_number_of_classes(published, tmp_path):
    path = tmp_path / "dan8.pth"
    torch.save({"model_state_dict": published}, path)
    with pytest.raises(WeightsError, match=r"fc.weight is \(8, 512\), should be \(7, 512\)"):
        DAN(num_classes=7, weights=str(path))


def test_preprocessing():
    assert DAN(width=2).preprocessing.image_size == 224
    small = DAN(width=2, image_size=64, interpolation="bicubic").preprocessing
    assert (small.image_size, small.interpolation) == (64, "bicubic")


@pytest.mark.parametrize("wrong", [{"num_heads": 0}, {"num_classes": 0}, {"width": 3}, {"image_size": 16}])
def test_bad_sizes(wrong):
    with pytest.raises(ValueError, match="DAN"):
        DAN(**wrong)


def test_bad_weights_for():
    with pytest.raises(ValueError, match="'all' or 'trunk'"):
        DAN(width=2, weights_for="heads")


def test_the_scores_of_an_untrained_network_start_small(recwarn) -> None:
    """Their noise costs the cross entropy next to nothing, so that no class has to be unlearnt first."""
    torch.manual_seed(0)
    image, target = torch.randn(64, 3, 64, 64), torch.arange(64) % 8
    costs = []
    for weights, scale in ((None, 1.0), ("random", 0.3)):
        logits, _, _ = DAN(width=16, image_size=64, weights=weights)(image)
        torch.testing.assert_close(logits.std(dim=0), torch.full((8,), scale), rtol=0.1, atol=0)
        costs.append(torch.nn.functional.cross_entropy(logits, target).item() - math.log(8))
    assert costs[0] > 0.3 > 0.1 > costs[1]
