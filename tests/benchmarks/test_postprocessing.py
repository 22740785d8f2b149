"""The benchmark of the post-processing: both ways do the same work and are reported."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import postprocessing
from benchmarks.machine import take_turns
from benchmarks.postprocessing import agree, cases, make
from benchmarks.reference import postprocessing as reference
from evaluators.postprocess.biases import GRID, macro_f1, search_biases


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine values of a bias instead of 41, each of which costs a call of scikit-learn."""
    monkeypatch.setattr(reference, "BIASES", reference.BIASES[::5])
    monkeypatch.setattr("evaluators.postprocess.biases.GRID", GRID[::5])


def test_tables_have_the_shape_of_the_validation_sets() -> None:
    for task, (rows, videos) in postprocessing.SIZES.items():
        table, labels = make(task, 0.001)
        assert table.tasks == (task,)
        assert len(set(table.video)) == videos
        assert abs(len(table) - max(rows * 0.001, videos)) <= 1
        for video in set(table.video):
            frames = table.frame[[name == video for name in table.video]]
            np.testing.assert_array_equal(frames, np.arange(len(frames)) + 1)
        assert labels.video == table.video


def test_both_ways_agree() -> None:
    made = cases(0.005)
    assert len(made) == 8
    for name, (ours, theirs) in made.items():
        assert agree(name, ours(), theirs()), name


def test_the_loop_finds_the_biases_of_the_grid() -> None:
    np.testing.assert_array_equal(reference.BIASES, GRID[::5])
    table, labels = make("expression", 0.005)
    values, truth = table.predictions["expression"], labels.expression
    biases, score = reference.biases(values, truth)
    np.testing.assert_allclose(search_biases("grid", values, truth), biases, atol=1e-12)
    assert macro_f1(np.log(values) + biases, truth) == pytest.approx(score, abs=1e-12)


def test_a_difference_is_seen() -> None:
    assert not agree("smoothing", [np.zeros(3)], [np.full(3, 1e-6)])
    assert not agree("thresholds", [0.5, 0.4], [0.4, 0.5])
    assert not agree("biases", [0.4], [0.5])
    assert not agree("scores", [0.5], [0.6])


@pytest.mark.slow
def test_rounds_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[tuple[str, int]] = []
    ways = {name: partial(lambda name, turn: seen.append((name, turn)), name) for name in ("ours", "reference")}
    seconds = take_turns(ways, 3)
    assert seen == [(name, turn) for turn in range(4) for name in ways]
    assert {name: len(of) for name, of in seconds.items()} == {"ours": 3, "reference": 3}
    path = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["postprocessing", "--rounds", "1", "--rows", "0.001", "--json", str(path)])
    postprocessing.main()
    figures = json.loads(path.read_text())["figures"]
    assert all(of["agree"] and of["ratio"] > 0 for of in figures.values())
    assert "DIFFER" not in capsys.readouterr().out
