"""compare.py: runs, tables and sweeps beside one another, and what is wrong with them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError, DataError
from affect.frames import Frames
from affect.labels import EXPRESSIONS
from datamodules.readers.mtl import read_mtl
from evaluators.comparison import System, compare, holm, sentences
from evaluators.predictions import score_table
from evaluators.report import write_scores
from evaluators.sums import sums
from evaluators.table import Table, write_table
from runs.compare import compare as command
from runs.config import CONFIG_DIR
from tests.evaluators.tables import people_table


@pytest.fixture
def labels(faces: Path) -> Frames:
    return read_mtl(faces / "validation_set_annotations.txt")


@pytest.fixture
def run(compose_run: Callable[..., DictConfig], tmp_path: Path, labels: Frames) -> Callable[..., Path]:
    """Make a run folder whose predictions are right as often as is asked for."""

    def made(name: str, skill: float, *overrides: str, seed: int = 0, tasks: tuple[str, ...] = ()) -> Path:
        folder = tmp_path / name
        config = compose_run(*overrides, f"seed={seed}", f"paths.run_dir={folder}")
        folder.mkdir(parents=True)
        OmegaConf.save(config, folder / "config.yaml", resolve=True)
        table = guessed(labels, skill, seed)
        if tasks:
            kept = {task: table.predictions[task] for task in tasks}
            table = Table(table.video, table.frame, table.image, kept, EXPRESSIONS, table.metadata, name)
        write_table(table, folder / "predictions" / "val.parquet")
        write_scores(score_table(table, labels), folder / "scores.json")
        return folder

    return made


def guessed(labels: Frames, skill: float, seed: int) -> Table:
    rng = np.random.default_rng(seed)
    rows = len(labels)
    right = rng.random(rows) < skill
    said = np.where(right & (labels.expression >= 0), labels.expression, rng.integers(8, size=rows))
    units = np.where(rng.random((rows, 12)) < skill, np.nan_to_num(labels.action_units), rng.random((rows, 12)))
    affect = skill * np.nan_to_num(labels.valence_arousal) + (1 - skill) * rng.uniform(-1, 1, (rows, 2))
    predictions = {
        "valence_arousal": affect.astype(np.float32),
        "expression": np.eye(8, dtype=np.float32)[said],
        "action_units": units.astype(np.float32),
    }
    return Table(labels.video, labels.frame, labels.image, predictions, EXPRESSIONS, {"label_files": labels.files}, "t")


def compared(tmp_path: Path, **given: Any) -> Path:
    """Run the command, and return its folder."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("compare", [f"paths.run_dir={tmp_path}/compared", f"paths.cache_dir={tmp_path}/cache"])
    for key, value in given.items():
        config[key] = value
    command(config)
    return tmp_path / "compared"


def test_runs_are_compared_as_their_scores_say(
    run: Callable[..., Path], tmp_path: Path, labels: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = run("good", 0.9), run("bad", 0.3, "trainer.max_epochs=1")
    folder = compared(tmp_path, runs=[str(bad), str(good)])
    rows = {(row["system"], row["score"]): row for row in csv.DictReader((folder / "comparison.csv").open())}
    for path in (good, bad):
        scores = json.loads((path / "scores.json").read_text())
        for name in ("P_MTL", "P_VA", "CCC_V", "P_EXPR", "F1_EXPR_anger", "P_AU", "ACC_AU"):
            row = rows[path.name, name]
            assert float(row["value"]) == pytest.approx(scores[name], abs=1e-9)
            assert float(row["low"]) - 1e-9 <= float(row["value"]) <= float(row["high"]) + 1e-9
    assert float(rows["good", "P_AU"]["lead"]) > 0.1
    assert rows["bad", "P_AU"]["lead"] == ""
    told = capsys.readouterr().out
    assert "good is ahead of bad in " in told
    assert "(one run of each: another seed may differ)" in told
    assert f"95 % intervals over {len(set(labels.video))} videos (simulated: 91 to 93 % hold)" in told
    assert r"\toprule" in (folder / "comparison.tex").read_text()
    assert json.loads((folder / "comparison.json").read_text())["says"][0].startswith("good is ahead")
    assert f"report: {folder / 'report.html'}" in told
    page = (folder / "report.html").read_text()
    assert "2 runs · seed 0 · 33 rows of 3 videos, split val · validation_set_annotations.txt" in page
    assert "<td>seed 0</td>" in page
    assert '<a href="../' not in page  # these runs have no page


def test_runs_that_differ_in_the_seed_are_one_system(run: Callable[..., Path], tmp_path: Path) -> None:
    ours = [run(f"ours{seed}", 0.8, seed=seed) for seed in (0, 1, 2)]
    other = [run(f"other{seed}", 0.5, "trainer.max_epochs=3", seed=seed) for seed in (0, 1, 2)]
    folder = compared(tmp_path, runs=[str(one) for one in (*ours, *other)], to="other0")
    rows = list(csv.DictReader((folder / "comparison.csv").open()))
    assert {(row["system"], row["runs"]) for row in rows} == {("ours0", "3"), ("other0", "3")}
    assert rows[0]["system"] == "other0"
    one = next(row for row in rows if row["system"] == "ours0" and row["score"] == "P_MTL")
    scores = [json.loads((path / "scores.json").read_text())["P_MTL"] for path in ours]
    assert float(one["value"]) == pytest.approx(np.mean(scores), abs=1e-9)


def test_a_sweep_is_sorted_and_named_by_what_differs(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("sweep/0", 0.3, "trainer.max_epochs=2")
    run("sweep/1", 0.9, "trainer.max_epochs=3")
    (tmp_path / "sweep" / "1" / "report.html").touch()
    folder = compared(tmp_path, folder=str(tmp_path / "sweep"))
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    (header,) = [words for words in table if words[:1] == ["system"]]
    assert header[1:3] == ["max_epochs", "runs"]
    assert [words[:3] for words in table if words[1:2] in (["2"], ["3"])] == [["1", "3", "1"], ["0", "2", "1"]]
    page = (folder / "report.html").read_text()
    one, zero = (page.index(f'<th scope="row">{name}</th><td>{epochs}</td><td>') for name, epochs in ("13", "02"))
    assert one < zero
    assert page.count('<a href="../sweep/1/report.html">seed 0</a>') == 1
    assert "../sweep/0/" not in page


def test_groups_are_resampled_as_one(run: Callable[..., Path], tmp_path: Path, labels: Frames) -> None:
    videos = sorted(set(labels.video))
    groups = tmp_path / "groups.csv"
    lines = [f"{video},{number // 2}" for number, video in enumerate(videos)]
    groups.write_text("\n".join(["video,group", *lines]) + "\n")
    path = run("one", 0.6)
    folder = compared(tmp_path, runs=[str(path)], groups=str(groups))
    rows = list(csv.DictReader((folder / "comparison.csv").open()))
    assert rows[0]["videos"] == str((len(videos) + 1) // 2)
    for text, message in (
        (lines[1:], rf"groups\.csv: no line for 1 videos of the table, '{videos[0]}' first"),
        ([*lines, "nobody,1"], r"groups\.csv: 1 videos that the table does not have, 'nobody' first"),
        ([*lines, lines[0]], rf"groups\.csv, line {len(lines) + 2}: {videos[0]} has a line already"),
    ):
        groups.write_text("\n".join(["video,group", *text]) + "\n")
        with pytest.raises(DataError, match=message):
            compared(tmp_path / "other", runs=[str(path)], groups=str(groups))


def test_gaps_between_groups_are_told(
    run: Callable[..., Path], tmp_path: Path, labels: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people.csv"
    rows = [f"{video},{number % 2}" for number, video in enumerate(sorted(set(labels.video)))]
    header = "video,glasses,hat,age"
    people.write_text("\n".join([header, *(f"{row},no," for row in rows), "elsewhere,1,no,"]) + "\n")
    one = run("one", 0.6)
    folder = compared(tmp_path, runs=[str(one)], attributes=str(people))
    told = capsys.readouterr().out
    assert (
        "left out of people.csv: hat: all are 'no'; age: no value; 1 videos that the tables do not have, else" in told
    )
    assert "one: gaps between groups" in told
    assert "glasses: 0 - 1" in told
    assert "2 : 1   cannot tell" in told
    assert "10 at least" in told
    assert "no gap between groups can be told from chance" in told
    assert [line["group"] for line in csv.DictReader((folder / "audit.csv").open())] == ["0"] * 4
    page = (tmp_path / "compared" / "report.html").read_text()
    assert "<h2>Gaps between groups</h2>" in page
    assert '<th scope="row">glasses: 0 - 1</th><td>2 : 1</td><td>cannot tell</td>' in page
    for text, message in (
        ([header, *rows], r"people\.csv, line 2: 2 cells; give 4 cells"),
        (
            ["video,hat", *(f"{video.partition(',')[0]},no" for video in rows)],
            r"people\.csv: no attribute has two groups",
        ),
    ):
        people.write_text("\n".join(text) + "\n")
        with pytest.raises(DataError, match=message):
            compared(tmp_path / "other", runs=[str(one)], attributes=str(people))


def test_drawn_data_bring_their_attributes(
    run: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(run("one", 0.6))
    compared(tmp_path, runs=[one], attributes="attributes.csv")
    told = capsys.readouterr().out
    assert "6 videos that the tables do not have, train-0000 first" in told
    assert "light: " in told
    with pytest.raises(
        DataError, match=r"^attributes=attributs\.csv: no such file, nor is it in .*; python prepare\.py"
    ):
        compared(tmp_path / "other", runs=[one], attributes="attributs.csv")


def test_what_cannot_be_compared(run: Callable[..., Path], tmp_path: Path, labels: Frames) -> None:
    one, units = run("one", 0.6), run("units", 0.6, tasks=("action_units",))
    affect = run("affect", 0.6, tasks=("valence_arousal",))
    with pytest.raises(ConfigError, match="is given twice"):
        compared(tmp_path, runs=[str(one), f"{one}/"])
    table = one / "predictions" / "val.parquet"
    with pytest.raises(ConfigError, match=r"val\.parquet is given twice"):
        compared(tmp_path, tables=[str(table), f"{one}/../one/predictions/val.parquet"])
    with pytest.raises(DataError, match="no task that all of them predict has labels"):
        compared(tmp_path, runs=[str(units), str(affect)])
    with pytest.raises(ConfigError, match=r"give one of runs=\[…\], tables=\[…\] and sweep=…"):
        compared(tmp_path)
    with pytest.raises(ConfigError, match="no run folder"):
        compared(tmp_path, runs=[str(tmp_path)])
    with pytest.raises(DataError, match=r"to=on: no such system; did you mean one\?"):
        compared(tmp_path, runs=[str(one), str(units)], to="on")
    short = guessed(labels.select(np.arange(5)), 0.5, 0)
    write_table(short, tmp_path / "short" / "predictions" / "val.parquet")
    tables = [str(path / "predictions" / "val.parquet") for path in (one, tmp_path / "short")]
    with pytest.raises(DataError, match="are of different lists"):
        compared(tmp_path, tables=tables)


def test_of_a_cross_fitted_run_what_is_scored_is_compared(
    run: Callable[..., Path], tmp_path: Path, labels: Frames
) -> None:
    one, decided = run("one", 0.3), guessed(labels, 0.9, 0)
    units = (decided.predictions["action_units"] >= 0.7).astype(np.float32)
    decided = replace(decided, predictions={**decided.predictions, "action_units": units})
    write_table(decided, one / "predictions" / "val-cross-fitted.parquet")
    rows = json.loads((compared(tmp_path, runs=[str(one)], au_thresholds=0.2) / "comparison.json").read_text())["rows"]
    wanted = score_table(decided, labels)["P_AU"]
    assert [row["value"] for row in rows if row["score"] == "P_AU"] == [pytest.approx(wanted, abs=1e-6)]


def test_a_table_of_somebodys_video_has_no_labels(tmp_path: Path) -> None:
    write_table(people_table(0), tmp_path / "clip" / "clip.parquet")
    with pytest.raises(ConfigError, match=r"clip\.parquet is of videos or pictures without labels"):
        compared(tmp_path, tables=[str(tmp_path / "clip" / "clip.parquet")])


def test_of_one_video_there_is_no_interval(run: Callable[..., Path], tmp_path: Path, labels: Frames) -> None:
    first = labels.select(np.flatnonzero(np.array(labels.video) == labels.video[0]))
    found = compare([System(str(skill), (sums(guessed(first, skill, 0), first),)) for skill in (0.3, 0.9)])
    assert np.isnan(found.leads["0.9"].p["P_AU"])
    assert next(iter(sentences(found))).startswith("0.9 cannot be told from 0.3 in P_MTL")


def test_holm_is_the_textbooks() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])  # Holm 1979, four hypotheses
    np.testing.assert_allclose(holm([0.6, 0.5]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.01, np.nan]), [0.01, np.nan])
