from __future__ import annotations

import numpy as np
import pytest
import torch

from affect.errors import WeightsError
from affect.preprocessing import IMAGENET, Preprocessing
from backbones.normalize import Normalize
from backbones.weights import same_preprocessing


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalize_equals_numpy(dtype):
    preprocessing = Preprocessing(mean=(0.1, 0.5, 0.9), std=(0.2, 0.5, 1.0))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 7), dtype=np.uint8)
    columns = [np.array(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std)]
    expected = (pixels / 255 - columns[0]) / columns[1]
    result = Normalize(preprocessing)(torch.from_numpy(pixels).to(dtype))
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_normalize_travels_with_the_checkpoint():
    trained, rebuilt = Normalize(Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))), Normalize(IMAGENET)
    image = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
    assert not torch.allclose(trained(image), rebuilt(image))
    rebuilt.load_state_dict(trained.state_dict())
    assert torch.equal(trained(image), rebuilt(image))


def test_normalize_is_float32_under_autocast():
    image = torch.randint(0, 256, (1, 3, 4, 4), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        result = Normalize()(image)
    assert result.dtype == torch.float32
    assert torch.equal(result, Normalize()(image))


@pytest.mark.parametrize("wrong", [{"interpolation": "nearest"}, {"std": (0.1, 0.0, 0.1)}, {"mean": (0.5,)}])
def test_bad_preprocessing(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        Preprocessing(**wrong)


class Network:
    def __init__(self, preprocessing):
        self.preprocessing = preprocessing


def test_same_preprocessing():
    first, other = Network(IMAGENET.at(64)), Network(Preprocessing(mean=(0.5, 0.5, 0.5), image_size=64))
    assert same_preprocessing(first, other) == IMAGENET.at(64)
    with pytest.raises(WeightsError, match="Network 64 px bilinear, Network 224 px bilinear"):
        same_preprocessing(first, Network(IMAGENET))
    with pytest.raises(WeightsError, match="Network 64 px bilinear, Network 64 px bicubic"):
        same_preprocessing(first, Network(IMAGENET.at(64, "bicubic")))
