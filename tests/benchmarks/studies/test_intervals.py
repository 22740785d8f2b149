"""Scores from sums of people against the metrics, and intervals against a case that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affect.frames import Frames
from affect.labels import EXPRESSIONS
from benchmarks.studies.intervals import Sums, difference, sums
from evaluators.metrics import AffectScores
from evaluators.table import Table


def drawn(seed: int, people: int = 7, rows: int = 60) -> tuple[Table, Frames]:
    """Draw labels with holes, and predictions that know a little of them."""
    rng = np.random.default_rng(seed)
    video = [f"v{one}" for one in rng.integers(people, size=rows)]
    valence_arousal = rng.uniform(-1, 1, (rows, 2)).astype(np.float32)
    expression = rng.integers(8, size=rows)
    units = rng.integers(2, size=(rows, 12)).astype(np.float32)
    predictions = {
        "valence_arousal": np.clip(valence_arousal + rng.normal(0, 0.4, (rows, 2)), -1, 1).astype(np.float32),
        "expression": (np.eye(8)[expression] + rng.uniform(0, 1.5, (rows, 8))).astype(np.float32),
        "action_units": np.clip(0.5 * units + rng.uniform(0, 0.6, (rows, 12)), 0, 1).astype(np.float32),
    }
    valence_arousal[:5], units[3:20, 4] = np.nan, np.nan
    expression[10:20] = -1
    frame, image = np.arange(rows), [f"{one}/{n}.jpg" for n, one in enumerate(video)]
    labels = Frames(video, frame, image, valence_arousal, expression, units, {})
    return Table(video, frame, image, predictions, EXPRESSIONS, {}, "drawn"), labels


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_the_metrics(seed: int) -> None:
    table, labels = drawn(seed)
    metrics = AffectScores()
    names = ("valence_arousal", "expression", "action_units")
    metrics.update(
        {name: torch.from_numpy(table.predictions[name]) for name in names},
        {name: torch.from_numpy(getattr(labels, name)) for name in names},
    )
    expected = metrics.compute()
    for name, value in sums(table, labels).scores().items():
        assert value[0] == pytest.approx(expected[name], abs=1e-9), name


def test_weights_count_people_again() -> None:
    table, labels = drawn(0)
    whole = sums(table, labels)
    people = sorted(set(table.video))
    weights = np.random.default_rng(1).integers(3, size=len(people))
    rows = np.concatenate(
        [np.flatnonzero(np.array(table.video) == one).repeat(n) for one, n in zip(people, weights, strict=True)]
    )
    repeated = Table(
        [table.video[row] for row in rows], table.frame[rows], [table.image[row] for row in rows],
        {key: values[rows] for key, values in table.predictions.items()}, EXPRESSIONS, {}, "repeated",
    )  # fmt: skip
    expected = sums(repeated, labels.select(rows)).scores()
    for name, value in whole.scores(weights[None].astype(float)).items():
        assert value[0] == pytest.approx(expected[name][0], abs=1e-9), name


def test_a_row_without_a_picture_is_not_scored() -> None:
    table, labels = drawn(0)
    expected = sums(table, labels).scores(np.array([[0.0, *[1.0] * 6]]))
    for values in table.predictions.values():
        values[np.array(table.video) == min(table.video)] = np.nan  # all of the first person
    for name, value in sums(table, labels).scores().items():
        assert value[0] == pytest.approx(expected[name][0], abs=1e-12), name


def test_a_task_without_labels_is_left_out() -> None:
    table, labels = drawn(0)
    labels.valence_arousal[:] = np.nan
    labels.action_units[:] = np.nan
    assert list(sums(table, labels).scores()) == ["P_EXPR"]


def hits(of: list[list[int]]) -> list[Sums]:
    """Make sums whose P_EXPR is the share of hits of one class in eight, for each seed and person."""
    made = []
    for people in of:
        values = np.zeros((len(people), 3, 8))
        values[:, 0, 0], values[:, 1, 0], values[:, 2, 0] = people, 10, 10
        made.append(Sums({"expression": values.reshape(len(people), 24)}))
    return made


def test_equal_systems_do_not_differ_and_a_constant_gain_is_found() -> None:
    rng = np.random.default_rng(0)
    people = rng.integers(2, 8, size=(3, 40))
    same = difference(hits(people.tolist()), hits(people.tolist()), "P_EXPR")
    assert same == (0.0, 0.0, 0.0)
    gain = difference(hits((people + 1).tolist()), hits(people.tolist()), "P_EXPR")
    assert gain == pytest.approx((0.1 / 8,) * 3)


def test_the_interval_of_a_score_is_that_of_its_lead_over_nothing() -> None:
    people = np.random.default_rng(2).integers(2, 8, size=(3, 40))
    own = difference(hits(people.tolist()), None, "P_EXPR")
    assert own == difference(hits(people.tolist()), hits(np.zeros_like(people).tolist()), "P_EXPR")
    assert own.mean == pytest.approx(people.mean() / 80)
    assert own.low < own.mean < own.high


@pytest.mark.parametrize("crossed", [False, True])
def test_the_interval_is_that_of_the_two_stages(crossed: bool) -> None:
    """Against the variance of a mean of seeds, each a mean of people: of seeds, and of people within them."""
    rng = np.random.default_rng(1)
    seeds, people = 12, 50
    gain = rng.normal(0, 2, size=(seeds, 1)) + rng.normal(0, 4, size=(seeds, people))
    a, b = (50 + gain).tolist(), np.full((seeds, people), 50.0).tolist()
    found = difference(hits(a), hits(b), "P_EXPR", crossed=crossed)
    means = gain.mean(axis=1) / 80
    rest = gain - gain.mean(axis=1, keepdims=True)
    within = rest.var() / people / seeds
    if crossed:  # what the people have in common in all seeds does not average out over seeds
        within = gain.mean(axis=0).var() / people + (rest - rest.mean(axis=0)).var() / people / seeds
    deviation = np.sqrt(means.var() / seeds + within / 80**2)
    assert found.mean == pytest.approx(means.mean(), abs=1e-12)
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * deviation, rel=0.06)
