from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from affect.errors import DataError, UserError
from affect.frames import Frames
from affect.labels import EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.bounds import Bounds
from evaluators.calibration import calibration_scores
from evaluators.parquet import write_parquet
from evaluators.postprocess.coverage import (
    FITTING,
    SAYING,
    asked_for,
    check_fit,
    draws,
    expression_scores,
    fit_coverage,
    rule_of,
    video_quantile,
    with_bounds,
)
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.settings import write_stored
from evaluators.table import Table, read_table, to_arrow, write_table
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table


@settings(max_examples=60, deadline=None)
@given(
    videos=st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6), min_size=1, max_size=8),
    share=st.sampled_from([0.1, 0.25, 0.5, 0.6, 0.75, 0.8, 0.9]),
)
def test_the_limit_is_that_of_exact_fractions(videos, share):
    scores = np.array([score for one in videos for score in one], dtype=np.float64)
    video = np.array([number for number, one in enumerate(videos) for _ in one]) * 3 + 1
    exact = Fraction(str(share))

    def weight(limit):
        shares = [Fraction(sum(score <= limit for score in one), len(one)) for one in videos]
        return sum(shares) / (len(videos) + 1)

    reached = [limit for limit in range(7) if weight(limit) >= exact]
    if reached:
        order = np.random.default_rng(0).permutation(len(scores))
        assert video_quantile(scores[order], video[order], share, "valence") == reached[0]
    else:
        with pytest.raises(UserError, match=rf"valence has labels in {len(videos)} video.* and this share needs"):
            video_quantile(scores, video, share, "valence")


def plain_score(probabilities, label, draw):
    """Randomised APS by its definition, one class after the other; the likeliest class is always in."""
    ranked = sorted(range(len(probabilities)), key=lambda index: (-probabilities[index], index))
    if ranked[0] == label:
        return 0.0
    likelier = ranked[: ranked.index(label)]
    return sum(float(probabilities[index]) for index in likelier) + draw * float(probabilities[label])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(2, 8), steps=st.sampled_from([3, 1000]))
def test_scores_are_those_of_a_plain_loop_and_sets_are_nested(seed, classes, steps):
    random = np.random.default_rng(seed)
    probabilities = (random.integers(0, steps, (6, classes)) / steps).astype(np.float32)  # with equal ones
    draw = random.random(6)
    scores = expression_scores(probabilities, draw)
    expected = [
        [plain_score(one, label, u) for label in range(classes)] for one, u in zip(probabilities, draw, strict=True)
    ]
    np.testing.assert_allclose(scores, expected, atol=1e-12)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(scores, order, axis=1), axis=1) >= -1e-12).all()
    assert ((scores <= 0).any(axis=1)).all()  # at least one class, whatever the limit


def test_draws_are_of_seed_and_row():
    np.testing.assert_array_equal(draws(3, 10, FITTING), draws(3, 50, FITTING)[:10])
    assert not np.isin(draws(3, 50, SAYING), draws(3, 50, FITTING)).any()
    assert not np.isin(draws(4, 50, SAYING), draws(3, 50, SAYING)).any()
    frames = make_frames(60, videos=12)
    table = make_table(frames, 1)
    one, same, other = (
        with_bounds(table, {"share": 0.9, "seed": seed, "expression": 0.7}).bounds.classes for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def videos_of(random, count, *, spread=1.0):
    """Videos with lengths from 1 to 60 and errors that differ by video: labels, and a table of predictions."""
    lengths = random.integers(1, 61, size=count)
    video = np.repeat(np.arange(count), lengths)
    rows = len(video)
    skill = np.exp(spread * random.standard_normal(count))[video]
    affect = random.uniform(-0.5, 0.5, (rows, 2))
    error = 0.1 * skill[:, None] * (random.standard_normal((count, 2))[video] + random.standard_normal((rows, 2)))
    logits = 1.2 * random.standard_normal((rows, 8))
    expression = (logits / skill[:, None] + random.gumbel(size=(rows, 8))).argmax(axis=1)
    names = [f"video{number}" for number in video]
    frame = np.arange(rows) + 1
    predictions = {"valence_arousal": (affect + error).clip(-1, 1), "expression": softmax(logits, axis=1)}
    predictions = {task: values.astype(np.float32) for task, values in predictions.items()}
    frames = Frames(
        names, frame, names, affect.astype(np.float32), expression, np.full((rows, 12), np.nan, np.float32), {}
    )
    return frames, Table(names, frame, names, predictions, EXPRESSIONS, {}, "drawn")


def simulated(videos, share, repeats):
    """Coverage on new videos, of each repeat: (repeats, 3)."""
    found = []
    for repeat in range(repeats):
        random = np.random.default_rng([videos, repeat])
        rule = fit_coverage(*reversed(videos_of(random, videos)), {"share": share, "seed": repeat})
        frames, table = videos_of(random, videos)
        scores = calibration_scores(with_bounds(table, rule), frames)
        found.append([scores[f"COVERAGE_{name}"] for name in ("V", "A", "EXPR")])
    return np.array(found)


def test_coverage_on_new_videos_is_what_was_asked_for():
    found = simulated(100, 0.9, 60)
    print("mean", found.mean(axis=0), "standard deviation", found.std(axis=0))
    assert np.abs(found.mean(axis=0) - 0.9).max() <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.8, 0.9, 0.95])
def test_coverage_by_simulation(share):
    found = simulated(150, share, 400)
    mean, spread = found.mean(axis=0), found.std(axis=0)
    print(f"share {share}: V, A, EXPR: mean {mean.round(4)}, standard deviation {spread.round(4)}")
    # over infinitely many repeats, the mean is never below the share, and above it by less than two videos weigh
    noise = 4 * spread / np.sqrt(len(found))
    assert (mean >= share - noise).all()
    assert (mean <= share + 2 / 151 + noise).all()
    assert np.abs(mean - share).max() <= 0.02


def test_frames_as_units_would_not_cover():
    """What the weights are for: where long videos are easy, pooled frames promise too much."""
    random = np.random.default_rng(0)
    lengths = np.tile([1, 99], 100)
    video = np.repeat(np.arange(200), lengths)
    scores = np.where(lengths[video] == 1, 1.0, 0.1) * random.random(len(video))
    by_video = video_quantile(scores, video, 0.9, "valence")
    pooled = float(np.quantile(scores, 0.9))

    def covered(limit):
        return np.mean([min(limit / 1.0, 1), min(limit / 0.1, 1)])

    assert covered(by_video) == pytest.approx(0.9, abs=0.05)
    assert covered(pooled) < 0.6


def test_what_is_fitted_and_what_is_said():
    frames = make_frames(400, videos=30)
    table = make_table(frames, 1, nulls=(0, 9))
    rule = fit_coverage(table, frames, 0.8)
    assert list(rule) == ["share", "seed", "valence", "arousal", "expression"]
    made = with_bounds(table, rule)
    values = table.predictions["valence_arousal"]
    for column, name in enumerate(("valence", "arousal")):
        low, high = made.bounds.intervals[name].T
        expected = values[:, column].astype(np.float64)
        np.testing.assert_array_equal(low, (expected - rule[name]).clip(-1, 1).astype(np.float32))
        np.testing.assert_array_equal(high, (expected + rule[name]).clip(-1, 1).astype(np.float32))
    likeliest = table.predictions["expression"].argmax(axis=1)
    known = ~table.null
    assert made.bounds.classes[known, likeliest[known]].all()
    assert not made.bounds.classes[table.null].any()
    assert made.metadata["coverage"] == rule
    without = dataclasses.replace(frames, expression=np.full(400, -1))
    assert fit_coverage(table, without, 0.8) == {key: rule[key] for key in ("share", "seed", "valence", "arousal")}
    assert with_bounds(table, fit_coverage(table, without, 0.8)).bounds.classes is None


def test_lists_that_nothing_can_be_fitted_on():
    frames = make_frames(100, videos=5)
    table = make_table(frames, 1)
    with pytest.raises(UserError, match=r"valence has labels in 5 videos, and this share needs 9: .* at most 0.833"):
        fit_coverage(table, frames, 0.9)
    with pytest.raises(UserError, match="this list has labels in 5 videos, and this share needs 19"):
        PostProcess.of({"coverage": 0.95}).check_list(frames)
    check_fit(frames, 0.8)
    affect = np.full((100, 2), np.nan, dtype=np.float32)
    bare = dataclasses.replace(frames, valence_arousal=affect, expression=np.full(100, -1))
    for call in (lambda: check_fit(bare, 0.8), lambda: fit_coverage(table, bare, 0.8)):
        with pytest.raises(UserError, match=r"no label of valence and arousal or of expressions.*; fit on a"):
            call()
    units = dataclasses.replace(table, predictions={"action_units": table.predictions["action_units"]})
    with pytest.raises(UserError, match=f"of expressions that {table.source} predicts"):
        fit_coverage(units, frames, 0.8)


def test_pictures_are_their_own_units():
    frames = make_frames(60, videos=3)
    pictures = dataclasses.replace(frames, frame=np.arange(60))
    table = make_table(pictures, 1)
    check_fit(pictures, 0.9)
    with pytest.raises(UserError, match="3 videos"):
        check_fit(frames, 0.9)
    rule = fit_coverage(table, pictures, 0.9)
    rows = pictures.expression >= 0
    scores = expression_scores(table.predictions["expression"], draws(0, 60, FITTING))
    ranked = np.sort(scores[np.arange(60), pictures.expression][rows])
    assert rule["expression"] == ranked[int(np.ceil(0.9 * (len(ranked) + 1))) - 1]  # split-conformal, as it is known
    inside = calibration_scores(with_bounds(table, rule), pictures)["COVERAGE_EXPR"]
    classes = with_bounds(table, rule).bounds.classes
    assert inside == pytest.approx(classes[rows, pictures.expression[rows]].mean())


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (0, "is 0; give a share between 0 and 1"),
        (1, "is 1;"),
        (90, "is 90;"),
        (True, "is True"),
        (float("nan"), "is nan"),
        ({"share": 0.9, "sed": 1}, r"give a share, or \{share: 0.9, seed: 1\}"),
        ({"seed": 1}, "give a share, or"),
        ({"share": 0.9, "seed": -1}, "the seed is -1"),
        ({"share": 0.9, "seed": 1.5}, "the seed is 1.5"),
    ],
)
def test_refused_coverage(given_, message):
    with pytest.raises(UserError, match=message):
        asked_for(given_)
    assert [message for message in PostProcess.problems({"coverage": given_}) if "coverage" in message]


def test_a_stored_fit_of_another_model_is_refused(tmp_path):
    path = tmp_path / "postprocess.json"
    table = make_table(make_frames(20), 1)
    about = {"split": "val", "rows": 20, "files": {"a.txt": "ab" * 32}}
    rule = {"share": 0.9, "seed": 0, "valence": 0.3, "arousal": 0.2, "expression": 0.8}
    write_stored(path, {"coverage": rule}, **about, expressions=EXPRESSIONS)
    assert rule_of(str(path), table) == rule
    write_stored(path, {"coverage": rule}, **about, expressions=LSD_EXPRESSIONS)
    with pytest.raises(UserError, match="was searched on the expressions anger"):
        rule_of(str(path), table)
    affect = dataclasses.replace(table, predictions={"valence_arousal": table.predictions["valence_arousal"]})
    assert with_bounds(affect, rule_of(str(path), affect)).bounds.classes is None
    units = dataclasses.replace(table, predictions={"action_units": table.predictions["action_units"]})
    with pytest.raises(UserError, match=r"it was fitted for valence, arousal, expression, and .* has action_units"):
        rule_of(str(path), units)


def test_bounds_are_columns_of_the_table(tmp_path):
    frames = make_frames(60, videos=12)
    table = make_table(frames, 1, nulls=(0, 9))
    made = with_bounds(table, fit_coverage(table, frames, 0.8))
    write_table(made, tmp_path / "a.parquet")
    content = to_arrow(made)
    assert content.column_names[-12:] == [
        "valence_low", "valence_high", "arousal_low", "arousal_high", *(f"set_{name}" for name in EXPRESSIONS)
    ]  # fmt: skip
    assert {content[name].null_count for name in content.column_names[-12:]} == {2}
    again = read_table(tmp_path / "a.parquet")
    np.testing.assert_array_equal(again.bounds.classes, made.bounds.classes)
    for name, values in made.bounds.intervals.items():
        np.testing.assert_array_equal(again.bounds.intervals[name], values)
    assert read_table_of(table, tmp_path).bounds is None


def read_table_of(table, folder):
    write_table(table, folder / "b.parquet")
    return read_table(folder / "b.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.drop_columns(["valence_low"]), "no column valence_low, which belongs to others"),
        (lambda content: content.drop_columns(["set_anger"]), "no column set_anger"),
        (lambda content: put(content, "valence_low", pa.array([1.5] * 30)), "an interval of valence is not within"),
        (lambda content: put(content, "valence_low", pa.array([float("nan")] * 30)), "an interval of valence is not"),
        (
            lambda content: put(content, "arousal_high", pa.nulls(30, pa.float32())),
            "interval of arousal .* null in part",
        ),
        (lambda content: put(content, "arousal_high", pa.array(["1"] * 30)), "column arousal_high is string"),
        (lambda content: put(content, "set_fear", pa.nulls(30, pa.bool_())), "null in part"),
        (lambda content: put(content, "set_fear", pa.array([1.0] * 30)), "column set_fear is double"),
    ],
)
def test_damaged_bounds_are_refused(tmp_path, change, message):
    frames = make_frames(30, videos=10)
    table = make_table(frames, 1)
    content = to_arrow(with_bounds(table, fit_coverage(table, frames, 0.8)))
    write_parquet(change(content), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "a.parquet")


def test_an_empty_set_is_refused(tmp_path):
    table = make_table(make_frames(3), 1)
    content = to_arrow(dataclasses.replace(table, bounds=Bounds({}, np.eye(3, 8, dtype=bool))))
    write_parquet(put(content, "set_neutral", pa.array([False] * 3)), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="a set of expressions is empty"):
        read_table(tmp_path / "a.parquet")


def put(content, name, values):
    return content.set_column(content.column_names.index(name), name, values)
