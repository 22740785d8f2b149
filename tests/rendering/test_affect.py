from __future__ import annotations

import numpy as np
import pytest

from affect.labels import ACTION_UNITS, EXPRESSIONS
from rendering import affect, video
from rendering.affect import CONTEMPT, TAKES_PART, draw_apex
from rendering.units import COLUMN, RENDERED_UNITS

# formats.md 1.1: positives among annotated rows of the training file
AU_RATES = np.array(
    [18713, 8745, 20342, 30605, 41337, 38286, 26783, 2460, 2980, 5003, 70584, 10756]
) / 103316  # fmt: skip
# table 1 of Du, Tao and Martinez 2014, units that more than 70 % of the people show, without those not rendered
PROTOTYPES = {
    "anger": {4, 7}, "disgust": {9, 10}, "fear": {1, 4, 20, 25}, "happiness": {12, 25}, "sadness": {4},
    "surprise": {1, 2, 25, 26}, CONTEMPT: {14},
}  # fmt: skip


@pytest.fixture(scope="module")
def annotated():
    """Labels of 300 training videos of 12 frames, without drawing a pixel."""
    expression, units = [], []
    for index in range(300):
        frames = np.cumsum(np.full(12, 13))
        moved, weights = video.episodes(0, video.TRAIN, index, frames)
        rng = video.generator(0, video.TRAIN, index, video.ANNOTATORS)
        _, chosen, present = affect.annotate(rng, moved.max(axis=1), weights, frames)
        expression.append(chosen)
        units.append(present)
    return np.concatenate(expression), np.concatenate(units)


def test_expressions_are_as_frequent_as_published(annotated):
    found = np.bincount(annotated[0], minlength=8) / len(annotated[0])
    published = np.array(video.EXPRESSION_COUNTS[video.TRAIN]) / sum(video.EXPRESSION_COUNTS[video.TRAIN])
    assert found == pytest.approx(published, abs=0.03)
    assert np.all(found / published < 1.4)
    assert np.all(found / published > 0.6)


def test_units_are_as_frequent_as_published(annotated):
    found = annotated[1].mean(axis=0)
    assert found == pytest.approx(AU_RATES, abs=0.05)
    assert np.all(found / AU_RATES < 1.5)
    assert np.all(found / AU_RATES > 0.6)


@pytest.mark.parametrize("expression", PROTOTYPES)
def test_expressions_show_their_published_prototype(expression):
    apexes = np.stack([draw_apex(np.random.default_rng(i), expression).max(axis=0) for i in range(300)])
    shown = {unit for unit, column in COLUMN.items() if (apexes[:, column] > affect.AU_THRESHOLD).mean() > 0.7}
    assert shown >= PROTOTYPES[expression]
    assert len(np.unique(apexes.round(2), axis=0)) > 250  # people and episodes differ


def test_contempt_is_one_sided():
    for seed in range(20):
        left, right = draw_apex(np.random.default_rng(seed), CONTEMPT)[:, COLUMN[14]]
        assert max(left, right) > 3 * min(left, right)


def test_valence_and_arousal_have_the_signs_of_the_circumplex():
    def of(expression: str) -> np.ndarray:
        units = 0.8 * (np.array(TAKES_PART[expression]) > 0.6)
        return affect.valence_arousal(units[None], np.eye(8)[[EXPRESSIONS.index(expression)]])[0]

    assert of("happiness")[0] > 0.5
    assert all(of(name)[0] < -0.3 for name in ("anger", "disgust", "fear", "sadness"))
    assert all(of(name)[1] > 0.4 for name in ("fear", "surprise"))
    assert of("sadness")[1] < 0
    assert np.abs(of("neutral")).max() < 0.2


def test_annotation_probabilities():
    eye = np.eye(8)
    assert affect.confusion().sum(axis=1) == pytest.approx(1.0)
    assert (affect.expression_probabilities(eye).argmax(axis=1) == np.arange(8)).all()
    levels = np.tile(np.array([[0.0], [affect.AU_THRESHOLD], [1.0]]), (1, len(RENDERED_UNITS)))
    probabilities = affect.action_unit_probabilities(levels)
    assert probabilities.shape == (3, len(ACTION_UNITS))
    assert np.all(probabilities[0] < 0.02)
    assert probabilities[1] == pytest.approx(0.5, abs=0.1)
    assert np.all(probabilities[2] > 0.9)
