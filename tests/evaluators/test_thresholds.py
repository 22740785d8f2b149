from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from evaluators.thresholds import PUBLISHED, best_f1, resolve_thresholds

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")


def test_golden_best_f1():
    labels = np.where(GOLDEN["action_units"] == -1, np.nan, GOLDEN["action_units"])
    probabilities = 1 / (1 + np.exp(-GOLDEN["pred_au_logits"]))
    _, f1 = best_f1(probabilities, labels)
    np.testing.assert_allclose(f1, GOLDEN["au_f1_best_threshold_per_unit"], atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 40))
def test_best_f1_is_reached_at_its_threshold_and_nowhere_exceeded(seed, rows):
    random = np.random.default_rng(seed)
    probabilities = random.integers(0, 11, size=(rows, 1)) / 10
    labels = (random.random((rows, 1)) < 0.3).astype(np.float64)
    labels[random.random((rows, 1)) < 0.2] = np.nan
    thresholds, f1 = best_f1(probabilities, labels)
    valid = ~np.isnan(labels[:, 0])
    if not valid.any():
        assert f1[0] == 0
        return

    def at(threshold):
        return f1_score(labels[valid, 0], probabilities[valid, 0] >= threshold, zero_division=0)

    assert at(thresholds[0]) == pytest.approx(f1[0], abs=1e-12)
    assert f1[0] == pytest.approx(max(at(threshold) for threshold in np.arange(12) / 10), abs=1e-12)


def test_the_accepted_forms():
    assert resolve_thresholds(0.5) == (0.5,) * 12
    assert resolve_thresholds([0.1] * 12) == (0.1,) * 12
    assert resolve_thresholds("published") == PUBLISHED
    assert PUBLISHED == (0.8, 0.8, 0.7, 0.5, 0.5, 0.5, 0.6, 0.8, 0.8, 0.8, 0.3, 0.7)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ("best", "unknown name 'best'"),
        ([0.5] * 8, "8 values"),
        (1.5, r"not all in \[0, 1\]"),
        (float("nan"), "not all"),
    ],
)
def test_refused_forms(thresholds, message):
    with pytest.raises(ValueError, match=message):
        resolve_thresholds(thresholds)
