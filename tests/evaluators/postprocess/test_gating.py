from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import UserError
from affect.labels import EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.curve import curve
from evaluators.postprocess.blending import blend, search_weights
from evaluators.postprocess.chain import process
from evaluators.postprocess.filling import fill_nulls
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.smoothing import smooth
from evaluators.predictions import score_table
from evaluators.table import read_table, write_table
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table
from tests.evaluators.tables import random_table

SEEDS = st.integers(0, 2**32 - 1)
OTHER = 7


def family(seed, count, nulls=0.2):
    """Tables of one list with predictions and null rows of their own; the last has raw logits."""
    base = random_table(seed, rows=30, duplicates=False, nulls=0)
    random = np.random.default_rng(seed)
    tables = []
    for index in range(count):
        logits = random.normal(0, 3, (30, 8))
        units = random.random((30, 12))
        values = {
            "valence_arousal": random.uniform(-1, 1, (30, 2)),
            "expression": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
            "action_units": units,
        }
        if index == count - 1:
            values["logits_expression"] = logits
        null = random.random(30) < nulls
        predictions = {key: np.where(null[:, None], np.nan, value).astype(np.float32) for key, value in values.items()}
        tables.append(dataclasses.replace(base, predictions=predictions, source=f"{index}.parquet"))
    return tables


def slow_raw(tables, weights, gate):
    """Sums of raw logits and probabilities, row by row; None for a null row."""
    rows = []
    for row in range(len(tables[0])):
        entered = [
            [float(value) for value in table.predictions.get("logits_expression", table.predictions["expression"])[row]]
            for table in tables
        ]
        head = tables[0].predictions["expression"][row].tolist()
        if gate and not math.isnan(head[0]) and max(range(8), key=head.__getitem__) == OTHER:
            rows.append(entered[0])
            continue
        there = [(w, of) for w, of in zip(weights, entered, strict=True) if w > 0 and not math.isnan(of[0])]
        if not there:
            rows.append(None)
            continue
        total = sum(w for w, _ in there)
        sums = [sum(w * of[column] for w, of in there) / total for column in range(8)]
        if gate == "other_seven":
            sums[OTHER] = min(sums)
        rows.append(sums)
    return rows


def slow_gate(tables, weights, gate, space):
    """Rows of a gated blend of probabilities or logits, from the ungated blend of each row."""
    ungated = blend(tables, weights, space=space).predictions["expression"].astype(np.float64)
    rows = []
    for row, values in enumerate(ungated.tolist()):
        head = tables[0].predictions["expression"][row].tolist()
        if not any(map(math.isnan, head)) and head.index(max(head)) == OTHER:
            rows.append(head)
        elif gate == "other" or any(map(math.isnan, values)):
            rows.append(values)
        else:
            total = sum(values[:OTHER])
            rows.append([value / total if total else 0.0 for value in values[:OTHER]] + [0.0])
    return rows


WEIGHTS = st.lists(st.sampled_from([0.0, 0.1, 1.0, 3.0]), min_size=2, max_size=3).filter(any)


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    weights=WEIGHTS,
    gate=st.sampled_from(["other", "other_seven"]),
    space=st.sampled_from(["probabilities", "logits"]),
)
def test_a_gate_against_one_row_at_a_time(seed, weights, gate, space):
    tables = family(seed, len(weights))
    gated = blend(tables, weights, space=space, gate=gate)
    np.testing.assert_allclose(
        gated.predictions["expression"], slow_gate(tables, weights, gate, space), rtol=1e-5, atol=1e-7
    )
    plain = blend(tables, weights, space=space)
    for task in ("valence_arousal", "action_units"):
        np.testing.assert_array_equal(gated.predictions[task], plain.predictions[task])
    assert set(gated.predictions) == {"valence_arousal", "expression", "action_units"}
    assert gated.metadata["gate"] == gate
    assert "confidence" not in gated.metadata


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS, gate=st.sampled_from([None, "other", "other_seven"]), swap=st.booleans())
def test_raw_sums_against_one_row_at_a_time(seed, weights, gate, swap):
    tables = family(seed, len(weights))
    tables = tables[::-1] if swap else tables
    blended = blend(tables, weights, space="raw", gate=gate)
    sums = slow_raw(tables, weights, gate)
    known = [of for of in sums if of is not None]
    low, high = min(map(min, known)), max(map(max, known))
    expected = [
        [(value - low) / (high - low) for value in of] if of is not None else [math.nan] * 8 for of in sums
    ]  # fmt: skip
    values = blended.predictions["expression"]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    rows = [row for row, of in enumerate(sums) if of is not None]
    assert values[rows].argmax(axis=1).tolist() == [of.index(max(of)) for of in known]
    assert (values[rows].min(), values[rows].max()) == (0, 1)
    plain = blend(tables, weights)
    for task in ("valence_arousal", "action_units"):
        np.testing.assert_array_equal(blended.predictions[task], plain.predictions[task])
    assert blended.metadata["mean_in"] == "raw"
    assert "logits_expression" not in blended.predictions


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, k=st.sampled_from([1, 3, 40]), kind=st.sampled_from(["box", "median"]))
def test_smoothed_raw_sums_have_the_classes_of_the_smoothed_sums(seed, k, kind):
    tables = family(seed, 2, nulls=0)
    sums = np.array(slow_raw(tables, [0.6, 0.4], "other"))
    smoothed = smooth(blend(tables, [0.6, 0.4], space="raw", gate="other"), k, kind).predictions["expression"]
    video, frame = np.array(tables[0].video), tables[0].frame
    for row in range(len(frame)):
        near = (video == video[row]) & (abs(frame - frame[row]) <= k)
        window = (np.mean if kind == "box" else np.median)(sums[near], axis=0)
        assert smoothed[row].argmax() == window.argmax()


def test_raw_of_rows_that_say_nothing_and_what_is_written(tmp_path):
    tables = family(0, 2, nulls=0)
    for table in tables:
        for key in ("expression", "logits_expression"):
            if key in table.predictions:
                table.predictions[key][:] = 0.25
    flat = blend(tables, space="raw")
    np.testing.assert_array_equal(flat.predictions["expression"], 0)
    for table in tables:
        for values in table.predictions.values():
            values[:] = np.nan
    assert blend(tables, space="raw").null.all()
    write_table(blend(family(1, 2), [0.9, 0.1], space="raw", gate="other"), tmp_path / "raw.parquet")
    again = read_table(tmp_path / "raw.parquet")
    assert (again.metadata["gate"], again.metadata["mean_in"]) == ("other", "raw")


def test_the_rows_of_other_seven_that_have_nothing_left():
    head, scores = family(3, 2, nulls=0)
    head.predictions["expression"][:] = np.eye(8, dtype=np.float32)[0]
    scores.predictions["expression"][:5] = np.eye(8, dtype=np.float32)[OTHER]
    gated = blend([head, scores], [0, 1], gate="other_seven").predictions["expression"]
    np.testing.assert_array_equal(gated[:5], 0)
    np.testing.assert_allclose(gated[5:].sum(axis=1), 1, rtol=1e-6)
    still = blend([head, scores], [0, 1], gate="other").predictions["expression"]
    np.testing.assert_array_equal(still, scores.predictions["expression"])


def in_time(table, options):
    if options.get("smoothing"):
        return smooth(table, 4, options["smoothing"], missing=options.get("missing"))
    return fill_nulls(table, options["missing"])[0] if options.get("missing") else table


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    confidence=st.sampled_from([0, 0.3, 0.7, 1]),
    smoothing=st.sampled_from([None, "box", "median"]),
    missing=st.sampled_from([None, "linear"]),
)
def test_confidence_against_one_row_at_a_time(seed, confidence, smoothing, missing):
    tables = family(seed, 2)
    for table in tables:  # a video without any prediction could not be filled
        for number in range(3):
            row = table.video.index(f"video{number}")
            for key, values in table.predictions.items():
                values[row] = 0 if key == "valence_arousal" else 1 / 8
    options = {
        "smoothing": smoothing, "missing": missing, "gate": "confidence", "confidence": confidence,
        "weights": [0.3, 0.7],
    } | ({"k": 4} if smoothing else {})  # fmt: skip
    frames = dataclasses.replace(make_frames(30), video=tables[0].video, frame=tables[0].frame, files={})
    done = process(tables, frames, PostProcess.of(options, tables=2))
    first, second = (in_time(table, options).predictions["expression"].tolist() for table in tables)
    for row, values in enumerate(done.table.predictions["expression"]):
        head, scores = first[row], second[row]
        best = max(scores[:OTHER])
        # both null, or one, or neither: a comparison with NaN is false
        if math.isnan(head[0]) or best > np.float32(confidence):
            np.testing.assert_array_equal(values[:OTHER], np.float32(scores[:OTHER]))
            assert math.isnan(values[OTHER]) if math.isnan(scores[0]) else values[OTHER] == 0
        else:
            np.testing.assert_array_equal(values, np.float32(head))
    blended = in_time(blend(tables, [0.3, 0.7]), options)
    for task in ("valence_arousal", "action_units"):
        np.testing.assert_array_equal(done.table.predictions[task], blended.predictions[task])
    assert done.table.metadata["gate"] == "confidence"
    assert done.table.metadata["confidence"] == confidence
    assert set(done.table.metadata["weights"]) == {"valence_arousal", "action_units"}
    if smoothing is missing is None:
        assert done.table is done.blended


def test_what_only_reaches_the_confidence_is_not_taken():
    head, scores = family(5, 2, nulls=0)
    scores.predictions["expression"][:] = [0.25, 0, 0.5, 0, 0, 0, 0, 0.25]
    gated = blend([head, scores], gate="confidence", confidence=0.5)
    np.testing.assert_array_equal(gated.predictions["expression"], head.predictions["expression"])
    gated = blend([head, scores], gate="confidence", confidence=0.49)
    np.testing.assert_array_equal(gated.predictions["expression"], [[0.25, 0, 0.5, 0, 0, 0, 0, 0]] * 30)


@pytest.mark.parametrize(
    ("gate", "space"),
    [("other", "probabilities"), ("other", "raw"), ("other_seven", "logits"), ("confidence", "probabilities")],
)
def test_searched_weights_are_the_best_of_what_passes_the_gate(gate, space):
    frames = make_frames(150)
    tables = [make_table(frames, seed, nulls=[seed]) for seed in (1, 2)]
    with np.errstate(divide="ignore"):
        tables[1].predictions["logits_expression"] = 5 * np.log(tables[1].predictions["expression"])
    found = search_weights(tables, frames, space=space, gate=gate)
    names = {"valence_arousal": "P_VA", "expression": "P_EXPR", "action_units": "P_AU"}
    if gate == "confidence":
        assert "expression" not in found
        del names["expression"]
    for task, name in names.items():
        scores = {
            step: score_table(blend(tables, [step, 10 - step], space=space, gate=gate), frames)[name]
            for step in range(11)
        }  # fmt: skip
        assert scores[round(10 * found[task][0])] == max(scores.values())


def test_the_published_system_end_to_end(tmp_path):
    """EmotiEffNet's: a head, with a tenth of the pre-trained logits where it does not say Other, then box means."""
    frames = make_frames(120)
    head, scores = (make_table(frames, seed) for seed in (1, 2))
    scores.predictions["logits_expression"] = (np.log(scores.predictions["expression"]) + 3).astype(np.float32)
    node = {"gate": "other", "blend": "raw", "weights": [0.9, 0.1], "smoothing": "box", "k": 12}
    done = process([head, scores], frames, PostProcess.of(node, tables=2))
    sums = np.array(slow_raw([head, scores], [0.9, 0.1], "other"))
    ungated = np.array(slow_raw([head, scores], [0.9, 0.1], None))
    assert (sums != ungated).any()
    video = np.array(frames.video)
    classes = [
        sums[(video == video[row]) & (abs(frames.frame - frames.frame[row]) <= 12)].mean(axis=0).argmax()
        for row in range(120)
    ]
    assert done.table.predictions["expression"].argmax(axis=1).tolist() == classes
    np.testing.assert_array_equal(
        done.table.predictions["action_units"], smooth(blend([head, scores], [9, 1]), 12).predictions["action_units"]
    )
    write_table(done.table, tmp_path / "table.parquet")
    metadata = read_table(tmp_path / "table.parquet").metadata
    assert (metadata["gate"], metadata["smoothed"]["smoothing"]) == ("other", "box")


def test_searched_weights_are_stored_without_those_that_confidence_has_not(tmp_path):
    frames = make_frames(80)
    tables = [make_table(frames, seed) for seed in (1, 2)]
    node = {"gate": "confidence", "confidence": 0.6, "smoothing": "box", "k": 9}
    searched = process(tables, frames, PostProcess.of({**node, "weights": "search"}, tables=2))
    path = tmp_path / "postprocess.json"
    searched.store(path, "val", frames)
    applied = process(tables, frames, PostProcess.of({**node, "weights": str(path)}, tables=2))
    for task, values in searched.table.predictions.items():
        np.testing.assert_array_equal(applied.table.predictions[task], values)
    with pytest.raises(UserError, match="no weights of expression"):
        process(tables, frames, PostProcess.of({"weights": str(path)}, tables=2))


@pytest.mark.parametrize("missing", [None, "linear"])
def test_the_curve_of_confidence_is_that_of_separate_runs(missing):
    frames = make_frames(90)
    tables = [make_table(frames, seed, nulls=[seed, 40]) for seed in (1, 2)]
    settings = PostProcess(gate="confidence", confidence=0.5, missing=missing)
    blended = process(tables, frames, settings)
    scores = curve(blended, frames, [1, 30], settings)["all"]
    for k, of_k in zip([1, 30], scores, strict=True):
        node = {"gate": "confidence", "confidence": 0.5, "smoothing": "box", "k": k, "missing": missing}
        done = process(tables, frames, PostProcess.of(node, tables=2))
        assert of_k == score_table(done.table, frames)
    ungated = curve(blended, frames, [1, 30], PostProcess(missing=missing))["all"]
    assert [of_k["P_EXPR"] for of_k in ungated] != [of_k["P_EXPR"] for of_k in scores]


def test_each_table_is_filled_although_the_blend_has_no_null_row():
    frames = make_frames(40)
    tables = [make_table(frames, seed, nulls=[10 * seed]) for seed in (1, 2)]
    done = process(tables, frames, PostProcess.of({"gate": "confidence", "missing": "linear"}, tables=2))
    assert not done.blended.null.any()
    filled = fill_nulls(tables[0], "linear")[0].predictions["expression"][10]
    tables[1].predictions["expression"][10] = 1 / 8  # not confident
    done = process(tables, frames, PostProcess.of({"gate": "confidence", "missing": "linear"}, tables=2))
    np.testing.assert_array_equal(done.table.predictions["expression"][10], filled)


@pytest.mark.parametrize(
    ("node", "tables", "message"),
    [
        ({"gate": "others"}, 2, "gate is 'others'; there are null, other, other_seven, confidence"),
        ({"gate": "other"}, 1, "gate=other is for two tables or more, not 1"),
        ({"gate": "confidence"}, 3, "gate=confidence is for two tables, not 3"),
        ({"gate": "confidence"}, 1, "gate=confidence is for two tables, not 1"),
        ({"gate": "other", "confidence": 0.5}, 2, "confidence belongs to one gate"),
        ({"confidence": 0.5}, 2, "confidence belongs to one gate"),
        ({"gate": "confidence", "confidence": 1.5}, 2, "confidence is 1.5; give a probability"),
        ({"gate": "confidence", "confidence": math.nan}, 2, "confidence is nan"),
        ({"gate": "confidence", "confidence": True}, 2, "confidence is True"),
        ({"gate": "confidence", "confidence": "high"}, 2, "confidence is 'high'"),
        ({"gate": "confidence", "blend": "raw"}, 2, "raw concerns expressions, which gate=confidence does not blend"),
        ({"blend": "raw"}, 1, "blend=raw is for several tables"),
    ],
)
def test_refused_settings(node, tables, message):
    with pytest.raises(UserError, match=message):
        PostProcess.of(node, tables=tables)


def test_refused_tables():
    frames = make_frames(20)
    tables = [make_table(frames, seed) for seed in (1, 2)]
    units = [dataclasses.replace(of, predictions={"action_units": of.predictions["action_units"]}) for of in tables]
    six = [
        dataclasses.replace(
            of, expressions=LSD_EXPRESSIONS, predictions={"expression": of.predictions["expression"][:, 1:7]}
        )
        for of in tables
    ]
    for gate in ("other", "other_seven", "confidence"):
        with pytest.raises(UserError, match=f"gate={gate} is for the eight expressions of ABAW, .*1.parquet has none"):
            blend(units, gate=gate)
        with pytest.raises(UserError, match=f"1.parquet has {', '.join(LSD_EXPRESSIONS)}"):
            search_weights(six, frames, gate=gate)
    with pytest.raises(UserError, match="none of the tables has logits of expressions"):
        blend(tables, space="raw")
    only = [dataclasses.replace(of, predictions={"expression": of.predictions["expression"]}) for of in tables]
    assert blend(only, gate="confidence").expressions == EXPRESSIONS
    with pytest.raises(UserError, match="weights: gate=confidence has none of expressions"):
        blend(only, [1, 2], gate="confidence")
