from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from affect.labels import LSD_EXPRESSIONS
from evaluators.chance import VARIANTS, chance, frequency_baseline, frequency_baselines, majority
from tests.evaluators.fake import make_frames


@pytest.fixture(scope="module")
def frames():
    """Enough rows that the closed forms hold to about 0.01, and expressions of unequal frequency."""
    frames = make_frames(8_000, missing=0.1)
    random = np.random.default_rng(0)  # the seed of the baselines too: it must not help them
    frames.expression[:] = random.choice(9, size=8_000, p=[0.3, 0.05, 0.05, 0.05, 0.2, 0.1, 0.05, 0.1, 0.1]) - 1
    return frames


@pytest.fixture(scope="module")
def baselines(frames):
    return frequency_baselines(frames, frames)


def test_closed_forms_agree_with_the_predictors(frames, baselines):
    expected = chance(frames)
    assert tuple(baselines) == VARIANTS
    assert expected["P_MTL"] == pytest.approx(baselines["always positive"]["P_MTL"], abs=0.005)
    assert expected["ACC_EXPR"] == pytest.approx(baselines["majority"]["ACC_EXPR"], abs=1e-12)
    assert expected["ACC_AU"] == pytest.approx(baselines["majority"]["ACC_AU"], abs=1e-12)
    for name in [name for name in expected if name.startswith(("F1_AU", "P_AU", "CCC", "P_VA"))]:
        assert expected[name] == pytest.approx(baselines["always positive"][name], abs=1e-12)
    for name in [name for name in expected if name.startswith(("F1_EXPR", "P_EXPR", "MACRO"))]:
        assert expected[name] == pytest.approx(baselines["random draws"][name], abs=0.01)
    assert list(expected) == list(baselines["majority"])
    assert majority(frames) == pytest.approx(baselines["majority"], abs=1e-12)


def test_the_strongest_is_returned_and_a_constant_has_no_concordance(frames, baselines):
    best = frequency_baseline(frames, frames)
    assert best["P_MTL"] == max(scores["P_MTL"] for scores in baselines.values())
    assert {scores["CCC_V"] for scores in baselines.values()} == {0.0}


def test_deterministic_by_seed(frames):
    first, again, other = (frequency_baseline(frames, frames, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert first["P_MTL"] == pytest.approx(other["P_MTL"], abs=0.005)


def test_frequencies_come_from_training_labels_only(frames):
    validation = make_frames(500, seed=3)
    always_sad = dataclasses.replace(frames, expression=np.full(8_000, 5))
    scores = frequency_baselines(always_sad, validation)
    p = (validation.expression == 5).sum() / (validation.expression >= 0).sum()
    for variant in VARIANTS:
        assert scores[variant]["P_EXPR"] == pytest.approx(2 * p / (1 + p) / 8)


def test_missing_tasks(frames):
    def unlabelled(of):
        return dataclasses.replace(
            of,
            valence_arousal=np.full_like(of.valence_arousal, np.nan),
            action_units=np.full_like(of.action_units, np.nan),
        )

    assert majority(unlabelled(frames))["P_EXPR"] < 1 / 8
    for scores in (majority(unlabelled(frames)), chance(unlabelled(frames))):
        assert scores["P_MTL"] is scores["P_VA"] is scores["P_AU"] is scores["F1_AU1"] is scores["ACC_AU"] is None
    for scores in (chance(unlabelled(frames)), frequency_baseline(unlabelled(frames), unlabelled(frames))):
        assert scores["P_MTL"] is scores["P_VA"] is scores["P_AU"] is scores["F1_AU1"] is scores["ACC_AU"] is None
        assert scores["P_EXPR"] == scores["SCORE"] == pytest.approx(1 / 8, abs=0.005)
    no_expression = dataclasses.replace(unlabelled(frames), expression=np.full(8_000, -1))
    assert set(chance(no_expression).values()) == set(majority(no_expression).values()) == {None}
    assert frequency_baseline(no_expression, frames)["P_VA"] == 0


def test_six_classes_have_their_own_score():
    frames = make_frames(50, missing=0.0)
    frames.expression[:] = np.arange(50) % 6
    expected = chance(frames, LSD_EXPRESSIONS)
    assert expected["P_LSD"] == pytest.approx(1 / 6)
    assert "P_EXPR" not in expected
    assert expected["ACC_EXPR"] == pytest.approx(9 / 50)
    assert majority(frames, LSD_EXPRESSIONS)["P_LSD"] == pytest.approx(2 * 9 / (50 + 9) / 6)
