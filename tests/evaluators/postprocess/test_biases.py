from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import UserError
from evaluators.postprocess.biases import biases_of, check_biases, macro_f1, search_biases, steps, with_biases
from evaluators.postprocess.chain import process, process_people
from evaluators.postprocess.options import PostProcess
from evaluators.predictions import score_table
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table


def drawn(seed, rows, classes):
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=rows)
    logs = random.standard_normal((rows, classes)) + np.eye(classes)[labels] * random.uniform(0, 2)
    logs -= random.uniform(0, 2, classes)
    return logs - np.log(np.exp(logs).sum(axis=1, keepdims=True)), labels


def plain_f1(logs, labels):
    said, scores = logs.argmax(axis=1), []
    for one in range(logs.shape[1]):
        hits, counted = np.sum((said == one) & (labels == one)), np.sum(said == one) + np.sum(labels == one)
        scores.append(2 * hits / counted if counted else 0.0)
    return float(np.mean(scores))


def brute(logs, labels, index):
    """The highest macro F1 over one bias: the middles of all intervals between two changes are tried."""
    changes = np.sort(np.delete(logs, index, axis=1).max(axis=1) - logs[:, index])
    tried = [changes[0] - 1, *(changes[1:] + changes[:-1]) / 2, changes[-1] + 1]
    return max(plain_f1(logs + value * (np.arange(logs.shape[1]) == index), labels) for value in tried)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 40), classes=st.integers(2, 8), data=st.data())
def test_each_step_of_one_bias_is_that_of_brute_force(seed, rows, classes, data):
    logs, labels = drawn(seed, rows, classes)
    index = data.draw(st.integers(0, classes - 1))
    values, scores = steps(logs, labels, index)
    for value, score in zip(values, scores, strict=True):
        assert score == pytest.approx(plain_f1(logs + value * (np.arange(classes) == index), labels), abs=1e-12)
    assert scores.max() == pytest.approx(brute(logs, labels, index), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 60))
def test_two_classes_reach_what_brute_force_reaches(seed, rows):
    logs, labels = drawn(seed, rows, 2)
    biases = search_biases("search", np.exp(logs), labels)
    assert biases[0] == 0
    assert macro_f1(logs + biases, labels) == pytest.approx(brute(logs, labels, 1), abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 80), classes=st.sampled_from([3, 6, 7, 8]))
def test_no_search_ends_below_its_start_and_no_single_bias_gains_more(seed, rows, classes):
    logs, labels = drawn(seed, rows, classes)
    start = plain_f1(logs, labels)
    for search in ("search", "grid"):
        biases = search_biases(search, np.exp(logs), labels)
        reached = plain_f1(logs + biases, labels)
        assert reached >= start - 1e-12
        if search == "grid":
            assert np.abs(biases).max() <= 2
        else:
            for index in range(1, classes):
                others = logs + biases * (np.arange(classes) != index)
                assert brute(others, labels, index) <= reached + 1e-9


def test_the_grid_is_the_published_one():
    logs, labels = drawn(7, 200, 5)
    biases, highest = np.zeros(5), plain_f1(logs, labels)
    for _ in range(3):
        for index in range(1, 5):
            tried = [biases + (value - biases[index]) * (np.arange(5) == index) for value in np.linspace(-2, 2, 41)]
            scores = np.array([plain_f1(logs + one, labels) for one in tried])
            if scores.max() > highest + 1e-12:
                equal = [one for one, score in zip(tried, scores, strict=True) if score >= scores.max() - 1e-12]
                biases, highest = min(equal, key=lambda one: abs(one[index])), scores.max()
    np.testing.assert_allclose(search_biases("grid", np.exp(logs), labels), biases, atol=1e-12)


def test_a_climb_by_coordinates_can_stop_at_a_local_optimum():
    """Over these draws, some climb stops below what pairs of biases reach."""
    grid = np.linspace(-3, 3, 31)
    short = 0.0
    for seed in range(30):
        logs, labels = drawn(seed, 12, 3)
        reached = plain_f1(logs + search_biases("search", np.exp(logs), labels), labels)
        both = max(macro_f1(logs + np.array([0, one, two]), labels) for one in grid for two in grid)
        short = max(short, both - reached)
    assert short > 0.01


def test_a_table_shows_what_its_biases_decide_and_they_move_to_another_list(tmp_path):
    first, second = make_frames(200, seed=0), make_frames(100, seed=1)
    table, other = make_table(first, 1, nulls=(3,)), make_table(second, 2)
    done = process([table], first, PostProcess.of({"expression_biases": "search", "au_thresholds": "exact"}))
    assert set(done.found) == set(done.tuned) == {"expression_biases", "au_thresholds"}
    given = np.log(table.predictions["expression"].astype(np.float64)) + list(done.biases.values())
    shown = done.table.predictions["expression"]
    keep = ~table.null
    np.testing.assert_array_equal(shown[keep].argmax(axis=1), given[keep].argmax(axis=1))
    np.testing.assert_allclose(shown[keep].sum(axis=1), 1, atol=1e-6)
    assert done.table.null[3]
    labelled = keep & (first.expression >= 0)
    own = score_table(done.table, first, au_thresholds=done.au_thresholds)["P_EXPR"]
    assert own == pytest.approx(plain_f1(given[labelled], first.expression[labelled]), abs=1e-9)
    assert own >= score_table(table, first)["P_EXPR"]
    path = tmp_path / "postprocess.json"
    done.store(path, "val", first)
    taken = process([other], second, PostProcess.of({"expression_biases": str(path)}))
    assert taken.biases == done.biases
    assert taken.tuned == ()
    assert process([table], first, PostProcess.of({"expression_biases": str(path)})).tuned == ("expression_biases",)
    six = dataclasses.replace(other, expressions=("a", *other.expressions[1:]))
    with pytest.raises(UserError, match="was searched on the expressions"):
        biases_of(str(path), six)
    numbers = [done.biases[name] for name in table.expressions]
    people = process_people([other], PostProcess.of({"expression_biases": numbers}, people=True))
    np.testing.assert_array_equal(people.predictions["expression"], taken.table.predictions["expression"])
    path.write_text(path.read_text().replace(f"{numbers[1]!r}", "1e999", 1))
    with pytest.raises(UserError, match="finite number"):
        biases_of(str(path), other)


def test_numbers_by_name_and_logits():
    frames = make_frames(40)
    table = make_table(frames, 1)
    logits = np.log(table.predictions["expression"]).astype(np.float32)
    table = dataclasses.replace(table, predictions={**table.predictions, "logits_expression": logits})
    by_name = biases_of({"fear": 1.5}, table)
    assert by_name["fear"] == 1.5
    assert sum(by_name.values()) == 1.5
    made = with_biases(table, by_name)
    np.testing.assert_allclose(made.predictions["logits_expression"][:, 3], logits[:, 3] + 1.5, rtol=1e-5)
    assert with_biases(table, {}) is table


@pytest.mark.parametrize("given", [1.0, [float("nan")] * 8, {"fear": True}, ["a"] * 8, "no.json"])
def test_what_is_no_bias_is_refused(given):
    with pytest.raises(UserError, match=r"postprocess\.expression_biases"):
        check_biases(given)
    assert len(PostProcess.problems({"expression_biases": given})) == 1


def test_what_does_not_fit_the_table_or_the_list_is_refused():
    frames = make_frames(40)
    table = make_table(frames, 1)
    with pytest.raises(UserError, match="3 numbers; give 8"):
        biases_of([0, 1, 2], table)
    with pytest.raises(UserError, match="no expression 'joy'"):
        biases_of({"joy": 1}, table)
    only = {key: value for key, value in table.predictions.items() if key != "expression"}
    with pytest.raises(UserError, match="has no expressions"):
        biases_of([0] * 8, dataclasses.replace(table, predictions=only))
    for labels, what in ((-1, "no label of an expression"), (2, "labels of one expression only")):
        constant = dataclasses.replace(frames, expression=np.full(40, labels))
        with pytest.raises(UserError, match=what):
            PostProcess.of({"expression_biases": "grid"}).check_list(constant)
