"""Patches augmented on the device against the same parameters applied to the whole picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from affect.batch import Augmentation
from backbones.masks import keep_lowest
from backbones.visible import visible_patches
from backbones.vit import build_vit
from datamodules.transforms import JitterAndCrop, augment

STORED, ROWS = 112, 24
GEOMETRY = {"jitter_probability": 0.0}


def pictures(count: int = ROWS) -> np.ndarray:
    """Smooth colour pictures with some fine texture."""
    random = np.random.default_rng(0)
    coarse = random.integers(20, 236, (count, 8, 8, 3), dtype=np.uint8)
    smooth = np.stack([cv2.resize(one, (STORED, STORED), interpolation=cv2.INTER_CUBIC) for one in coarse])
    return np.clip(smooth + random.normal(0, 5, smooth.shape), 0, 255).astype(np.uint8)


def both_ways(size: int, patch: int, *, interpolation: str = "bilinear", **options: float) -> tuple[np.ndarray, ...]:
    """Kept patches by the whole picture and by ``visible_patches``, (ROWS, K, 3, P, P)."""
    images = pictures()
    transform = JitterAndCrop(image_size=size, interpolation=interpolation, seed=5, input="visible", **options)
    drawn = [transform.left_to_do(epoch=1, row=row) for row in range(ROWS)]
    grid = size // patch
    keep = keep_lowest(torch.rand(ROWS, grid**2, generator=torch.Generator().manual_seed(2)), 0.75)
    whole = np.stack([augment(image, one, size, interpolation) for image, one in zip(images, drawn, strict=True)])
    cut = (
        whole.reshape(ROWS, grid, patch, grid, patch, 3).transpose(0, 1, 3, 5, 2, 4).reshape(ROWS, -1, 3, patch, patch)
    )
    expected = np.take_along_axis(cut, keep.numpy()[:, :, None, None, None], axis=1)
    got = visible_patches(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.tensor(drawn, dtype=torch.float32),
        keep,
        image_size=size,
        patch_size=patch,
        interpolation=interpolation,
    )
    return expected.astype(np.float64), got.double().numpy()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "patch", "ratio"), [(224, 16, 1.02), (224, 16, 1.0), (64, 8, 1.04), (112, 16, 1.0)])
def test_crop_flip_and_resize_agree_to_a_rounding(size: int, patch: int, ratio: float, interpolation: str) -> None:
    expected, got = both_ways(size, patch, interpolation=interpolation, resize_ratio=ratio, **GEOMETRY)
    assert np.abs(expected - got).max() <= 1.01
    assert np.abs(expected - got).mean() <= 0.3


@pytest.mark.parametrize("strength", ["brightness", "contrast", "saturation"])
def test_linear_jitter_agrees(strength: str) -> None:
    others = dict.fromkeys({"brightness", "contrast", "saturation", "hue"} - {strength}, 0.0)
    expected, got = both_ways(224, 16, jitter_probability=1.0, **{strength: 0.4}, **others)
    assert np.abs(expected - got).mean() <= 0.7
    # more where a pixel saturates before resizing in one, and after it in the other
    assert np.quantile(np.abs(expected - got), 0.999) <= 5
    assert np.abs(expected - got).max() <= 16


def test_the_whole_jitter_agrees() -> None:
    expected, got = both_ways(224, 16, jitter_probability=1.0)
    assert np.abs(expected - got).mean() <= 2  # OpenCV's 8-bit hue has steps of two degrees
    assert np.quantile(np.abs(expected - got), 0.99) <= 10
    before, _ = both_ways(224, 16, **GEOMETRY)
    assert np.abs(expected - before).mean() > 10  # the jitter is not a rounding


def test_hue_against_colorsys() -> None:
    import colorsys

    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (1, 3, 8, 8)).astype(np.uint8)
    one = Augmentation(resized=8, top=0, left=0, flip=0, brightness=1, contrast=1, saturation=1, hue=0.07)
    got = visible_patches(
        torch.from_numpy(pixels),
        torch.tensor([one], dtype=torch.float32),
        torch.tensor([[0]]),
        image_size=8,
        patch_size=8,
        interpolation="bilinear",
    )[0, 0].numpy()
    for y in range(8):
        for x in range(8):
            hue, saturation, value = colorsys.rgb_to_hsv(*(pixels[0, :, y, x] / 255))
            expected = np.array(colorsys.hsv_to_rgb((hue + 0.07) % 1, saturation, value)) * 255
            np.testing.assert_allclose(got[:, y, x], expected, atol=1e-3)


def test_a_network_sees_the_same_either_way() -> None:
    torch.manual_seed(0)
    network = build_vit(image_size=64, patch_size=8, width=32, depth=1, heads=2, weights="random", drop_path=0.0)
    image = torch.randn(3, 3, 64, 64)
    keep = keep_lowest(torch.rand(3, 64), 0.8)
    patches = image.view(3, 3, 8, 8, 8, 8).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    kept = patches.gather(1, keep[:, :, None, None, None].expand(-1, -1, 3, 8, 8))
    torch.testing.assert_close(network.forward_patches(kept, keep), network(image, keep))
