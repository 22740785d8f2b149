from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from affect.errors import UserError
from affect.labels import AU_NAMES
from evaluators.postprocess.settings import read_stored, searched_on, write_stored
from evaluators.postprocess.thresholds import GRID, PUBLISHED, f1_at, resolve_thresholds, search_thresholds

GOLDEN = np.load(Path(__file__).parents[2] / "golden" / "metrics.npz")


def test_golden_best_f1():
    labels = np.where(GOLDEN["action_units"] == -1, np.nan, GOLDEN["action_units"])
    probabilities = 1 / (1 + np.exp(-GOLDEN["pred_au_logits"]))
    _, f1 = search_thresholds("exact", probabilities, labels)
    np.testing.assert_allclose(f1, GOLDEN["au_f1_best_threshold_per_unit"], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
def test_best_f1_is_reached_at_its_threshold_and_nowhere_exceeded(seed, rows):
    random = np.random.default_rng(seed)
    probabilities = random.integers(0, 11, size=(rows, 1)) / 10
    labels = (random.random((rows, 1)) < 0.3).astype(np.float64)
    labels[random.random((rows, 1)) < 0.2] = np.nan
    thresholds, f1 = search_thresholds("exact", probabilities, labels)
    valid = ~np.isnan(labels[:, 0])
    if not valid.any():
        assert f1[0] == 0
        return

    def at(threshold):
        return f1_score(labels[valid, 0], probabilities[valid, 0] >= threshold, zero_division=0)

    assert at(thresholds[0]) == pytest.approx(f1[0], abs=1e-12)
    assert f1[0] == pytest.approx(max(at(threshold) for threshold in np.arange(12) / 10), abs=1e-12)


def plain_f1(labels, probabilities, threshold):
    """F1 from counts, one row at a time; the comparison is that of the metrics, in float32."""
    hit = said = true = 0
    for label, probability in zip(labels, probabilities, strict=True):
        if np.isnan(label) or np.isnan(probability):
            continue
        positive = np.float32(probability) >= np.float32(threshold)
        said += positive
        true += label == 1
        hit += positive and label == 1
    return 2 * hit / (said + true) if said + true else 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), max_size=30))
def test_f1_at_thresholds_is_that_of_each_of_them(rows):
    values, positive = np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows], bool)
    steps = np.linspace(0, 1, 21)
    expected = [plain_f1(positive.astype(float), values, step) for step in steps]
    np.testing.assert_allclose(f1_at(steps, values, positive), expected, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 30),
    dtype=st.sampled_from([np.float32, np.float64]),
    steps=st.sampled_from([4, 10, 10**6]),
)
def test_exact_and_grid_against_brute_force(seed, rows, dtype, steps):
    random = np.random.default_rng(seed)
    probabilities = (random.integers(0, steps + 1, size=(rows, 3)) / steps).astype(np.float32).astype(dtype)
    labels = (random.random((rows, 3)) < [0.1, 0.5, 0]).astype(np.float32)
    labels[random.random((rows, 3)) < 0.2] = np.nan
    probabilities[random.random(rows) < 0.1] = np.nan
    exact, best = search_thresholds("exact", probabilities, labels)
    coarse, reached = search_thresholds("grid", probabilities, labels)
    for unit in range(3):
        column, truth = probabilities[:, unit], labels[:, unit]
        cuts = [cut for cut in np.unique(column[~np.isnan(column)]).tolist()]
        scores = {cut: plain_f1(truth, column, cut) for cut in cuts}
        on_grid = {cut: plain_f1(truth, column, cut) for cut in GRID}
        assert best[unit] == max(scores.values(), default=0)
        assert reached[unit] == max(on_grid.values()) <= best[unit]
        if best[unit] > 0:
            assert exact[unit] == max(cut for cut, f1 in scores.items() if f1 == best[unit])  # the highest of equals
            assert coarse[unit] == min(
                cut for cut, f1 in on_grid.items() if f1 == reached[unit]
            )  # the first, as published
        else:
            assert exact[unit] == 0.5  # no positive label
            assert plain_f1(truth, column, coarse[unit]) == 0


def test_golden_grid_thresholds_of_whole_tenths():
    probabilities = np.repeat(np.float32([[0.1], [0.3], [0.6], [0.7], [0.9]]), 2, axis=1)
    labels = np.array([[0, 1], [0, 1], [0, 0], [1, 0], [1, 0]], dtype=np.float32)
    thresholds, f1 = search_thresholds("grid", probabilities, labels)
    assert thresholds.tolist() == [0.7, 0.1]  # a probability of 0.7 reaches the threshold 0.7, float32 or not
    assert f1 == pytest.approx([1, 4 / 7])


def test_stored_thresholds_come_back_exactly(tmp_path):
    path = tmp_path / "run" / "postprocess.json"
    values = np.random.default_rng(0).random(12, dtype=np.float32).astype(float).tolist()
    files = {"validation.txt": "ab" * 32}
    write_stored(path, {"au_thresholds": dict(zip(AU_NAMES, values, strict=True))}, split="val", rows=7, files=files)
    assert resolve_thresholds(str(path)) == tuple(values)
    assert searched_on(path, {"renamed.txt": "ab" * 32})
    assert not searched_on(path, {"validation.txt": "cd" * 32})
    assert not searched_on(path, {})
    assert [one.name for one in path.parent.iterdir()] == ["postprocess.json"]
    with pytest.raises(UserError, match="holds no weights; it has au_thresholds"):
        read_stored(path, "weights")
    cut = dict(zip(AU_NAMES[:11], values, strict=False))
    write_stored(path, {"au_thresholds": cut}, split="val", rows=7, files=files)
    with pytest.raises(UserError, match=r"postprocess\.json: au_thresholds are of .*needed are au1.*au26: search"):
        resolve_thresholds(str(path))


def test_the_accepted_forms():
    assert resolve_thresholds(0.5) == (0.5,) * 12
    assert resolve_thresholds([0.1] * 12) == (0.1,) * 12
    assert resolve_thresholds("published") == PUBLISHED
    assert PUBLISHED == (0.8, 0.8, 0.7, 0.5, 0.5, 0.5, 0.6, 0.8, 0.8, 0.8, 0.3, 0.7)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ("best", "unknown name 'best'"),
        ("nowhere.json", "no such file"),
        ("exact", "is a search and needs labels"),
        ([0.5] * 8, "8 values"),
        (1.5, r"not all in \[0, 1\]"),
        (float("nan"), "not all"),
    ],
)
def test_refused_forms(thresholds, message):
    with pytest.raises(ValueError, match=message):
        resolve_thresholds(thresholds)
