"""Videos of which no image could be read."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from affect.errors import DataError, UserError
from affect.labels import AFFECTNET_EXPRESSIONS, EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.postprocess.chain import process
from evaluators.postprocess.filling import fill_nulls
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.smoothing import smooth
from evaluators.postprocess.unseen import checked_means, fill_unseen, label_means, unseen_note
from evaluators.submission import write_submission
from evaluators.table import read_table, write_table
from tests.evaluators.fake import make_frames
from tests.evaluators.tables import random_table

SHARES = [0.2, 0.1, 0.05, 0.05, 0.4, 0.1, 0.06, 0.04]
MEANS = {"valence_arousal": [0.25, -0.5], "expression": SHARES, "action_units": [0.6, *[0.3] * 10, 0.0]}


def empty_table(seed=1, *, means=MEANS, video="video1", **options):
    """A table with a video that is null from end to end."""
    table = random_table(seed, **options)
    for values in table.predictions.values():
        values[[name == video for name in table.video]] = np.nan
    return replace(table, metadata={**table.metadata, **({} if means is None else {"label_means": means})})


def rows_of(table, video="video1"):
    return np.array([name == video for name in table.video])


def test_means_are_of_the_valid_labels_of_the_rows_that_are_trained_on():
    frames = make_frames(9)
    frames.valence_arousal[:] = [[0.5, -1], [np.nan] * 2, *[[0.1, 0.2]] * 7]
    frames.expression[:] = [3, -1, 3, 1, 0, 0, 0, 0, 0]
    frames.action_units[:] = np.nan
    frames.action_units[:4, 0] = [1, 0, np.nan, 1]
    means = label_means(frames, np.array([0, 1, 2, 3]), EXPRESSIONS)
    assert means["valence_arousal"] == pytest.approx([0.7 / 3, -0.2])
    assert means["expression"] == pytest.approx([0, 1 / 3, 0, 2 / 3, 0, 0, 0, 0])
    assert means["action_units"] == pytest.approx([2 / 3, *[0] * 11])
    frames.expression[:] = -1
    assert label_means(frames, np.arange(4), EXPRESSIONS)["expression"] == [1 / 8] * 8
    assert checked_means(means, EXPRESSIONS) == means


def test_its_rows_get_the_means_and_others_keep_their_values():
    table = empty_table()
    filled, rows = fill_unseen(table), rows_of(table)
    for task, values in filled.predictions.items():
        np.testing.assert_array_equal(values[~rows], table.predictions[task][~rows])
        np.testing.assert_array_equal(values[rows], np.tile(np.float32(MEANS[task]), (rows.sum(), 1)))
    assert set(filled.predictions["expression"][rows].argmax(axis=1)) == {EXPRESSIONS.index("happiness")}
    said = {"videos": ["video1"], "rows": rows.sum(), "filled_with": "the means of the training labels"}
    assert filled.metadata["unseen"] == said
    assert unseen_note(filled).startswith("no image of video1 could be read: all ")
    assert fill_unseen(filled) is filled
    assert unseen_note(table) == ""


def test_logits_are_those_of_the_means():
    table = random_table(2)
    table.predictions["logits_expression"] = np.log(table.predictions["expression"])
    table.predictions["logits_action_units"] = table.predictions["action_units"] * 3
    for values in table.predictions.values():
        values[rows_of(table)] = np.nan
    filled = fill_unseen(replace(table, metadata={"label_means": MEANS}))
    row = np.flatnonzero(rows_of(table))[0]
    logits = filled.predictions["logits_expression"][row]
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), SHARES, rtol=1e-5)
    units = filled.predictions["logits_action_units"][row]
    np.testing.assert_allclose(1 / (1 + np.exp(-units)), MEANS["action_units"], atol=2e-6)


@pytest.mark.parametrize("kind", [None, "box", "median", "gaussian"])
def test_filled_smoothed_submitted_and_said(tmp_path, caplog, kind):
    table = empty_table()
    rows, frames = rows_of(table), make_frames(len(table))
    frames = replace(frames, video=table.video, frame=table.frame, files={})
    settings = PostProcess.of({"missing": "linear", **({} if kind is None else {"smoothing": kind, "k": 3})})
    done = process([table], frames, settings)
    np.testing.assert_allclose(done.table.predictions["valence_arousal"][rows], [[0.25, -0.5]] * rows.sum(), atol=1e-6)
    assert done.table.metadata["unseen"]["videos"] == ["video1"]
    keep = np.flatnonzero(~rows)
    alone = replace(
        table, video=[table.video[row] for row in keep], frame=table.frame[keep],
        predictions={task: values[keep] for task, values in table.predictions.items()}, metadata={},
    )  # fmt: skip
    expected = smooth(alone, 3, kind, missing="linear") if kind else fill_nulls(alone, "linear")[0]
    for task, values in expected.predictions.items():
        np.testing.assert_allclose(done.table.predictions[task][keep], values, atol=1e-6)
    # a submission fills a table as it is, too
    with caplog.at_level(logging.WARNING):
        write_submission(table, tmp_path / "out.txt")
    assert "no image of video1 could be read" in caplog.text
    lines = (tmp_path / "out.txt").read_text().splitlines()[1:]
    for row in np.flatnonzero(rows):
        assert lines[row].split(",")[1:] == ["0.2500", "-0.5000", "4", "1", *["0"] * 11]
    path = tmp_path / "filled.parquet"
    write_table(done.table, path)
    assert unseen_note(read_table(path)) == unseen_note(done.table)


def test_what_stands_in_is_named_before_and_after_and_can_be_given():
    table, frames = empty_table(means=None), make_frames(40)
    frames = replace(frames, video=table.video, frame=table.frame, files={})
    settings = PostProcess.of({"missing": "linear"})
    with pytest.raises(DataError, match=r"1\.parquet: video 'video1' has no prediction at all \(row ") as late:
        process([table], frames, settings)
    image = ~rows_of(table)
    with pytest.raises(DataError, match="the frame list: video 'video1' has no image at all, ") as early:
        settings.check_unseen(table, image, {}, table.tasks, table.expressions)
    for error in (late, early):
        (override,) = re.findall(r"'(postprocess\.fallback=.*)'", str(error.value))
    assert override == "postprocess.fallback={valence_arousal: 0, expression: neutral, action_units: 0}"
    given = PostProcess.of({"missing": "linear", "fallback": OverridesParser.create().parse_override(override).value()})
    given.check_unseen(table, image, {}, table.tasks, table.expressions)
    done = process([table], frames, given)
    row = np.flatnonzero(~image)[0]
    assert done.table.predictions["expression"][row].tolist() == [1, *[0] * 7]
    assert not done.table.predictions["action_units"][row].any()
    assert done.table.metadata["unseen"]["filled_with"] == "postprocess.fallback"
    # what is given goes before what is known
    some = PostProcess.of({"missing": "linear", "fallback": {"valence_arousal": [0.5, 0.75]}})
    done = process([empty_table()], frames, some)
    assert done.table.predictions["valence_arousal"][row].tolist() == [0.5, 0.75]
    assert done.table.predictions["expression"][row].tolist() == pytest.approx(SHARES)
    # where nothing is filled, nothing need be known
    PostProcess().check_unseen(table, image, {}, table.tasks, table.expressions)
    with pytest.raises(DataError, match="has no image at all"):
        PostProcess().check_unseen(table, image, {}, table.tasks, table.expressions, submitted=True)
    settings.check_unseen(table, np.ones(len(table), bool), {}, table.tasks, table.expressions)


def test_the_means_of_a_blend_are_those_of_the_tables_that_know_some():
    other = {**MEANS, "valence_arousal": [0.75, 0.0]}
    tables = [empty_table(), empty_table(means=other), empty_table(means=None)]
    frames = replace(make_frames(40), video=tables[0].video, frame=tables[0].frame, files={})
    done = process(tables, frames, PostProcess.of({"missing": "linear"}, tables=3))
    row = np.flatnonzero(rows_of(tables[0]))[0]
    assert done.table.predictions["valence_arousal"][row].tolist() == pytest.approx([0.5, -0.25])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0, "it is of type int, not values by task"),
        ({"valence": 0}, "there is no task 'valence'"),
        ({"valence_arousal": [0, 0, 0]}, "not 2 numbers"),
        ({"valence_arousal": 2}, "no numbers from -1 to 1"),
        ({"action_units": -0.5}, "no numbers from 0 to 1"),
        ({"action_units": [True] * 12}, "no numbers from 0 to 1"),
        ({"expression": 0}, "not 8 numbers"),
        ({"expression": "calm"}, "expression is calm"),
        ({"expression": [float("nan")] * 8}, "no numbers from 0 to 1"),
    ],
)
def test_values_that_cannot_be(given, message):
    table = empty_table()
    with pytest.raises(UserError, match=rf"^postprocess\.fallback: .*{message}.*'postprocess\.fallback={{"):
        PostProcess(fallback=given).check_unseen(table, table.null, {}, table.tasks, table.expressions)
    assert "postprocess.fallback: " in PostProcess.problems({"fallback": given})[0]
    with pytest.raises(DataError, match=r"1\.parquet: label_means in its metadata is damaged: "):
        fill_unseen(empty_table(means=given))


def test_a_class_of_another_list_is_told_when_the_classes_are_known():
    given, table = {"expression": "contempt"}, empty_table()
    assert PostProcess.problems({"fallback": given}) == []
    with pytest.raises(UserError, match="expression is contempt, not 8 numbers"):
        PostProcess.of({"fallback": given}).check_unseen(table, table.null, {}, table.tasks, table.expressions)


def test_the_example_has_a_class_of_the_list():
    table = empty_table(tasks=("expression",), means=None)
    for expressions, name in ((LSD_EXPRESSIONS, "anger"), (AFFECTNET_EXPRESSIONS, "neutral")):
        columns = {"expression": table.predictions["expression"][:, : len(expressions)]}
        with pytest.raises(DataError, match=rf"postprocess\.fallback={{expression: {name}}}'$"):
            fill_unseen(replace(table, predictions=columns, expressions=expressions))
