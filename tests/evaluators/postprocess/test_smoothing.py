from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import DataError, UserError
from evaluators.postprocess.smoothing import Series, _box, half_widths, smooth, smooth_many
from evaluators.postprocess.timeline import lay_out
from evaluators.table import read_table, write_table
from tests.evaluators.tables import filled_value, random_table, rows_of_frames

SEEDS = st.integers(0, 2**32 - 1)


def slow(table, k, kind, missing, sigma):
    """The definition, one row and one frame of its window at a time."""
    known, listed = rows_of_frames(table)
    result = {task: np.full(values.shape, np.nan) for task, values in table.predictions.items()}
    for task, values in table.predictions.items():
        series = {}
        for video, rows in known.items():
            series[video] = {frame: values[row].astype(np.float64) for frame, row in rows.items()}
            if missing is not None:
                for frame in range(min(listed[video]), max(listed[video]) + 1):
                    if frame not in rows:
                        series[video][frame] = filled_value(values, rows, frame, missing)
        for row, (video, frame) in enumerate(zip(table.video, table.frame.tolist(), strict=True)):
            if missing is None and table.null[row]:
                continue
            window = {f: series[video][f] for f in range(frame - k, frame + k + 1) if f in series[video]}
            weight = {f: math.exp(-((f - frame) ** 2) / (2 * sigma**2)) if kind == "gaussian" else 1.0 for f in window}
            if kind == "median":
                result[task][row] = np.median(list(window.values()), axis=0)
                total = result[task][row].sum()
                if task == "expression":
                    own = series[video][frame]
                    result[task][row] = result[task][row] / total if total > 0 else own
            else:
                result[task][row] = sum(weight[f] * window[f] for f in window) / sum(weight.values())
    return result


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    k=st.sampled_from([1, 2, 3, 7, 20, 500]),
    kind=st.sampled_from(["box", "median", "gaussian"]),
    missing=st.sampled_from([None, "linear", "reversed"]),
    nulls=st.sampled_from([0.0, 0.3, 0.9]),
    spread=st.sampled_from([1, 4]),
    shuffled=st.booleans(),
)
def test_smoothing_against_one_frame_at_a_time(seed, k, kind, missing, nulls, spread, shuffled):
    table = random_table(seed, nulls=nulls, spread=spread, shuffled=shuffled)
    sigma = k / 2 if seed % 2 else 3.7
    smoothed = smooth(table, k, kind, missing=missing, sigma=None if seed % 2 or kind != "gaussian" else sigma)
    expected = slow(table, k, kind, missing, sigma)
    for task, values in expected.items():
        np.testing.assert_allclose(smoothed.predictions[task], values, rtol=3e-7, atol=1e-7)
        assert smoothed.predictions[task].dtype == np.float32
    assert (smoothed.null == (False if missing else table.null)).all()
    rows = ~smoothed.null
    np.testing.assert_allclose(smoothed.predictions["expression"][rows].sum(axis=1), 1, atol=1e-6)
    assert smoothed.predictions["action_units"][rows].min() >= 0
    assert smoothed.predictions["action_units"][rows].max() <= 1


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, k=st.sampled_from([1, 5, 25, 200]), dense=st.booleans())
def test_box_sums_are_exact_in_float64(seed, k, dense):
    rows = 6000
    table = random_table(
        seed, rows=rows, videos=4, spread=1 if dense else 5, nulls=0, duplicates=False, tasks=("action_units",)
    )
    values = table.predictions["action_units"] * 10.0 ** -(seed % 3)
    line = lay_out(table, k)
    cells = np.zeros((len(line), 12), dtype=np.float32)
    cells[line.cell] = values
    present = np.zeros(len(line), dtype=bool)
    present[line.cell] = True
    out = np.empty((rows, 12))
    _box(Series(line, cells, present, None))(k, out)
    video = np.array(table.video)
    for row in np.random.default_rng(seed).integers(rows, size=60):
        near = (video == video[row]) & (abs(table.frame - table.frame[row]) <= k)
        window = values[near].astype(np.float64)
        expected = [math.fsum(column) / len(window) for column in window.T]
        np.testing.assert_allclose(out[row], expected, rtol=1e-12, atol=1e-12 * values.max())


def test_videos_do_not_touch_and_edges_are_cut():
    table = random_table(0, rows=4, videos=2, nulls=0, tasks=("valence_arousal",))
    table = dataclasses.replace(
        table,
        video=["a", "a", "b", "b"],
        frame=np.array([5, 9, 5, 6]),
        predictions={"valence_arousal": np.array([[0, 0], [1, 1], [-1, -1], [-0.5, 0]], dtype=np.float32)},
    )
    near = smooth(table, 3).predictions["valence_arousal"]
    np.testing.assert_array_equal(near, [[0, 0], [1, 1], [-0.75, -0.5], [-0.75, -0.5]])
    # the numbers 6, 7, 8 that the list skips are filled first and weigh as much
    filled = smooth(table, 3, missing="linear").predictions["valence_arousal"]
    np.testing.assert_allclose(filled[:2, 0], [(0 + 0.25 + 0.5 + 0.75) / 4, (0.25 + 0.5 + 0.75 + 1) / 4])
    whole = smooth(table, 10**9).predictions["valence_arousal"]
    np.testing.assert_array_equal(whole, [[0.5, 0.5], [0.5, 0.5], [-0.75, -0.5], [-0.75, -0.5]])


def test_zero_changes_nothing_and_logits_are_left_out(tmp_path):
    table = random_table(3)
    table.predictions["logits_action_units"] = np.zeros((40, 12), dtype=np.float32)
    same, by_task = smooth_many(table, [0, {"valence_arousal": 0, "expression": 5, "action_units": 1}])
    for task in ("valence_arousal", "expression", "action_units"):
        np.testing.assert_array_equal(same.predictions[task], table.predictions[task])
    assert set(by_task.predictions) == {"valence_arousal", "expression", "action_units"}
    np.testing.assert_array_equal(by_task.predictions["valence_arousal"], table.predictions["valence_arousal"])
    np.testing.assert_array_equal(by_task.predictions["expression"], smooth(table, 5).predictions["expression"])
    np.testing.assert_array_equal(by_task.predictions["action_units"], smooth(table, 1).predictions["action_units"])
    write_table(by_task, tmp_path / "smoothed.parquet")
    again = read_table(tmp_path / "smoothed.parquet")
    assert again.metadata["smoothed"]["k"] == {"valence_arousal": 0, "expression": 5, "action_units": 1}
    np.testing.assert_array_equal(again.null, table.null)


def test_a_video_without_any_prediction_stays_null():
    table = random_table(4)
    gone = np.array([name == "video1" for name in table.video])
    for values in table.predictions.values():
        values[gone] = np.nan
    for kind in ("box", "median", "gaussian"):
        smoothed = smooth(table, 3, kind)
        np.testing.assert_array_equal(smoothed.null, table.null)
    with pytest.raises(DataError, match="video 'video1' has no prediction at all"):
        smooth(table, 3, missing="linear")


@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (-1, {}, "k is -1; give the frames to either side"),
        (2.5, {}, r"k is 2\.5"),
        (True, {}, "k is True"),
        ({"valence": 3}, {}, "no task 'valence'"),
        (3, {"kind": "mean"}, "smoothing is 'mean'; there are box, median, gaussian"),
        (3, {"kind": "gaussian", "sigma": 0}, "sigma is 0"),
    ],
)
def test_refused_settings(k, options, message):
    with pytest.raises(UserError, match=message):
        smooth(random_table(0), k, **options)


def test_half_widths_that_are_not_given_are_the_published_ones():
    tasks = ("expression", "action_units")
    assert half_widths(None, tasks) == {"expression": 50, "action_units": 5}
    assert half_widths({"action_units": 0}, tasks) == {"expression": 50, "action_units": 0}
    assert half_widths(3, tasks) == {"expression": 3, "action_units": 3}


def test_lists_that_have_no_time():
    table = random_table(0)
    with pytest.raises(DataError, match="single pictures, not videos"):
        smooth(dataclasses.replace(table, frame=np.arange(40)), 3)
    with pytest.raises(DataError, match="number them 1, 2, 3"):
        smooth(dataclasses.replace(table, frame=table.frame * 10**9), 3)
    empty = dataclasses.replace(
        table, video=[], frame=np.zeros(0, dtype=np.int64), image=[], predictions={"expression": np.zeros((0, 8))}
    )
    with pytest.raises(DataError, match="no row"):
        smooth(empty, 3)
