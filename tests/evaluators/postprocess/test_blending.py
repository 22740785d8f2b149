from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import DataError, UserError
from evaluators.postprocess.blending import blend, search_weights
from evaluators.postprocess.thresholds import search_thresholds
from evaluators.predictions import score_table
from evaluators.table import Table, read_table, write_table
from tests.evaluators.fake import make_frames, make_predictions


def make_table(frames, seed, nulls=()):
    predictions = {key: value.numpy().copy() for key, value in make_predictions(frames, seed=seed).items()}
    for values in predictions.values():
        values[list(nulls)] = np.nan
    expressions = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
    metadata = {"experiment": f"run{seed}", "label_files": frames.files}
    return Table(frames.video, frames.frame, frames.image, predictions, expressions, metadata, f"{seed}.parquet")


def test_the_mean_of_what_is_there(tmp_path):
    frames = make_frames(30)
    tables = [
        make_table(frames, 1, nulls=[4, 5]),
        make_table(frames, 2, nulls=[5, 6]),
        make_table(frames, 3, nulls=[5]),
    ]
    mean = blend(tables)
    assert np.flatnonzero(mean.null).tolist() == [5]
    for key, values in mean.predictions.items():
        stack = np.stack([table.predictions[key] for table in tables]).astype(np.float64)
        rows = np.setdiff1d(np.arange(30), [5])
        np.testing.assert_allclose(values[rows], np.nanmean(stack[:, rows], axis=0), rtol=1e-6)
        assert values.dtype == np.float32
    write_table(mean, tmp_path / "mean.parquet")
    again = read_table(tmp_path / "mean.parquet")
    assert [made["experiment"] for made in again.metadata["mean_of"]] == ["run1", "run2", "run3"]
    assert again.files == frames.files


def test_one_table_is_itself():
    table = make_table(make_frames(5), 1)
    assert blend([table]) is table


def test_what_cannot_be_averaged():
    frames = make_frames(10)
    one = make_table(frames, 1)
    with pytest.raises(DataError, match="at least one"):
        blend([])
    with pytest.raises(DataError, match="different lists"):
        blend([one, make_table(make_frames(11), 1)])
    without = dataclasses.replace(one, predictions={"expression": one.predictions["expression"]})
    with pytest.raises(DataError, match="average tables with the same columns"):
        blend([one, without])


MAIN_SCORES = {"valence_arousal": "P_VA", "expression": "P_EXPR", "action_units": "P_AU"}


def slow_blend(tables, weights, task, space):
    """Row by row, value by value, in plain Python."""
    result = np.full(tables[0].predictions[task].shape, np.nan)
    for row in range(len(tables[0])):
        parts = [(w, t.predictions[task][row].astype(float)) for w, t in zip(weights, tables, strict=True)]
        parts = [(w, values) for w, values in parts if w > 0 and not np.isnan(values).any()]
        if not parts:
            continue
        if space == "logits" and task != "valence_arousal":
            clipped = [(w, np.clip(values, 1e-7, 1 - 1e-7)) for w, values in parts]
            if task == "expression":
                powers = np.prod([values ** (w / sum(w for w, _ in parts)) for w, values in clipped], axis=0)
                result[row] = powers / powers.sum()
                continue
            odds = np.prod([(v / (1 - v)) ** (w / sum(w for w, _ in parts)) for w, v in clipped], axis=0)
            result[row] = odds / (1 + odds)
            continue
        result[row] = sum(w * values for w, values in parts) / sum(w for w, _ in parts)
    return result


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    space=st.sampled_from(["probabilities", "logits"]),
    weights=st.lists(st.sampled_from([0.0, 0.2, 1.0, 3.0]), min_size=2, max_size=4).filter(any),
)
def test_blends_against_one_row_at_a_time(seed, space, weights):
    frames = make_frames(25, seed=seed)
    random = np.random.default_rng(seed)
    tables = [
        make_table(frames, seed + index, nulls=np.flatnonzero(random.random(25) < 0.3)) for index in range(len(weights))
    ]
    blended = blend(tables, weights, space=space)
    for task, values in blended.predictions.items():
        np.testing.assert_allclose(values, slow_blend(tables, weights, task, space), rtol=1e-5, atol=1e-7)
    known = ~blended.null
    np.testing.assert_allclose(blended.predictions["expression"][known].sum(axis=1), 1, atol=1e-6)


def test_weights_by_task_and_saturated_logits():
    frames = make_frames(10)
    tables = [make_table(frames, seed) for seed in (1, 2)]
    by_task = {"valence_arousal": [1, 0], "expression": [0, 2], "action_units": [1, 3]}
    blended = blend(tables, by_task)
    np.testing.assert_array_equal(blended.predictions["valence_arousal"], tables[0].predictions["valence_arousal"])
    np.testing.assert_array_equal(blended.predictions["expression"], tables[1].predictions["expression"])
    assert blended.metadata["weights"]["action_units"] == [0.25, 0.75]
    tables[0].predictions["action_units"][:] = 1
    tables[1].predictions["action_units"][:] = 0
    np.testing.assert_allclose(blend(tables, space="logits").predictions["action_units"], 0.5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([0.5, 0.5, 0.5], "3 weights of 2 tables"),
        ([1, -1], "numbers >= 0"),
        ([0, 0], "not all 0"),
        ([float("nan"), 1], "numbers >= 0"),
        ({"expression": [1, 1]}, "no weights of valence_arousal, action_units"),
        ({"expressions": [1, 1]}, "no task 'expressions'"),
    ],
)
def test_refused_weights(weights, message):
    frames = make_frames(10)
    with pytest.raises(UserError, match=message):
        blend([make_table(frames, 1), make_table(frames, 2)], weights)


def test_an_unknown_space_is_refused():
    with pytest.raises(UserError, match="there are probabilities, logits"):
        blend([make_table(make_frames(10), 1)], space="odds")


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_the_searched_weights_are_the_best_of_the_grid(count, space):
    frames = make_frames(150)
    tables = [make_table(frames, seed, nulls=[seed]) for seed in range(1, count + 1)]
    found = search_weights(tables, frames, space=space)
    simplex = [of for of in product(range(11), repeat=count) if sum(of) == 10]
    for task, name in MAIN_SCORES.items():
        scores = {of: score_table(blend(tables, of, space=space), frames)[name] for of in simplex}
        assert scores[tuple(round(10 * weight) for weight in found[task])] == max(scores.values())


def test_equal_tables_get_equal_weights_where_the_grid_has_them():
    frames = make_frames(60)
    table = make_table(frames, 1)
    assert set(search_weights([table, table], frames).values()) == {(0.5, 0.5)}
    assert set(search_weights([table] * 5, frames).values()) == {(0.2,) * 5}


def test_coordinate_search_is_no_worse_than_equal_weights_or_any_single_table():
    frames = make_frames(200)
    good = make_table(frames, 1)
    noise = [
        make_table(dataclasses.replace(make_frames(200, seed=seed), files=frames.files, video=frames.video,
                                       frame=frames.frame), seed)
        for seed in (5, 6, 7)
    ]  # fmt: skip
    tables = [*noise, good]
    found = search_weights(tables, frames)
    for task, name in MAIN_SCORES.items():
        assert sum(found[task]) == pytest.approx(1)
        reached = score_table(blend(tables, found), frames)[name]
        for other in ([1, 1, 1, 1], *np.eye(4).tolist()):
            assert reached >= score_table(blend(tables, other), frames)[name] - 1e-12, task
        assert found[task][3] > 0.5


def test_units_are_searched_at_their_best_thresholds_where_asked():
    frames = make_frames(150)
    tables = [make_table(frames, seed) for seed in (1, 2)]
    found = search_weights(tables, frames, au_thresholds="exact")["action_units"]
    f1 = {
        tuple(of): search_thresholds("exact", blend(tables, of).predictions["action_units"], frames.action_units)[
            1
        ].mean()
        for of in ((step, 10 - step) for step in range(11))
    }
    assert f1[tuple(round(10 * weight) for weight in found)] == max(f1.values())


def test_what_cannot_be_searched():
    frames = make_frames(30)
    tables = [make_table(frames, seed) for seed in (1, 2)]
    with pytest.raises(UserError, match="two tables or more"):
        search_weights(tables[:1], frames)
    with pytest.raises(UserError, match="no label of expression"):
        search_weights(tables, dataclasses.replace(frames, expression=np.full(30, -1)))
    with pytest.raises(UserError, match="no label of action_units"):
        search_weights(
            tables, dataclasses.replace(frames, action_units=np.full((30, 12), np.nan, dtype=np.float32)),
            au_thresholds="grid",
        )  # fmt: skip
    with pytest.raises(DataError, match="different lists"):
        search_weights(tables, make_frames(31))
