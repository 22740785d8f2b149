"""The mask stream: what decides it, and what must not."""

import numpy as np
import pytest
import torch

from backbones.masks import keep_lowest, kept_patches

COMMON = {"patches": 64, "ratio": 0.75, "seed": 3, "epoch": 2, "view": 0, "repeat": 0}


def draw(rows=range(200), **changes):
    return kept_patches(torch.tensor(list(rows)), **{**COMMON, **changes})


def test_each_row_keeps_its_share_of_different_patches():
    keep = draw()
    assert keep.shape == (200, 16)
    assert all(len(set(row.tolist())) == 16 for row in keep)
    assert keep.min() >= 0
    assert keep.max() < 64


def test_the_batch_does_not_decide():
    whole = draw()
    torch.testing.assert_close(draw([7, 150, 7]), whole[[7, 150, 7]])


@pytest.mark.parametrize("change", [{"seed": 4}, {"epoch": 3}, {"view": 1}, {"repeat": 1}])
def test_everything_else_does(change):
    first, second = (np.sort(keep.numpy(), axis=1) for keep in (draw(), draw(**change)))
    assert (first != second).any(axis=1).mean() > 0.99


def test_every_patch_is_kept_equally_often_and_independently():
    keep = draw(range(20_000))
    kept = torch.zeros(20_000, 64).scatter(1, keep, 1.0)
    np.testing.assert_allclose(kept.mean(dim=0), 0.25, atol=0.015)  # five standard errors
    correlation = np.corrcoef(kept.numpy(), rowvar=False) - np.eye(64)
    # of a draw without replacement: -1 / 63
    np.testing.assert_allclose(correlation[~np.eye(64, dtype=bool)], -1 / 63, atol=0.04)


def test_neighbouring_rows_are_unrelated():
    kept = torch.zeros(5_000, 64).scatter(1, draw(range(5_000)), 1.0)
    both = (kept[1:] * kept[:-1]).sum(dim=1).mean().item()
    assert both == pytest.approx(16 * 16 / 64, abs=0.1)


def test_the_lowest_noise_is_kept_in_its_order():
    noise = torch.tensor([[0.3, 0.1, 0.9, 0.2], [0.0, 0.7, 0.6, 0.8]])
    assert keep_lowest(noise, 0.5).tolist() == [[1, 3], [0, 2]]
    assert keep_lowest(noise, 0.0).shape == (2, 4)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 0.99])
def test_a_ratio_that_leaves_nothing(ratio):
    with pytest.raises(ValueError, match="mask ratio"):
        draw(ratio=ratio)
