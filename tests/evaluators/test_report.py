from __future__ import annotations

import base64
import json
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from affect.labels import EXPRESSIONS, TASKS
from evaluators.chance import chance, majority
from evaluators.figures import training_curves
from evaluators.metrics import MAIN
from evaluators.predictions import PredictionWriter, merge_parts, score_rows, score_table
from evaluators.report import NO_LABELS, format_main, format_table, read_scores, write_report, write_scores
from evaluators.table import read_table
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


def make_run(run, frames):
    rows = len(frames.frame)
    writer = PredictionWriter(run / "predictions")
    predictions = {key: value[: rows - 1] for key, value in make_predictions(frames).items()}
    writer.add(torch.arange(rows - 1), predictions, torch.tensor([rows - 1]))
    writer.finish()
    made = {"experiment": "<emma>", "split": "val"}
    path = merge_parts(run / "predictions", frames, run / "predictions" / "val.parquet", made)
    table = read_table(path)
    records = [{"step": step, "epoch": 0, "train/loss": 1 / (step + 1), "lr-vit": 1e-4} for step in range(50)]
    records += [{"step": 49, "epoch": 0, "val/loss": float("nan"), "val/P_VA": 0.5, "val/F1_AU1": 0.5}]
    lines = [json.dumps(record) for record in records]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 5']))  # the last line was cut off
    (run / "config.yaml").write_text("experiment: <emma>\n")
    return score_table(table, frames), table


def pictures(page):
    """The page's figures by title, each parsed as XML."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)"', page)
    assert len(found) == page.count("<img")
    return {title: ET.fromstring(base64.b64decode(data)) for title, data in found}


def test_the_page_holds_everything_and_needs_nothing(tmp_path):
    frames = make_frames(60)
    scores, table = make_run(tmp_path, frames)
    shown = {"table": table, "frames": frames, "references": {"chance": {"P_MTL": 0.5, "F1_AU1": 0.1}}}
    path = write_report(tmp_path, scores, **shown)
    page = path.read_text()
    assert path == tmp_path / "report.html"
    assert list(pictures(page)) == [
        "Training",
        "F1 per class",
        "Valence and arousal, predicted against labelled",
        "Confusion of expressions",
    ]
    for name, value in scores.items():
        assert f"<th>{name}</th><td>{value:.4f}</td>" in page
    assert "<small>chance 0.5000</small>" in page
    assert "60 frames" in page
    assert "1 without a readable image" in page
    assert "experiment: &lt;emma&gt;" in page
    assert "<emma>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)|@import|url\(|<script', page)
    assert write_report(tmp_path, scores, **shown).read_text() == page


def test_tasks_without_labels_and_missing_files_are_left_out(tmp_path):
    frames = make_frames(60)
    frames.valence_arousal[:] = np.nan
    frames.action_units[:] = np.nan
    scores, table = make_run(tmp_path, frames)
    page = write_report(tmp_path, scores, table=table, frames=frames).read_text()
    assert list(pictures(page)) == ["Training", "F1 per class", "Confusion of expressions"]
    assert "<th>P_MTL</th><td>no labels</td>" in page
    assert list(pictures(write_report(tmp_path, scores).read_text())) == ["Training", "F1 per class"]
    for name in ("metrics.jsonl", "config.yaml"):
        (tmp_path / name).unlink()
        write_report(tmp_path, scores)
    page = write_report(tmp_path, {}).read_text()
    assert "No scores yet" in page
    assert not pictures(page)


def test_broken_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        write_report(tmp_path / "nowhere", {})
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not JSON"):
        write_report(tmp_path, {})


def test_the_score_curve_is_drawn_only_where_p_mtl_is_not():
    def drawn(p_mtl):
        svg = training_curves([{"step": step, "val/P_MTL": p_mtl, "val/score": 0.4} for step in range(3)])
        return re.findall(r"<!-- (val/\w+) -->", svg)  # how matplotlib marks text that it draws as paths

    assert drawn(0.4) == ["val/P_MTL"]
    assert drawn(None) == ["val/score"]
    assert training_curves([{"step": 0, "epoch": 0}]) is None
