from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from affect.errors import UserError
from affect.labels import LSD_EXPRESSIONS
from evaluators.postprocess.settings import write_stored
from evaluators.postprocess.temperature import (
    LEAST,
    MOST,
    fit_temperature,
    resolve_temperatures,
    search_temperatures,
    temperatures_of,
    with_temperatures,
)
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table


def likelihoods(logits, labels, task):
    """The negative log-likelihood as a function of the temperature, from logits, by SciPy."""
    if task == "expression":
        return lambda t: -log_softmax(logits / t, axis=1)[np.arange(len(labels)), labels].mean()
    return lambda t: -np.where(labels == 1, log_expit(logits[:, 0] / t), log_expit(-logits[:, 0] / t)).mean()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    task=st.sampled_from(["expression", "action_units"]),
    rows=st.integers(5, 200),
    scale=st.sampled_from([0.1, 0.5, 1, 3, 8]),
)
def test_the_temperature_is_that_of_an_independent_optimiser(seed, task, rows, scale):
    random = np.random.default_rng(seed)
    classes = 5 if task == "expression" else 1
    truth = 2 * random.standard_normal((rows, classes))
    if task == "expression":
        labels = np.array([random.choice(classes, p=one) for one in softmax(truth, axis=1)])
        probabilities = softmax(truth * scale, axis=1)
    else:
        labels = (random.random(rows) < expit(truth[:, 0])).astype(np.int64)
        probabilities = expit(truth * scale)
    logits = probabilities.clip(1e-7, 1 - 1e-7)  # as the table can tell them
    logits = np.log(logits) if task == "expression" else np.log(logits / (1 - logits))
    likelihood = likelihoods(logits, labels, task)
    best = minimize_scalar(lambda log: likelihood(np.exp(log)), bounds=(np.log(LEAST), np.log(MOST)), method="bounded")
    found = fit_temperature(probabilities, labels, task)
    assert LEAST <= found <= MOST
    assert likelihood(found) <= best.fun + 1e-9
    if LEAST * 2 < found < MOST / 2:
        assert found == pytest.approx(np.exp(best.x), rel=2e-2)


def test_overconfident_logits_get_back_what_made_them():
    random = np.random.default_rng(0)
    truth = 2 * random.standard_normal((200_000, 8))
    labels = (truth + random.gumbel(size=truth.shape)).argmax(axis=1)  # a draw from the softmax
    assert fit_temperature(softmax(2.5 * truth, axis=1), labels, "expression") == pytest.approx(2.5, rel=0.01)
    assert fit_temperature(softmax(0.4 * truth, axis=1), labels, "expression") == pytest.approx(0.4, rel=0.01)


def test_labels_that_leave_no_doubt_or_nothing_but_doubt():
    probabilities = np.tile([0.6, 0.3, 0.1], (20, 1))
    assert fit_temperature(probabilities, np.zeros(20, dtype=np.int64), "expression") == LEAST
    assert fit_temperature(probabilities, np.full(20, 2), "expression") == MOST
    unit = np.tile([[0.7], [0.2]], (10, 1))
    assert fit_temperature(unit, np.tile([1, 0], 10), "action_units") == LEAST
    assert fit_temperature(unit, np.tile([0, 1], 10), "action_units") == MOST


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), temperature=st.floats(0.1, 10))
def test_decisions_stay_and_logits_agree_with_the_probabilities(seed, temperature):
    table = make_table(make_frames(40, seed=seed), seed, nulls=(3,))
    random = np.random.default_rng(seed)
    logits = random.standard_normal((40, 8)).astype(np.float32)
    logits[3] = np.nan
    predictions = {**table.predictions, "expression": softmax(logits, axis=1), "logits_expression": logits}
    table = dataclasses.replace(table, predictions=predictions)
    made = with_temperatures(table, {"expression": temperature, "action_units": temperature})
    known = ~table.null
    np.testing.assert_array_equal(made.null, table.null)
    np.testing.assert_array_equal(made.predictions["valence_arousal"], table.predictions["valence_arousal"])
    expression, units = made.predictions["expression"], made.predictions["action_units"]
    assert expression.dtype == units.dtype == np.float32
    np.testing.assert_array_equal(expression[known].argmax(axis=1), logits[known].argmax(axis=1))
    np.testing.assert_allclose(expression[known], softmax(logits[known] / temperature, axis=1), atol=2e-6)
    np.testing.assert_allclose(
        softmax(made.predictions["logits_expression"][known], axis=1), expression[known], atol=2e-6
    )
    before = table.predictions["action_units"][known]
    away = np.abs(before - 0.5) > 1e-5
    np.testing.assert_array_equal((units[known] >= 0.5)[away], (before >= 0.5)[away])
    assert made.metadata["temperature"] == {"expression": temperature, "action_units": temperature}
    assert with_temperatures(table, {}) is table


def test_a_search_takes_the_tasks_that_have_labels_and_leaves_null_rows_out():
    frames = make_frames(300)
    table = make_table(frames, 1, nulls=(0, 7))
    found = search_temperatures(table, frames)
    keep = ~table.null & (frames.expression >= 0)
    assert found["expression"] == fit_temperature(
        table.predictions["expression"][keep], frames.expression[keep], "expression"
    )
    valid = ~np.isnan(frames.action_units) & ~table.null[:, None]
    units = table.predictions["action_units"][valid][:, None], frames.action_units[valid].astype(np.int64)
    assert found["action_units"] == fit_temperature(*units, "action_units")
    without = dataclasses.replace(frames, expression=np.full(300, -1))
    assert search_temperatures(table, without) == {"action_units": found["action_units"]}
    bare = dataclasses.replace(without, action_units=np.full((300, 12), np.nan, dtype=np.float32))
    with pytest.raises(UserError, match="this list has no label of expression or action_units; search on a split"):
        search_temperatures(table, bare)
    affect = dataclasses.replace(table, predictions={"valence_arousal": table.predictions["valence_arousal"]})
    with pytest.raises(UserError, match="has no expressions and no action units"):
        search_temperatures(affect, frames)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (0, "is 0; give a number from 0.01 to 100"),
        (-1, "is -1"),
        (float("nan"), "is nan"),
        (True, "is True"),
        ([1, 2], r"is \[1, 2\]"),
        ({"valence_arousal": 2}, "no task 'valence_arousal' has logits; expression and action_units have"),
        ({"expression": "hot"}, "is 'hot'"),
        ("nowhere.json", "no such file nowhere.json"),
    ],
)
def test_refused_temperatures(given_, message):
    with pytest.raises(UserError, match=message):
        resolve_temperatures(given_)


def test_accepted_temperatures():
    assert resolve_temperatures(None) == {}
    assert resolve_temperatures(2) == {"expression": 2.0, "action_units": 2.0}
    assert resolve_temperatures({"action_units": 0.5}) == {"action_units": 0.5}


def test_a_stored_temperature_of_another_model_is_refused(tmp_path):
    path = tmp_path / "postprocess.json"
    table = make_table(make_frames(20), 1)
    about = {"split": "val", "rows": 20, "files": {"a.txt": "ab" * 32}}
    found = {"temperature": {"expression": 1.5, "action_units": 0.8}}
    write_stored(path, found, **about, expressions=table.expressions)
    assert temperatures_of(str(path), table) == found["temperature"]
    units = dataclasses.replace(table, predictions={"action_units": table.predictions["action_units"]})
    assert temperatures_of(str(path), units) == {"action_units": 0.8}
    write_stored(path, found, **about, expressions=LSD_EXPRESSIONS)
    with pytest.raises(UserError, match=r"was searched on the expressions anger, .*, but .* has neutral, anger"):
        temperatures_of(str(path), table)
    assert temperatures_of(str(path), units) == {"action_units": 0.8}
    write_stored(path, {"temperature": {"expression": 1.5}}, **about, expressions=table.expressions)
    with pytest.raises(UserError, match=r"nothing in it is for .*, which has action_units: leave it out"):
        temperatures_of(str(path), units)
    write_stored(path, {"temperature": {"expression": 1.5}}, **about)
    with pytest.raises(UserError, match=r"searched_on\.expressions are not the class names"):
        temperatures_of(str(path), table)
