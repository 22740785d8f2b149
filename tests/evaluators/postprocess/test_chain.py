from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from affect.errors import DataError, UserError
from affect.labels import AU_NAMES
from evaluators.curve import curve, write_curve
from evaluators.postprocess.chain import process
from evaluators.postprocess.coverage import fit_coverage, with_bounds
from evaluators.postprocess.exponential import PUBLISHED_ALPHA, smooth_exponentially
from evaluators.postprocess.filling import fill_nulls
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.settings import write_stored
from evaluators.postprocess.smoothing import smooth
from evaluators.postprocess.temperature import search_temperatures, with_temperatures
from evaluators.postprocess.thresholds import search_thresholds
from evaluators.predictions import score_table
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table


def tables_of(frames, count=2, nulls=(3, 40)):
    return [make_table(frames, seed, nulls=nulls) for seed in range(1, count + 1)]


def test_the_defaults_change_nothing():
    frames = make_frames(60)
    (table,) = tables_of(frames, 1)
    done = process([table], frames, PostProcess.of({}))
    assert done.table is done.blended is table
    assert (done.au_thresholds, done.found, done.tuned) == ((0.5,) * 12, {}, ())


def test_blend_then_fill_and_smooth_then_thresholds():
    frames = make_frames(120)
    tables = tables_of(frames)
    settings = PostProcess.of(
        {"weights": "search", "missing": "linear", "smoothing": "box", "k": 3, "au_thresholds": "exact"}, tables=2
    )
    done = process(tables, frames, settings)
    assert set(done.found) == set(done.tuned) == {"weights", "au_thresholds"}
    np.testing.assert_array_equal(np.flatnonzero(done.blended.null), [3, 40])
    by_hand = smooth(done.blended, 3, missing="linear")
    assert not done.table.null.any()
    for task, values in by_hand.predictions.items():
        np.testing.assert_array_equal(done.table.predictions[task], values)
    # the thresholds are the best of what is scored, so no others reach more
    thresholds, f1 = search_thresholds("exact", by_hand.predictions["action_units"], frames.action_units)
    assert done.au_thresholds == tuple(thresholds)
    scores = score_table(done.table, frames, au_thresholds=done.au_thresholds)
    assert scores["P_AU"] == pytest.approx(f1.mean(), abs=1e-12)
    filled = process(tables[:1], frames, PostProcess.of({"missing": "reversed", "au_thresholds": "grid"}))
    np.testing.assert_array_equal(
        filled.table.predictions["expression"], fill_nulls(tables[0], "reversed")[0].predictions["expression"]
    )
    assert filled.au_thresholds == tuple(
        search_thresholds("grid", filled.table.predictions["action_units"], frames.action_units)[0].tolist()
    )


@pytest.mark.parametrize("missing", [None, "linear"])
def test_exponential_smoothing_has_its_place_in_the_chain(missing):
    frames = make_frames(120)
    (table,) = tables_of(frames, 1)
    settings = PostProcess.of({"smoothing": "exponential", "alpha": {**PUBLISHED_ALPHA, "expression": 3}, "max_gap": 7,
                               "missing": missing})  # fmt: skip
    done = process([table], frames, settings)
    by_hand = smooth_exponentially(
        table, {"valence_arousal": 9, "expression": 3, "action_units": 7}, max_gap=7, missing=missing
    )
    for task, values in by_hand.predictions.items():
        np.testing.assert_array_equal(done.table.predictions[task], values)
        assert (done.table.predictions[task] != table.predictions[task]).any()


def test_what_is_searched_on_one_split_is_applied_to_another(tmp_path):
    first, second = make_frames(100, seed=0), make_frames(80, seed=1)
    searched = process(
        tables_of(first), first, PostProcess.of({"weights": "search", "au_thresholds": "exact"}, tables=2)
    )
    path = tmp_path / "postprocess.json"
    searched.store(path, "val", first)
    expressions = list(searched.table.expressions)
    on = {"split": "val", "rows": 100, "label_files": first.files, "expressions": expressions}
    assert json.loads(path.read_text())["searched_on"] == on
    stored = PostProcess.of({"weights": str(path), "au_thresholds": str(path)}, tables=2)
    applied = process(tables_of(second), second, stored)
    assert applied.au_thresholds == searched.au_thresholds
    assert applied.blended.metadata.get("weights") == searched.blended.metadata.get("weights")
    assert applied.tuned == ()
    # on the labels that they were searched on, they are tuned, whichever run did it
    again = process(tables_of(first), first, stored)
    assert again.tuned == ("weights", "au_thresholds")
    with pytest.raises(UserError, match="2 weights of 3 tables"):
        PostProcess.of({"weights": str(path)}, tables=3)


def test_temperature_and_coverage_have_their_places_in_the_chain(tmp_path):
    first, second = make_frames(200, videos=12), make_frames(150, videos=12, seed=1)
    (table,) = tables_of(first, 1)
    node = {"smoothing": "box", "k": 1, "temperature": "search", "coverage": 0.8, "au_thresholds": "exact"}
    done = process([table], first, PostProcess.of(node))
    smoothed = smooth(table, 1)
    temperatures = search_temperatures(smoothed, first)
    tempered = with_temperatures(smoothed, temperatures)
    rule = fit_coverage(tempered, first, 0.8)
    assert done.temperatures == temperatures
    assert done.found["coverage"] == rule
    np.testing.assert_array_equal(done.table.predictions["expression"], tempered.predictions["expression"])
    np.testing.assert_array_equal(done.table.bounds.classes, with_bounds(tempered, rule).bounds.classes)
    thresholds = search_thresholds("exact", tempered.predictions["action_units"], first.action_units)[0]
    assert done.au_thresholds == tuple(thresholds.tolist())
    assert done.tuned == ("temperature", "coverage", "au_thresholds")
    path = tmp_path / "postprocess.json"
    done.store(path, "val", first)
    stored = PostProcess.of({**node, **dict.fromkeys(("temperature", "coverage", "au_thresholds"), str(path))})
    (other,) = tables_of(second, 1)
    applied = process([other], second, stored)
    assert (applied.temperatures, applied.au_thresholds) == (temperatures, done.au_thresholds)
    assert applied.table.metadata["coverage"] == rule
    assert (applied.found, applied.tuned) == ({}, ())
    again = process([table], first, stored)
    assert again.tuned == ("temperature", "coverage", "au_thresholds")
    np.testing.assert_array_equal(again.table.bounds.classes, done.table.bounds.classes)
    # bounds belong to what they were made of: what is processed anew has none
    assert process([done.table], first, PostProcess.of({"smoothing": "box", "k": 1})).table.bounds is None
    # the curve's thresholds are of probabilities with these temperatures, too
    (at_1,) = curve(done, first, [1], PostProcess.of(node))["all"]
    assert at_1 == pytest.approx(score_table(done.table, first, au_thresholds=done.au_thresholds), abs=1e-6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"weights"', '"{half', "not JSON"),
        ("0.5", "NaN", "NaN is no number"),
        ("0.25", "0.25\xff", "not JSON"),
        ("{", '{"weights": {}, ', "weights is given twice"),
        ("{", '{"wieghts": 1, ', "there is no wieghts in such a file"),
        ("0.25", "1e400", "weights of expression are"),
        ("0.25", "1" + "0" * 400, "weights of expression are"),
        ("0.25", '"0.25"', "weights of expression are"),
        ("[", "{", "not JSON"),
        ("expression", "expresion", "there is no task 'expresion'"),
        ("0.75", "0.75, 0.1", "3 weights of 2 tables"),
        ("0.5", "true", "au_thresholds are"),
        ("0.5", '"high"', "au_thresholds are"),
        ("0.5", "1" + "0" * 400, "au_thresholds are"),
        ("0.5", "1.5", "expected numbers from 0 to 1"),
        ("au26", "au27", "au_thresholds are of .*needed are au1.*au26: search again"),
        ("searched_on", "searched", "there is no searched"),
        ('"label_files"', '"labels"', "label_files has no SHA256"),
        ("abab", "abag", "label_files has no SHA256"),
        ("1.25", "0.001", "temperature is .*expected numbers from 0.01 to 100"),
        ("1.25", "true", "temperature is .*expected numbers from 0.01 to 100"),
        ('{"action_units": 1.25', '{"units": 1.25', "temperature is .*expected numbers for expression or action_units"),
        ('"temperature": {', '"temperature": [], "temperatur": {', "there is no temperatur in such a file"),
        ('"arousal": 0.375', '"arousal": -1', "coverage is .*expected limits >= 0 for valence, arousal, expression"),
        ('"seed": 3', '"seed": 0.5', "coverage has share, seed beside its limits, expected share, and seed, a whole"),
        ('"seed"', '"seeds"', "coverage has share, seeds beside its limits"),
        ('"share": 0.875', '"share": 1.5', "coverage.share is 1.5, expected a number between 0 and 1"),
        ('"expressions": [', '"expressions": [7, ', r"searched_on\.expressions are not the class names"),
    ],
)
def test_a_damaged_stored_file_is_refused_by_its_name(tmp_path, old, new, message):
    path = tmp_path / "postprocess.json"
    found = {
        "weights": {"expression": [0.25, 0.75]}, "au_thresholds": dict.fromkeys(AU_NAMES, 0.5),
        "temperature": {"action_units": 1.25, "expression": 2},
        "coverage": {"share": 0.875, "seed": 3, "arousal": 0.375, "expression": 0.625},
    }  # fmt: skip
    write_stored(path, found, split="val", rows=7, files={"validation.txt": "ab" * 32}, expressions=["a", "b"])
    node = dict.fromkeys(found, str(path))
    assert PostProcess.of(node, tables=2).weights == str(path)
    compact = json.dumps(json.loads(path.read_text()))
    assert old in compact
    path.write_bytes(compact.replace(old, new, 1).encode("latin-1"))
    with pytest.raises(UserError, match=message) as caught:
        PostProcess.of(node, tables=2)
    assert str(path) in str(caught.value)


def test_a_stored_file_is_one_object(tmp_path):
    path = tmp_path / "postprocess.json"
    for text, message in (("[1]", "one JSON object"), ("[" * 100_000, "not JSON")):
        path.write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            PostProcess.of({"au_thresholds": str(path)})
        assert str(path) in str(caught.value)


def test_all_errors_are_told_at_once():
    node = {
        "weights": [1, 2, 3], "blend": "odds", "missing": "cubic", "smoothing": "mean", "k": -1, "sigma": 3,
        "au_thresholds": "best", "temperature": 0, "coverage": 90, "kk": 1,
    }  # fmt: skip
    with pytest.raises(UserError) as caught:
        PostProcess.of(node, tables=2)
    for expected in (
        "postprocess.kk: unknown; there are weights, blend", "3 weights of 2 tables", "blend is 'odds'",
        "missing is 'cubic'; there are null, linear, reversed", "smoothing is 'mean'; there are null, box",
        "temperature is 0; give a number", "coverage is 90; give a share", "k is -1",
        "sigma belongs to the Gaussian", "unknown name 'best'",
    ):  # fmt: skip
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"weights": [1, 2]}, "is for several tables"),
        ({"k": 25}, "k smooths nothing by itself"),
        ({"smoothing": "exponential", "k": 25}, "k smooths nothing by itself"),
        ({"smoothing": "exponential", "sigma": 2}, "sigma belongs to the Gaussian"),
        ({"smoothing": "box", "alpha": 8}, "alpha and max_gap smooth nothing by themselves"),
        ({"max_gap": 8}, "alpha and max_gap smooth nothing by themselves"),
        ({"smoothing": "exponential", "max_gap": 0}, "max_gap is 0; give frames, 1 or more"),
        ({"smoothing": "exponential", "max_gap": 2.5}, "max_gap is 2.5"),
        ({"smoothing": "exponential", "alpha": {"expresion": 3}}, "no task 'expresion'"),
        ({"smoothing": "exponential", "alpha": [7, 9, 9]}, r"alpha is \[7, 9, 9\]"),
        ({"smoothing": "gaussian", "sigma": -1}, "sigma is -1"),
        ({"smoothing": "box", "k": "many"}, "k is 'many'"),
        ({"smoothing": "box", "k": {"expresion": 3}}, "no task 'expresion'"),
        ({"au_thresholds": None}, "postprocess:"),
        ({"au_thresholds": [0.5] * 11}, "11 values"),
    ],
)
def test_refused_settings(node, message):
    with pytest.raises(UserError, match=message):
        PostProcess.of(node)


def test_searches_that_have_nothing_to_search_on():
    frames = make_frames(30)
    (table,) = tables_of(frames, 1, nulls=())
    unlabelled = dataclasses.replace(frames, action_units=np.full((30, 12), np.nan, dtype=np.float32))
    with pytest.raises(UserError, match="no action-unit label to search on"):
        process([table], unlabelled, PostProcess(au_thresholds="exact"))
    pictures = dataclasses.replace(frames, frame=np.arange(30))
    for settings in (PostProcess(smoothing="box"), PostProcess(missing="linear")):
        settings.check_list(frames)
        with pytest.raises(DataError, match="the frame list: lists single pictures, not videos"):
            settings.check_list(pictures)
    PostProcess().check_list(pictures)
    expressions = dataclasses.replace(table, predictions={"expression": table.predictions["expression"]})
    with pytest.raises(UserError, match="has no action units"):
        process([expressions], frames, PostProcess(au_thresholds="grid"))
    with pytest.raises(DataError, match="different lists"):
        process([table], make_frames(31), PostProcess())
    without = dataclasses.replace(frames, action_units=np.where(np.arange(12) == 4, 0, frames.action_units))
    done = process([table], without, PostProcess(au_thresholds="exact"))
    assert done.au_thresholds[4] == 0.5  # no positive label of this unit
    assert score_table(done.table, without, au_thresholds=done.au_thresholds)["F1_AU7"] == 0


@pytest.mark.parametrize("missing", [None, "linear"])
def test_the_curve_is_that_of_separate_smoothings(tmp_path, missing):
    frames = make_frames(90)
    (table,) = tables_of(frames, 1)
    ks = [0, 2, 7, 1000]
    settings = PostProcess(missing=missing, au_thresholds="published")
    scores = curve(process([table], frames, settings), frames, ks, settings)
    for index, k in enumerate(ks):
        smoothed = smooth(table, k, missing=missing)
        assert scores["all"][index] == pytest.approx(
            score_table(smoothed, frames, au_thresholds="published"), rel=0, abs=1e-6
        )
        if missing:
            seen = score_table(smoothed, frames, au_thresholds="published", only=~table.null)
            assert scores["with an image"][index] == pytest.approx(seen, rel=0, abs=1e-6)
            assert seen != scores["all"][index]
    assert len(scores) == (2 if missing else 1)
    if missing is None:
        assert scores["all"][0] == score_table(table, frames, au_thresholds="published")
    lines = write_curve(tmp_path, ks, scores, "box").splitlines()
    best = max(range(4), key=lambda index: scores["all"][index]["P_AU"])
    assert f"curve: P_AU is highest at k={ks[best]}: {scores['all'][best]['P_AU']:.4f}" in lines
    table_of = [line.split(",") for line in (tmp_path / "curve.csv").read_text().splitlines()]
    assert table_of[0][:3] == ["rows", "k", "P_MTL"]
    assert [line[:2] for line in table_of[1:5]] == [["all", str(k)] for k in ks]
    assert float(table_of[3][table_of[0].index("P_VA")]) == scores["all"][2]["P_VA"]
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.csv", "curve.svg"]


def test_a_curve_without_labels_has_no_picture(tmp_path):
    frames = make_frames(20)
    (table,) = tables_of(frames, 1, nulls=())
    bare = dataclasses.replace(
        frames,
        valence_arousal=np.full((20, 2), np.nan, dtype=np.float32),
        expression=np.full(20, -1),
        action_units=np.full((20, 12), np.nan, dtype=np.float32),
    )
    scores = curve(process([table], bare, PostProcess()), bare, [0, 1], PostProcess())
    assert write_curve(tmp_path, [0, 1], scores, "box") == ""
    assert "no labels" in (tmp_path / "curve.csv").read_text()
    assert not (tmp_path / "curve.svg").exists()
