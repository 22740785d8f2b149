from __future__ import annotations

import json

import numpy as np
import pytest

from affect.labels import EXPRESSIONS, TASKS
from evaluators.chance import chance, majority
from evaluators.names import MAIN
from evaluators.predictions import score_rows
from evaluators.report import NO_LABELS, format_main, format_table, read_scores, write_scores
from tests.evaluators.fake import make_frames, make_predictions


def test_lines_read_name_and_value():
    text = format_table(
        {"P_MTL": None, "P_EXPR": 0.43218, "F1_EXPR_neutral": 1.0},
        {"chance": {"P_MTL": None, "P_EXPR": 0.125, "F1_EXPR_neutral": 0.3}},
    )
    assert text.splitlines() == [
        "P_MTL           no labels",
        "P_EXPR          0.4322",
        "F1_EXPR_neutral 1.0000",
        "chance: P_EXPR 0.1250",
    ]


@pytest.mark.parametrize(
    ("tasks", "classes"),
    [(TASKS, False), (["valence_arousal"], False), (["expression"], True), (["action_units"], True)],
)
def test_the_main_scores_fit_on_a_page(tasks, classes):
    frames = make_frames(60)
    predictions = {task: values for task, values in make_predictions(frames).items() if task in tasks}
    arrays = {task: values.numpy() for task, values in predictions.items()}
    scores = score_rows(arrays, frames, np.ones(60, dtype=bool), expressions=EXPRESSIONS)
    references = {"chance": chance(frames), "majority": majority(frames), "with an image": scores}
    lines = format_main(scores, references).splitlines()
    table = [line for line in lines if "scores=all" not in line]
    assert len(table) <= 20
    names = [line.rpartition(" ")[0].strip() for line in table]
    assert [name for name in scores if name in MAIN] == [name for name in names if name in MAIN]
    assert any(name.startswith("F1_") for name in names) is classes
    assert ("20 more in scores.json" in lines[-1]) is (tasks == TASKS)
    assert f"chance: {names[0]}" in names
    assert f"with an image: {names[0]}" in names
    assert not any(name.startswith(("majority", "SCORE")) for name in names)


def test_the_sum_is_shown_where_not_all_tasks_have_labels():
    scores = {"P_MTL": None, "P_VA": 0.5, "P_EXPR": 0.25, "P_AU": None, "SCORE": 0.75}
    assert "SCORE  0.7500" in format_main(scores, {})
    assert "SCORE" not in format_main({"P_EXPR": 0.5, "SCORE": 0.5}, {})


def test_scores_json_keeps_names_order_and_values(tmp_path):
    scores = {"P_MTL": None, "P_EXPR": 1 / 3, "ACC_EXPR": 0.0}
    write_scores(scores, tmp_path / "run" / "scores.json")
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == scores | {"P_MTL": NO_LABELS}
    assert list(read_scores(tmp_path / "run" / "scores.json").items()) == list(scores.items())
