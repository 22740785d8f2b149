"""Folds are of whole groups, balanced, and the same for any order of the rows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affect.errors import DataError
from affect.folds import base_video, deal


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("video5_left", "video5"), ("video5_right", "video5"), ("video10_1", "video10_1"),
        ("122-60-1920x1080-1", "122-60-1920x1080-1"), ("upleft", "upleft"), ("_left", "_left"),
        ("a_left_right", "a_left"),
    ],
)  # fmt: skip
def test_only_the_side_is_taken_off(name: str, base: str) -> None:
    assert base_video(name) == base


@given(st.lists(st.integers(1, 40), min_size=5, max_size=30), st.integers(2, 5), st.integers(0, 100))
def test_groups_stay_whole_in_any_order_and_no_fold_is_empty(sizes: list[int], folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.repeat([f"video{number}" for number in range(len(sizes))], sizes)
    counts = np.column_stack([np.ones(len(groups)), random.integers(0, 2, (len(groups), 3))]).astype(float)
    found = deal(groups.tolist(), counts, folds)
    assert set(found.tolist()) == set(range(folds))
    assert all(len(set(found[groups == group].tolist())) == 1 for group in set(groups.tolist()))
    order = random.permutation(len(groups))
    assert np.array_equal(deal(groups[order].tolist(), counts[order], folds), found[order])


@pytest.mark.parametrize("seed", range(5))
def test_few_groups_are_dealt_about_as_well_as_is_possible(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(1, 30, (8, 2)).astype(float)
    shares = counts / counts.sum(axis=0)

    def cost(fold: np.ndarray) -> float:
        return float(sum(np.square(shares[fold == one].sum(axis=0)).sum() for one in range(3)))

    best = min(cost(np.array(fold)) for fold in product(range(3), repeat=8) if len(set(fold)) == 3)
    found = cost(deal([f"v{number}" for number in range(8)], counts, 3))
    assert best <= found <= best + 0.02  # of 0.667, where all are alike


def test_many_videos_are_balanced_within_a_fifth() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(100, 3000, 200)
    groups = np.repeat([f"video{number}" for number in range(200)], sizes)
    shares = random.dirichlet([1.2, 0.2, 0.2, 0.2, 0.9, 0.4, 0.2, 0.8], 200)
    classes = np.concatenate([random.choice(8, size, p=share) for size, share in zip(sizes, shares, strict=True)])
    counts = np.column_stack([np.ones(len(groups)), *(classes == one for one in range(8))]).astype(float)
    fold = deal(groups.tolist(), counts, 5)
    held = np.array([counts[fold == one].sum(axis=0) for one in range(5)])
    assert (np.abs(held / held.mean(axis=0) - 1) < 0.2).all()


def test_fewer_groups_than_folds() -> None:
    with pytest.raises(DataError, match=r"5 folds of 2 videos: .*fewer folds"):
        deal(["a", "b", "b"], np.ones((3, 1)), 5)
