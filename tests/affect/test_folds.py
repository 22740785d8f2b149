"""Folds are of whole groups, balanced, and the same for any order of the rows."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
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


def slow_deal(groups: list[str], counts: np.ndarray, folds: int) -> np.ndarray:
    """The rule as a plain loop: every group with every other one."""
    names = sorted(set(groups))
    shares = np.array([counts[np.array(groups) == name].sum(axis=0) for name in names])
    shares = shares / np.maximum(shares.sum(axis=0), 1e-300)
    order = sorted(range(len(names)), key=lambda one: (-shares[one].max(), names[one]))
    held, fold = np.zeros((folds, counts.shape[1])), [0] * len(names)
    for place, one in enumerate(order):
        growth = [(((held[to] + shares[one]) ** 2) - held[to] ** 2).sum() for to in range(folds)]
        fold[one] = place if place < folds else int(np.argmin(growth))
        held[fold[one]] += shares[one]
    for _ in range(20):
        changed = False
        for one in order:
            own, gains = fold[one], []
            for to, other in [(to, None) for to in range(folds)] + [
                (fold[other], other) for other in range(len(names))
            ]:
                change = shares[one] - (0 if other is None else shares[other])
                after = ((held[own] - change) ** 2 + (held[to] + change) ** 2).sum()
                possible = to != own and (other is not None or fold.count(own) > 1)
                gains.append(((held[own] ** 2 + held[to] ** 2).sum() - after if possible else 0, to, other, change))
            gain, to, other, change = max(gains, key=lambda found: found[0])
            if gain > 1e-12:
                changed, fold[one] = True, to
                held[own] -= change
                held[to] += change
                if other is not None:
                    fold[other] = own
        if not changed:
            break
    return np.array([fold[names.index(group)] for group in groups])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 9), min_size=5, max_size=14), st.integers(2, 5), st.integers(0, 1000))
def test_few_groups_are_dealt_as_a_plain_loop_deals_them(sizes: list[int], folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.repeat([f"v{number}" for number in range(len(sizes))], sizes).tolist()
    counts = np.column_stack([np.ones(len(groups)), random.integers(0, 2, (len(groups), 3))]).astype(float)
    assert deal(groups, counts, folds).tolist() == slow_deal(groups, counts, folds).tolist()


@settings(deadline=None, max_examples=20)
@given(st.integers(5, 60), st.integers(2, 5), st.integers(0, 1000), st.integers(1, 4))
def test_exchanges_with_groups_of_about_its_size_leave_no_fold_empty_and_are_no_worse_than_none(
    count: int, folds: int, seed: int, near: int
) -> None:
    random = np.random.default_rng(seed)
    counts = random.integers(0, 30, (count, 4)).astype(float)
    counts[:, 0] += 1
    names = [f"v{number}" for number in range(count)]

    def cost(fold: np.ndarray) -> float:
        shares = counts / np.maximum(counts.sum(axis=0), 1)
        return float(sum(np.square(shares[fold == one].sum(axis=0)).sum() for one in range(folds)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("affect.folds._MANY", 0)
        patch.setattr("affect.folds._NEAR", near)
        found = deal(names, counts, folds)
        patch.setattr("affect.folds._PASSES", 0)
        assert cost(found) <= cost(deal(names, counts, folds)) + 1e-12
    assert set(found.tolist()) == set(range(folds))


def test_twenty_thousand_groups_are_dealt_evenly() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(1, 30, 20_000)
    counts = np.column_stack([sizes, *(random.binomial(sizes, share) for share in (0.03, 0.2, 0.6))]).astype(float)
    fold = deal([f"v{number}" for number in range(len(sizes))], counts, 5)
    held = np.array([counts[fold == one].sum(axis=0) for one in range(5)])
    assert (np.abs(held / held.mean(axis=0) - 1) < 1e-3).all()


def test_fewer_groups_than_folds() -> None:
    with pytest.raises(DataError, match=r"5 folds of 2 videos: .*fewer folds"):
        deal(["a", "b", "b"], np.ones((3, 1)), 5)
