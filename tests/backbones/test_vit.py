from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch
from timm.layers.drop import DropPath
from timm.models.vision_transformer import VisionTransformer
from torch.nn import functional as F

from affect.errors import WeightsError
from backbones.masks import keep_lowest
from backbones.vit import ViT, build_vit
from tests.golden import rebuild

SMALL = {"image_size": 64, "width": 48, "depth": 3, "heads": 4}


def save(path, state, **others):
    torch.save({"model": state, **others}, path)
    return str(path)


@pytest.fixture(scope="module")
def small_state():
    return rebuild.state_dict("vit_small")


@pytest.fixture(scope="module")
def small(small_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("vit") / "small.pth"
    return build_vit(**SMALL, weights=save(path, small_state)).eval()


def small_input():
    return torch.from_numpy(rebuild.input("input/vit_small", (4, 3, 64, 64)))


def check(features, numbers, state, name):
    """Features, and the scores that the reference's linear head makes of them."""
    logits = F.linear(features, state["head.weight"], state["head.bias"])
    for value, key in ((features, "features"), (logits, "logits")):
        assert rebuild.relative_error(value, numbers[name.format(key)]) <= 1e-5


def test_golden_vit_base(tmp_path):
    state = rebuild.state_dict("vit_base_patch16")
    path = save(tmp_path / "vit.pth", state, args=argparse.Namespace(model="vit_base_patch16"), epoch=3)
    network = build_vit(image_size=224, weights=path).eval()
    assert [*network.state_dict(), "head.weight", "head.bias"] == list(state)
    with torch.no_grad():
        features = network(torch.from_numpy(rebuild.input("input/vit_base", (2, 3, 224, 224))))
    check(features, rebuild.numbers("vit"), state, "{}")


def test_golden_vit_small(small, small_state):
    check(small(small_input()).detach(), rebuild.numbers("vit"), small_state, "small_{}")


@pytest.mark.parametrize("percent", [50, 75, 90])
def test_golden_vit_masked(small, small_state, percent):
    numbers = rebuild.numbers("vit")
    keep = keep_lowest(torch.from_numpy(numbers["noise"]), percent / 100)
    assert keep.shape == (4, int(16 * (1 - percent / 100)))
    check(small(small_input(), keep).detach(), numbers, small_state, f"small_masked_{{}}_{percent}")


@pytest.mark.parametrize("channels_last", [False, True])
def test_keeping_all_patches_equals_the_plain_path(small, channels_last):
    x = small_input()
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    plain = VisionTransformer.forward_features(small, x)  # timm's own, which embeds by a convolution
    torch.testing.assert_close(small.forward_features(x), plain)
    torch.testing.assert_close(small.forward_features(x, torch.arange(16).expand(4, 16)), plain)


def test_order_of_kept_patches_does_not_matter(small):
    keep = torch.tensor([[0, 5, 9]] * 4)
    torch.testing.assert_close(small(small_input(), keep), small(small_input(), keep.flip(1)))


def test_removed_patches_are_not_seen(small):
    keep = torch.tensor([[0, 5, 15]] * 4)
    x = small_input().requires_grad_()
    small(x, keep).sum().backward()
    seen = F.max_pool2d(x.grad.abs().amax(dim=1), 16).flatten(1) > 0
    assert torch.equal(seen.nonzero()[:, 1].view(4, 3), keep)


def test_gradients_of_both_paths_are_equal(small):
    gradients = []
    for keep in (None, torch.arange(16).expand(4, 16), torch.arange(16).expand(4, 16)):
        small.zero_grad()
        small.set_grad_checkpointing(len(gradients) == 2)
        small(small_input(), keep).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in small.parameters()])
    small.set_grad_checkpointing(False)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients[1], gradients[2], rtol=1e-4, atol=1e-4)


def test_autocast_gives_both_paths_one_precision(small):
    with torch.autocast("cpu", torch.bfloat16):
        plain, kept = small(small_input()), small(small_input(), torch.arange(16).expand(4, 16))
    assert plain.dtype == kept.dtype
    torch.testing.assert_close(kept, plain, rtol=0.05, atol=0.1)


def test_position_embedding_is_interpolated(small_state, tmp_path):
    network = build_vit(**SMALL | {"image_size": 96}, weights=save(tmp_path / "small.pth", small_state))
    published = small_state["pos_embed"]
    assert network.pos_embed.shape == (1, 37, 48)
    assert torch.equal(network.pos_embed[:, 0], published[:, 0])
    grid = published[:, 1:].reshape(1, 4, 4, 48).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (6, 6), mode="bicubic", antialias=True).permute(0, 2, 3, 1).reshape(1, 36, 48)
    torch.testing.assert_close(network.pos_embed[:, 1:].detach(), expected)
    assert network(torch.zeros(1, 3, 96, 96)).shape == (1, 48)
    assert network.preprocessing.image_size == 96


def test_no_weight_decay_and_drop_path():
    network = ViT(**SMALL, drop_path=0.2)
    assert {"pos_embed", "cls_token"} <= network.no_weight_decay()
    rates = [module.drop_prob for module in network.modules() if isinstance(module, DropPath)]
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.2, 0.2])  # none in the first block
    assert network.norm.eps == 1e-6


def test_random_initialisation_varies_with_the_input():
    torch.manual_seed(0)
    network = build_vit(**SMALL, weights=None).eval()
    with torch.no_grad():
        features = network(torch.randn(4, 3, 64, 64))
    assert torch.isfinite(features).all()
    assert features.std(dim=0).mean() > 0.1


def test_convolutional_stem():
    torch.manual_seed(0)
    network = build_vit(**SMALL, stem="conv", weights="random", drop_path=0.0)  # BatchNorm from the batch
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        tokens = network.forward_features(x)
    assert tokens.shape == (2, 17, 48)
    assert tokens[:, 1:].std(dim=0).mean() > 0.01
    assert network.pos_embed[:, 1:].std().item() == pytest.approx(0.7, rel=0.1)
    with pytest.raises(ValueError, match="sees across patches"):
        network(x, torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="patch_size=8"):
        ViT(image_size=64, patch_size=8, width=48, heads=4, stem="conv")


def test_random_embeddings_see_edges_and_positions():
    torch.manual_seed(0)
    network = build_vit(**SMALL, weights="random").eval()
    torch.testing.assert_close(network.patch_embed.proj.weight.mean(dim=(2, 3)), torch.zeros(48, 3), atol=1e-6, rtol=0)
    with torch.no_grad():
        flat = network._embed(torch.ones(1, 3, 64, 64), None)
    torch.testing.assert_close(flat, network.patch_embed.proj.bias.expand(1, 16, 48), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(48, 48), (64, 48), (224, 224)])
def test_other_image_size(small, size):
    with pytest.raises(ValueError, match=f"64 x 64 pixels, not {size[0]} x {size[1]}"):
        small(torch.zeros(1, 3, *size))


def test_bad_arguments(small):
    with pytest.raises(ValueError, match="image_size=60"):
        ViT(image_size=60)
    with pytest.raises(ValueError, match="width=50"):
        ViT(image_size=64, width=50, heads=4)
    with pytest.raises(ValueError, match="keep of shape"):
        small(torch.zeros(2, 3, 64, 64), torch.zeros(1, 4, dtype=torch.int64))
    with pytest.raises(WeightsError, match="neither an existing file nor a known name"):
        build_vit(**SMALL, weights="no_such_file.pth")
