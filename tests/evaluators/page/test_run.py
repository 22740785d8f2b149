"""The page of a run: what stands in it, what is left out, that it asks nobody, and that it stays small and quick."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch

from affect.frames import Frames
from affect.labels import EXPRESSIONS
from evaluators.figures import smoothing_curves, together, training_curves
from evaluators.page.run import Scored, write_report
from evaluators.predictions import PredictionWriter, merge_parts, score_table
from evaluators.report import confusion_of
from evaluators.table import read_table, table_of_rows
from tests.evaluators.fake import make_frames, make_predictions
from tests.evaluators.page.markup import asks_nobody, cards, policy

HALF = (0.5,) * 12
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


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
    records += [{"step": 49, "train/epoch_s": 61.0, "train/images_per_s": speed} for speed in (100.0, 180.0, 150.0)]
    lines = [json.dumps(record) for record in records]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 5']))  # the last line was cut off
    (run / "config.yaml").write_text("experiment: <emma>\n")
    return score_table(table, frames), table


def grey(rows, side):
    for row in rows:
        yield row, np.full((side, side, 3), row % 256, np.uint8)


def figures(page):
    """The page's figures by title, each a list of SVGs that parse as XML."""
    found = {}
    for title, data in re.findall(r'<img alt="([^"]*)" style="[^"]*" src="data:image/svg\+xml;base64,([^"]*)"', page):
        found.setdefault(title, []).append(ET.fromstring(base64.b64decode(data)))
    return found


def words(svg):
    return [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_the_page_holds_what_the_run_has(tmp_path):
    frames = make_frames(60)
    scores, table = make_run(tmp_path, frames)
    further = {"Scores against the smoothing": [together(smoothing_curves([0, 5], [scores, scores], "box"))]}
    scored = Scored(table, frames, HALF, grey, further, ["predicted in 0:01, 60 images/s"])
    given = {"references": {"chance": {"P_MTL": 0.5, "F1_AU1": 0.1}}, "remark": "tuned & scored"}
    path = write_report(tmp_path, scores, scored, **given)
    page = path.read_text()
    assert path == tmp_path / "report.html"
    assert cards(page) == [
        "Faces", "Label and prediction over time", "F1 per class", "Support",
        "Valence and arousal, predicted against labelled", "Confusion of expressions",
        "F1 of action units against the threshold", "Scores against the smoothing", "Training", "All scores",
        "What the scores mean", "Configuration",
    ]  # fmt: skip
    assert {title: len(panels) for title, panels in figures(page).items()} == {
        "F1 per class": 2, "Valence and arousal, predicted against labelled": 2, "Training": 3,
        "F1 of action units against the threshold": 6, "Scores against the smoothing": 1,
    }  # fmt: skip
    for name, value in scores.items():
        assert f'<th scope="row">{name}</th><td>{value:.4f}</td>' in page
    assert "<small>chance 0.5000</small>" in page
    assert "60 frames of 3 videos" in page
    assert "1 without a readable image" in page
    assert "trained for 3:03 in 3 epochs, validation included · 150 images/s in training · predicted in 0:01" in page
    assert "<p class=remark>tuned &amp; scored</p>" in page
    assert "experiment: &lt;emma&gt;" in page
    assert "<emma>" not in page
    for title in ("P_MTL", "P_VA, CCC", "F1", "chance"):
        assert f"<dt>{title}</dt>" in page
    assert "<dt>majority</dt>" not in page
    assert "<dt>P_LSD</dt>" not in page
    assert write_report(tmp_path, scores, scored, **given).read_text() == page
    without = write_report(tmp_path, scores, Scored(table, frames, HALF)).read_text()
    assert "Faces" not in cards(without)
    assert "image/jpeg" not in without


def test_the_page_asks_nobody_and_everything_is_reached_by_keyboard(tmp_path):
    frames = make_frames(60)
    scores, table = make_run(tmp_path, frames)
    page = write_report(tmp_path, scores, Scored(table, frames, HALF, grey)).read_text()
    elements = asks_nobody(page)
    assert sum(attributes.get("class") == "scroll" for _, attributes in elements) >= 6
    assert policy(elements).startswith(
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-"
    )
    for panels in figures(page).values():
        for svg in panels:
            text = re.sub(r'xmlns(:\w+)?="[^"]*"', "", ET.tostring(svg, encoding="unicode"))
            assert not re.search(r"https?:|@import", text)
            assert all(place.startswith(("#", "data:")) for place in re.findall(r'href="([^"]*)"', text))
            assert "prefers-color-scheme:dark" in text
            assert not re.search(r"(fill|stroke): #(2b3440|3b6ea8|d9822b|c9d0d8|ffffff)", text)


@pytest.mark.slow  # now and then Chromium takes two minutes to begin
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_runs_the_script_and_nothing_else(tmp_path):
    bad = "</script><script>document.title='hurt'</script><img src=x onerror=\"document.title='hurt'\">"
    frames = make_frames(60)
    frames = Frames([f"{name}{bad}" for name in frames.video], *(getattr(frames, name) for name in (
        "frame", "image", "valence_arousal", "expression", "action_units", "files")))  # fmt: skip
    scores, table = make_run(tmp_path, frames)
    path = write_report(tmp_path, scores, Scored(table, frames, HALF, grey))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    done = subprocess.run(
        [*command, f"--user-data-dir={tmp_path}/browser", "--virtual-time-budget=3000", path.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert done.stdout.count("<option") == 3
    assert re.search(r'<canvas id="curves"[^>]* height="\d{3}"', done.stdout)  # as tall as what is drawn
    assert "<title>hurt" not in done.stdout
    assert '<img src="x"' not in done.stdout


def test_confusion_and_support_are_those_of_the_labels(tmp_path):
    frames = make_frames(80)
    scores, table = make_run(tmp_path, frames)
    page = write_report(tmp_path, scores, Scored(table, frames, HALF)).read_text()
    confusion = confusion_of(table, frames)
    content = re.search(r"<table class=confusion>(.*?)</table>", page, re.DOTALL)[1]
    cells = re.findall(r'<td style="--share:([\d.]+)">(\d+)%<small>([\d,]+)</small>', content)
    assert [int(count) for *_, count in cells] == confusion.ravel().tolist()
    shares = confusion / confusion.sum(axis=1, keepdims=True)
    np.testing.assert_allclose([int(share) / 100 for _, share, _ in cells], shares.ravel(), atol=0.00501)
    np.testing.assert_allclose([float(colour) for colour, *_ in cells], 0.75 * shares.ravel(), atol=0.001)
    keep = ~table.null
    for number, name in enumerate(EXPRESSIONS):
        has = keep & (frames.expression == number)
        videos = {frames.video[row] for row in np.flatnonzero(has)}
        said = (table.predictions["expression"].argmax(axis=1) == number)[keep & (frames.expression >= 0)].mean()
        row = re.search(
            rf'<th scope="row">{name}</th><td>(\d+)</td><td>(\d+)</td><td>([\d.]+)%</td><td>([\d.]+)%', page
        )
        assert [int(row[1]), int(row[2])] == [has.sum(), len(videos)]
        assert float(row[3]) == pytest.approx(100 * has.sum() / confusion.sum(), abs=0.051)
        assert float(row[4]) == pytest.approx(100 * said, abs=0.051)
    unit = re.search(r'<th scope="row">AU12</th><td>(\d+)</td><td>\d+</td><td>([\d.]+)%</td><td>([\d.]+)%', page)
    labels = frames.action_units[keep, 6]
    known = ~np.isnan(labels)
    assert int(unit[1]) == (labels == 1).sum()
    assert float(unit[2]) == pytest.approx(100 * labels[known].mean(), abs=0.051)
    said = table.predictions["action_units"][keep, 6][known] >= 0.5
    assert float(unit[3]) == pytest.approx(100 * said.mean(), abs=0.051)


def test_tasks_without_labels_and_missing_files_are_left_out(tmp_path):
    frames = make_frames(60)
    frames.valence_arousal[:] = np.nan
    frames.action_units[:] = np.nan
    scores, table = make_run(tmp_path, frames)
    page = write_report(tmp_path, scores, Scored(table, frames, HALF)).read_text()
    assert list(figures(page)) == ["F1 per class", "Training"]
    assert len(figures(page)["F1 per class"]) == 1
    assert "Confusion of expressions" in cards(page)
    assert "support of the action units" not in page
    assert '<th scope="row">P_MTL</th><td>no labels</td>' in page
    frames.frame[:] = np.arange(60)  # the list is of single pictures
    assert "Label and prediction over time" not in cards(
        write_report(tmp_path, scores, Scored(table, frames, HALF)).read_text()
    )
    page = write_report(tmp_path, scores).read_text()
    assert list(figures(page)) == ["F1 per class", "Training"]
    assert "<script" not in page
    for name in ("metrics.jsonl", "config.yaml"):
        (tmp_path / name).unlink()
        write_report(tmp_path, scores)
    page = write_report(tmp_path, {}).read_text()
    assert "No scores yet" in page
    assert not cards(page)


def test_broken_input(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such run folder"):
        write_report(tmp_path / "nowhere", {})
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not JSON"):
        write_report(tmp_path, {})


def test_the_score_curve_is_drawn_only_where_p_mtl_is_not():
    def drawn(p_mtl):
        (svg,) = training_curves([{"step": step, "val/P_MTL": p_mtl, "val/score": 0.4} for step in range(3)])
        return [word for word in words(ET.fromstring(svg)) if word.startswith("val/")]

    assert drawn(0.4) == ["val/P_MTL"]
    assert drawn(None) == ["val/score"]
    assert training_curves([{"step": 0, "epoch": 0}]) == []


@pytest.mark.slow
def test_a_million_rows_of_two_hundred_videos_are_a_small_page_in_seconds(tmp_path):
    videos, length = 200, 5000
    rows, random = videos * length, np.random.default_rng(0)
    video = [f"video{number:03d}" for number in range(videos) for _ in range(length)]
    time_ = np.arange(rows, dtype=np.float32) / 300
    affect = np.stack([np.sin(time_), np.cos(time_ / 2)], axis=1)
    expression = ((np.sin(time_ / 3) + 1) * 3.99).astype(np.int64)
    units = (np.sin(time_[:, None] * np.linspace(0.1, 2, 12)) > 0.5).astype(np.float32)
    frame = np.tile(np.arange(1, length + 1), videos)
    frames = Frames(video, frame, [f"{row}.jpg" for row in range(rows)], affect, expression, units, {})
    shares = random.random((rows, 8)).astype(np.float32)
    said = {
        "valence_arousal": (affect * 0.7 + random.normal(0, 0.1, affect.shape)).clip(-1, 1).astype(np.float32),
        "expression": shares / shares.sum(axis=1, keepdims=True),
        "action_units": (0.25 + units / 2 + random.normal(0, 0.2, units.shape)).clip(0, 1).astype(np.float32),
    }
    table = table_of_rows(frames, np.arange(rows), said, {}, "a table")
    scores = score_table(table, frames)

    def noise(rows, side):  # compresses worse than any face
        for row in rows:
            yield row, random.integers(0, 255, (side, side, 3), dtype=np.uint8)

    begun = time.perf_counter()
    path = write_report(tmp_path, scores, Scored(table, frames, HALF, noise))
    assert time.perf_counter() - begun < 30
    assert path.stat().st_size < 5_000_000
