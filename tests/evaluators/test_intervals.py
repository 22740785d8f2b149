"""Sums of videos against the metrics, and intervals against what is known of simple cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t, ttest_ind

from affect.frames import Frames
from affect.labels import EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.intervals import estimate, nested, resample
from evaluators.predictions import score_table
from evaluators.sums import Sums, means, sums
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
    frame, image = np.arange(1, rows + 1), [f"{one}/{n}.jpg" for n, one in enumerate(video)]
    labels = Frames(video, frame, image, valence_arousal, expression, units, {})
    return Table(video, frame, image, predictions, EXPRESSIONS, {}, "drawn"), labels


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 9), st.floats(0.2, 0.8))
def test_scores_are_those_of_the_metrics(seed: int, people: int, threshold: float) -> None:
    table, labels = drawn(seed, people)
    for values in table.predictions.values():
        values[np.arange(60) % 11 == 3] = np.nan  # rows without a picture
    expected = score_table(table, labels, au_thresholds=threshold)
    found = sums(table, labels, au_thresholds=threshold).named()
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-9)
    assert {name for name, value in expected.items() if value is not None} - set(found) == {"SCORE"}


def test_what_has_no_labels_has_no_score() -> None:
    table, labels = drawn(0)
    labels.valence_arousal[:] = np.nan
    labels.action_units[:, :3] = np.nan
    names = sums(table, labels).names
    assert not {"P_MTL", "P_VA", "CCC_V", "F1_AU1", "F1_AU4"} & set(names)
    assert {"P_EXPR", "P_AU", "F1_AU6"} <= set(names)
    labels.expression[labels.expression > 5] = -1
    six = Table(table.video, table.frame, table.image, {"expression": table.predictions["expression"][:, :6]},
                LSD_EXPRESSIONS, {}, "six")  # fmt: skip
    assert sums(six, labels).names[0] == "P_LSD"


def test_a_weight_of_two_is_a_video_twice_and_influences_are_derivatives() -> None:
    table, labels = drawn(0)
    whole = sums(table, labels)
    weights = np.random.default_rng(1).integers(3, size=len(whole)).astype(float)
    rows = np.concatenate([
        np.flatnonzero(np.array(table.video) == one).repeat(int(n)) for one, n in zip(whole.units, weights, strict=True)
    ])  # fmt: skip
    repeated = Table(
        [table.video[row] for row in rows], table.frame[rows], [table.image[row] for row in rows],
        {key: values[rows] for key, values in table.predictions.items()}, EXPRESSIONS, {}, "repeated",
    )  # fmt: skip
    expected = sums(repeated, labels.select(rows)).named()
    scores, influence = whole.influences(weights[None])
    np.testing.assert_allclose(scores[0], [expected[name] for name in whole.names], atol=1e-9)
    np.testing.assert_allclose(influence[0] @ weights, 0, atol=1e-12)
    for unit in range(len(whole)):
        more, less = (weights[None] + step * np.eye(len(whole))[unit] for step in (1e-6, -1e-6))
        slope = (whole.scores(more) - whole.scores(less))[0] / 2e-6
        np.testing.assert_allclose(influence[0, :, unit], slope, atol=1e-6)


def shares(people: list[list[float]]) -> list[Sums]:
    """Make sums of one score, the mean over units of what is given, for each run."""
    made = []
    for units in people:
        top = np.array(units, dtype=float)[:, None]
        names = tuple(map(str, range(len(top))))
        made.append(Sums(("P",), names, np.zeros((len(top), 6, 0)), top, np.ones_like(top), np.eye(1)))
    return made


def test_of_a_mean_it_is_the_t_of_the_textbook() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.3, 1, 40)
    found = estimate(shares([values.tolist()])).intervals["P"]
    half = 2.0227 * values.std(ddof=1) / np.sqrt(40)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    sample = resample([(1.0, shares([values.tolist()])[0])], draws=20)
    assert sample.error[0] == pytest.approx(values.std(ddof=1) / np.sqrt(40))


def test_equal_systems_do_not_differ_and_a_lead_is_found() -> None:
    people = np.random.default_rng(0).integers(2, 8, size=(2, 40)).astype(float)
    same = estimate(shares([people[0].tolist()]), shares([people[0].tolist()]))
    assert (same.intervals["P"], same.p["P"]) == ((0.0, 0.0, 0.0), 1.0)
    lead = estimate(shares([(people[0] + people[1]).tolist()]), shares([people[0].tolist()]))
    assert lead.p["P"] == pytest.approx(2 / 10_001)
    assert lead.intervals["P"].low > 4
    assert (lead.units, lead.runs) == (40, (1, 1))
    swapped = estimate(shares([people[0].tolist()]), shares([(people[0] + people[1]).tolist()]))
    assert swapped.intervals["P"].value == -lead.intervals["P"].value
    assert swapped.p == lead.p


def test_of_several_runs_their_spread_counts() -> None:
    """Where all videos are alike, what is left is Welch's test of the runs' scores."""
    ours, others = [0.52, 0.55, 0.58, 0.5], [0.5, 0.44, 0.49]
    found = estimate(shares([[one] * 30 for one in ours]), shares([[one] * 30 for one in others]))
    expected = ttest_ind(ours, others, equal_var=False)
    assert found.p["P"] == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval()
    assert found.intervals["P"][1:] == pytest.approx((low, high))
    assert found.runs == (4, 3)
    far = [
        [replace(one, names=("F1_AU1",)) for one in shares([[value] * 30 for value in runs])]
        for runs in ((0.1, 0.9), (0.2, 0.8))
    ]
    assert estimate(*far).intervals["F1_AU1"] == pytest.approx((0.0, -1.0, 1.0))  # Welch says ± 2, which no F1 can be
    one_video = estimate(shares([[one] for one in ours]))
    assert one_video.intervals["P"].value == pytest.approx(np.mean(ours))
    assert np.isnan([*one_video.intervals["P"][1:], one_video.p["P"]]).all()
    assert str(one_video.intervals["P"]) == f"{np.mean(ours):+.3f}"


def test_videos_of_each_seed_are_drawn_within_it() -> None:
    """Against the variance of a mean of seeds, each a mean of people: of seeds, and of people within them."""
    rng = np.random.default_rng(1)
    seeds, people = 12, 50
    gain = rng.normal(0, 2, size=(seeds, 1)) + rng.normal(0, 4, size=(seeds, people))
    a, b = (50 + gain).tolist(), np.full((seeds, people), 50.0).tolist()
    found = nested(shares(a), shares(b), "P")
    means = gain.mean(axis=1)
    within = (gain - means[:, None]).var() / people / seeds
    assert found.value == pytest.approx(means.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(means.var() / seeds + within), rel=0.06)
    own = nested(shares(a), [], "P")
    assert own.value == pytest.approx(50 + means.mean())
    assert own.low < own.value < own.high


def test_means_are_what_textbooks_say_of_them() -> None:
    values = np.random.default_rng(0).exponential(size=40)
    sample = resample([(1.0, means({"size": values, "twice": 2 * values}, [f"p{one:02}" for one in range(40)]))])
    assert sample.value == pytest.approx([values.mean(), 2 * values.mean()])
    assert sample.error == pytest.approx([values.std(ddof=1) / 40**0.5, 2 * values.std(ddof=1) / 40**0.5])


def test_what_one_unit_decides_has_an_interval_to_both_sides() -> None:
    holds = np.ones(25)
    holds[3] = 0  # in 36 % of the resamples it is nowhere
    (found,) = estimate([means({"share": holds}, [f"p{one:02}" for one in range(25)])]).intervals.values()
    half = t(24).ppf(0.975) * 0.04
    assert found == pytest.approx((0.96, 0.96 - half, 0.96 + half))
