"""Exponential smoothing: against a loop over the rows of one video, and against smoothed embeddings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import DataError, UserError
from affect.labels import EXPRESSIONS
from emotionnet.network import EmotionNet
from evaluators.postprocess.exponential import AsTheyCome, smooth_exponentially
from evaluators.postprocess.filling import fill_nulls
from evaluators.postprocess.people import by_person
from evaluators.table import Table, read_table, write_table
from tests.evaluators.tables import people_table, random_table, rows_of_frames
from tests.evaluators.test_recording import by_frame

SEEDS = st.integers(0, 2**32 - 1)
ALPHAS = {"valence_arousal": 9.0, "expression": 2.5, "action_units": 7}


def to_raw(values, task):
    """Logits by their definition, of probabilities that float32 has not rounded to 0 or 1."""
    exact = values.astype(np.float64)
    if task == "valence_arousal":
        return exact
    exact = exact.clip(1.1754943508222875e-38, 1 - 2.0**-25)
    return np.log(exact) if task == "expression" else np.log(exact) - np.log1p(-exact)


def from_raw(values, task):
    if task == "expression":
        return np.exp(values) / np.exp(values).sum()
    return values if task == "valence_arousal" else 1 / (1 + np.exp(-values))


def slow(table, alpha, max_gap):
    """The definition, frame by frame of each video; a row has X as it is at its frame."""
    known, listed = rows_of_frames(table)
    result = {}
    for task, values in table.predictions.items():
        r = alpha[task] / (1 + alpha[task])
        state = {}
        for video, frames in listed.items():
            last, x = None, None
            for frame in sorted(frames):
                if frame in known.get(video, {}):
                    new = to_raw(values[known[video][frame]], task)
                    d = None if last is None else frame - last
                    x = new if d is None or d > max_gap else r**d * x + (1 - r**d) * new
                    last = frame
                if last is not None and frame - last <= max_gap:
                    state[video, frame] = from_raw(x, task)
        places = zip(table.video, table.frame.tolist(), strict=True)
        result[task] = np.array([state.get(place, np.full(values.shape[1], np.nan)) for place in places])
    return result


@settings(max_examples=80, deadline=None)
@given(
    seed=SEEDS,
    nulls=st.sampled_from([0.0, 0.3, 0.9]),
    spread=st.sampled_from([1, 3, 20]),
    videos=st.sampled_from([1, 3, 15, 40]),  # of 40 rows: 40 videos have one frame each
    max_gap=st.sampled_from([1, 2, 7, 50]),
    shuffled=st.booleans(),
)
def test_it_equals_a_plain_loop(seed, nulls, spread, videos, max_gap, shuffled):
    table = random_table(seed, nulls=nulls, spread=spread, videos=videos, shuffled=shuffled)
    smoothed = smooth_exponentially(table, ALPHAS, max_gap=max_gap)
    for task, values in slow(table, ALPHAS, max_gap).items():
        np.testing.assert_allclose(smoothed.predictions[task], values, rtol=3e-7, atol=1e-7)
        assert smoothed.predictions[task].dtype == np.float32
    assert not (smoothed.null & ~table.null).any()


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, cut=st.integers(1, 30))
def test_later_frames_change_nothing(seed, cut):
    table = random_table(seed, spread=2)
    late = table.frame > cut
    changed = {task: values.copy() for task, values in table.predictions.items()}
    for values in changed.values():
        values[late] = values[late][::-1]  # other values, and other rows without any
    other = dataclasses.replace(table, predictions=changed)
    one, two = smooth_exponentially(table), smooth_exponentially(other)
    for task in table.tasks:
        np.testing.assert_array_equal(one.predictions[task][~late], two.predictions[task][~late])


def test_a_list_that_ends_earlier_has_the_same_beginning():
    table = random_table(5, rows=60, videos=1)
    part = dataclasses.replace(
        table, video=table.video[:25], frame=table.frame[:25], image=table.image[:25],
        predictions={task: values[:25] for task, values in table.predictions.items()},
    )  # fmt: skip
    whole, beginning = smooth_exponentially(table), smooth_exponentially(part)
    keep = table.frame[:25] < table.frame[25:].min()
    for task in table.tasks:
        np.testing.assert_array_equal(beginning.predictions[task][keep], whole.predictions[task][:25][keep])


@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_alpha_zero_is_the_identity(seed):
    table = random_table(seed)
    for alpha in (0, dict.fromkeys(ALPHAS, 0.0)):
        smoothed = smooth_exponentially(table, alpha)
        for task, values in table.predictions.items():
            np.testing.assert_array_equal(smoothed.predictions[task], values)
    some = smooth_exponentially(table, {**ALPHAS, "action_units": 0})
    np.testing.assert_array_equal(some.predictions["action_units"], table.predictions["action_units"])
    assert (some.predictions["expression"] != table.predictions["expression"]).any()


@pytest.mark.parametrize("missing", ["linear", "reversed"])
def test_rows_that_are_filled_first_count_as_seen(missing):
    table = random_table(2)
    filled, _ = fill_nulls(table, missing)
    smoothed, by_hand = smooth_exponentially(table, missing=missing), smooth_exponentially(filled)
    assert not smoothed.null.any()
    for task in table.tasks:
        np.testing.assert_array_equal(smoothed.predictions[task], by_hand.predictions[task])


def embedded(count):
    """Return EmotionNet's embeddings of random pictures, and its classifiers on them."""
    torch.manual_seed(0)
    network = EmotionNet(image_size=23, width_divisor=16, first_stride=1).eval()
    pictures = torch.randint(0, 256, (count, 3, 23, 23), dtype=torch.uint8)
    with torch.no_grad():
        sight = network.look(network.normalize(pictures))

    def scores(signs, message):
        with torch.no_grad():
            made = network.classify(*(torch.from_numpy(values).float() for values in (signs, message)))
        return {task: getattr(made, task).numpy() for task in ("action_units", "expression", "valence_arousal")}

    return sight.signs.double().numpy(), sight.messages.mean(dim=1).double().numpy(), scores


@pytest.mark.parametrize("with_logits", [False, True])
def test_it_equals_smoothing_emotionnets_embeddings_before_its_classifiers(with_logits):
    video = ["a"] * 60 + ["b"] + ["c"] * 40
    frame = np.concatenate([np.arange(1, 61), [1], np.arange(1, 41)])
    units, mean, scores = embedded(len(frame))
    raw = scores(units, mean)
    assert np.abs(raw["valence_arousal"]).max() < 1
    predictions = {task: np.array([from_raw(row, task) for row in values]).astype(np.float32)
                   for task, values in raw.items()}  # fmt: skip
    if with_logits:
        predictions["logits_expression"] = raw["expression"].astype(np.float32)
    image = [f"{name}/{number:05d}.jpg" for name, number in zip(video, frame, strict=True)]
    table = Table(video, frame, image, predictions, EXPRESSIONS, {}, "embedded.parquet")
    alphas = {"action_units": 7, "expression": 9, "valence_arousal": 9}
    smoothed = smooth_exponentially(table)  # with the published ones
    # the published recursion, on embeddings
    states = {}
    for task, alpha in alphas.items():
        of_task = (units if task == "action_units" else mean).copy()
        for row in range(1, len(frame)):
            if video[row] == video[row - 1]:
                of_task[row] = (alpha * of_task[row - 1] + of_task[row]) / (1 + alpha)
        states[task] = of_task
    for task, found in smoothed.predictions.items():
        of = {"units": units, "mean": mean, "units" if task == "action_units" else "mean": states[task]}
        expected, ours = scores(of["units"], of["mean"])[task], to_raw(found, task)
        if task == "expression":  # a softmax knows its logits up to a constant
            expected, ours = (values - values.mean(axis=1, keepdims=True) for values in (expected, ours))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


def test_a_table_says_how_it_was_smoothed(tmp_path):
    table = random_table(3)
    table.predictions["logits_expression"] = np.log(table.predictions["expression"])
    smoothed = smooth_exponentially(table, 4, max_gap=9)
    assert set(smoothed.predictions) == {"valence_arousal", "expression", "action_units"}
    write_table(smoothed, tmp_path / "smoothed.parquet")
    note = read_table(tmp_path / "smoothed.parquet").metadata["smoothed"]
    alpha = dict.fromkeys(ALPHAS, 4.0)
    assert note == {"smoothing": "exponential", "alpha": alpha, "max_gap": 9, "missing": None}


def test_probabilities_of_zero_and_one_have_logits():
    values = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    predictions = {
        "expression": np.pad(values, ((0, 0), (0, 6))),
        "action_units": np.tile(values, (1, 6)),
    }
    table = Table(["a"] * 3, np.array([1, 2, 3]), ["a/1"] * 3, predictions, EXPRESSIONS, {}, "saturated")
    with np.errstate(all="raise", under="ignore"):
        smoothed = smooth_exponentially(table, 1)
    for found in smoothed.predictions.values():
        assert np.isfinite(found).all()
        assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(smoothed.predictions["expression"].sum(axis=1), 1, atol=1e-6)


def test_videos_without_a_prediction_stay_null():
    table = random_table(4)
    for values in table.predictions.values():
        values[:] = np.nan
    assert smooth_exponentially(table).null.all()
    table = random_table(4)
    gone = np.array([name == "video1" for name in table.video])
    for values in table.predictions.values():
        values[gone] = np.nan
    assert smooth_exponentially(table).null[gone].all()
    with pytest.raises(DataError, match="video 'video1' has no prediction at all"):
        smooth_exponentially(table, missing="linear")
    with pytest.raises(DataError, match="single pictures, not videos"):
        smooth_exponentially(dataclasses.replace(table, frame=np.arange(40)))


@pytest.mark.parametrize(
    ("alpha", "message"),
    [
        (-1, "alpha is -1; give a number, 0 or more"),
        (float("nan"), "alpha is nan"),
        (float("inf"), "alpha is inf"),
        (True, "alpha is True"),
        ("9", "alpha is '9'"),
        ([9, 9, 7], r"alpha is \[9, 9, 7\]"),
        ({"valence": 3}, "no task 'valence'"),
        ({"valence_arousal": 3}, "none of expression, action_units; give one number"),
    ],
)
def test_refused_alphas(alpha, message):
    with pytest.raises(UserError, match=message):
        smooth_exponentially(random_table(0), alpha)


@settings(max_examples=25, deadline=None)
@given(
    SEEDS, st.integers(1, 6), st.sampled_from([None, 2.0, {"valence_arousal": 0, "expression": 3, "action_units": 1}])
)
def test_frame_by_frame_it_is_what_it_is_of_each_persons_whole(seed, max_gap, alpha):
    table = people_table(seed, frames=20, videos=1)
    kept = np.random.default_rng(seed).choice(np.unique(table.frame), 12, replace=False)  # the others were dropped
    parts = [one for one in by_frame(table) if one.frame[0] in kept]
    live = AsTheyCome(alpha, max_gap)
    found = [live.add(one) for one in parts]
    rows = np.isin(table.frame, kept)
    faces = type(table.found)(*(getattr(table.found, name)[rows] for name in vars(table.found)))
    whole = dataclasses.replace(
        table, video=["clip"] * rows.sum(), frame=table.frame[rows], image=["a"] * rows.sum(), found=faces,
        predictions={task: values[rows] for task, values in table.predictions.items()},
    )  # fmt: skip
    expected = by_person(whole, max_gap, lambda people: smooth_exponentially(people, alpha, max_gap=max_gap))
    for task, values in expected.predictions.items():
        np.testing.assert_allclose(
            np.concatenate([one.predictions[task] for one in found]), values, rtol=1e-5, atol=1e-6
        )
