"""The network of masked CoTEX against the published numbers, and its options."""

import numpy as np
import pytest
import torch

from backbones.masks import keep_lowest
from backbones.vit import ViT
from cotex.network import CoTEX, build_cotex
from tests.golden import rebuild

SMALL = {"image_size": 64, "width": 48, "depth": 3, "heads": 4}


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """Both views with the weights of the reference's small ViT and its head, which takes images as they are."""
    state = rebuild.state_dict("vit_small")
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save({"model": state}, path)
    network = build_cotex(**SMALL, weights=str(path)).eval()
    for head in network.heads:
        head.load_state_dict({"weight": state["head.weight"], "bias": state["head.bias"]})
    network.normalize = torch.nn.Identity()
    return network


@pytest.mark.parametrize("percent", [50, 75, 90])
def test_golden_masked_logits_of_every_view(golden, percent):
    numbers = rebuild.numbers("vit")
    keep = keep_lowest(torch.from_numpy(numbers["noise"]), percent / 100)
    image = torch.from_numpy(rebuild.input("input/vit_small", (4, 3, 64, 64)))
    with torch.no_grad():
        for logits in golden(image, [keep, keep]):
            assert rebuild.relative_error(logits, numbers[f"small_masked_logits_{percent}"]) <= 1e-5


def test_golden_whole_images(golden):
    image = torch.from_numpy(rebuild.input("input/vit_small", (4, 3, 64, 64)))
    with torch.no_grad():
        for logits in golden(image):
            assert rebuild.relative_error(logits, rebuild.numbers("vit")["small_logits"]) <= 1e-5


def test_each_view_sees_its_own_patches_only():
    torch.manual_seed(0)
    network = build_cotex(**SMALL, weights="random").eval()
    image = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    keep = [torch.tensor([[0, 1], [2, 3]]), torch.tensor([[12, 13], [14, 15]])]
    with torch.no_grad():
        before = network(image, keep)
        image[:, :, 48:] = 0  # the last four patches
        after = network(image, keep)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_visible_patches_are_the_same_pixels_under_autocast():
    torch.manual_seed(0)
    network = build_cotex(**SMALL, weights="random").eval()
    seen = []
    network.vits[0].forward_patches = lambda patches, keep: (seen.append(patches), torch.zeros(2, 48))[1]
    image = torch.randint(0, 256, (2, 3, 112, 112), dtype=torch.uint8)
    keep = [torch.tensor([[0, 5], [2, 3]])] * 2
    augmentation = torch.tensor([[66, 1, 0, 1, 1.2, 0.8, 1.1, 0.05], [66, 0, 2, 0, 1, 1, 1, 0]])
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            network(image, keep, augmentation)
    assert seen[0].dtype == seen[1].dtype == torch.float32
    assert torch.equal(seen[0], seen[1])


def test_weights_may_differ_between_the_views(tmp_path):
    for number in range(3):
        torch.manual_seed(number)
        torch.save({"model": ViT(**SMALL).state_dict()}, tmp_path / f"{number}.pth")
    files = [str(tmp_path / f"{number}.pth") for number in range(3)]
    network = build_cotex(**SMALL, views=3, weights=files)
    kernels = [vit.patch_embed.proj.weight.detach().numpy() for vit in network.vits]
    assert len(kernels) == 3
    assert not np.allclose(kernels[0], kernels[1])
    same = build_cotex(**SMALL, weights=files[0])
    assert torch.equal(same.vits[0].cls_token, same.vits[1].cls_token)
    assert not torch.equal(same.heads[0].weight, same.heads[1].weight)


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"views=0"):
        build_cotex(**SMALL, views=0, weights=None)
    with pytest.raises(ValueError, match=r"lists 1 weights for model\.network\.views=2"):
        build_cotex(**SMALL, weights=["random"])
    with pytest.raises(ValueError, match="different numbers of patches"):
        CoTEX([ViT(**SMALL), ViT(**SMALL, patch_size=8)])
