"""What is counted of people neutral and smiling, and which of them are read."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.errors import ConfigError, DataError
from affect.labels import AU_NAMES, EXPRESSIONS
from benchmarks.studies import people
from benchmarks.studies.people import SHOWN, answers, counted, systems
from evaluators.sums import means
from evaluators.table import Table, write_table


def table(rises: Sequence[bool], called: Sequence[str]) -> Table:
    """Make a table of people whose values rise with the smile or are equal, and whose neutral faces are called so."""
    video = [f"{one:03}_{look}" for one in range(len(rises)) for look in ("smiling", "neutral")]
    rows = len(video)
    predictions = {
        "valence_arousal": np.zeros((rows, 2), np.float32),
        "expression": np.full((rows, 8), 0.1, np.float32),
        "action_units": np.full((rows, 12), 0.3, np.float32),
    }
    for one, (rise, name) in enumerate(zip(rises, called, strict=True)):
        smiling, neutral = 2 * one, 2 * one + 1
        predictions["expression"][neutral, EXPRESSIONS.index(name)] += 0.5
        if rise:
            predictions["valence_arousal"][smiling, 0] = 0.2
            predictions["action_units"][smiling, [AU_NAMES.index("au6"), AU_NAMES.index("au12")]] = 0.9
            predictions["expression"][smiling, EXPRESSIONS.index("happiness")] = 0.2
    image = [f"{name}/00001.jpg" for name in video]
    return Table(video, np.ones(rows, np.int64), image, predictions, EXPRESSIONS, {}, "made")


def test_a_rise_counts_and_a_tie_does_not() -> None:
    found = answers(table([True, False, True, False], ["neutral", "other", "anger", "surprise"]))
    assert found.names == SHOWN
    *rises, calm = found.top.T.tolist()
    assert rises == [[1, 0, 1, 0]] * 4
    assert calm == [1, 1, 0, 0]


def test_a_person_without_a_smile_is_refused() -> None:
    whole = table([True, True], ["neutral", "neutral"])
    keep = slice(0, 3)
    part = replace(
        whole, video=whole.video[keep], frame=whole.frame[keep], image=whole.image[keep],
        predictions={key: values[keep] for key, values in whole.predictions.items()},
    )  # fmt: skip
    with pytest.raises(DataError, match=r"made: each person needs the rows"):
        answers(part)


def test_counts_have_intervals_over_people_and_seeds() -> None:
    people = [f"{one}" for one in range(100)]
    everyone, every_second = (means({"AU12": holds}, people) for holds in (np.ones(100), np.tile([1.0, 0.0], 50)))
    assert counted([everyone] * 3, slice(20)) == {"AU12": "20.0 [20, 20] of 20"}
    text = counted([every_second] * 3, slice(None))["AU12"]
    assert text.startswith("50.0 [")
    low, high = (int(part.strip(",] of")) for part in text.split("[")[1].split("]")[0].split())
    assert (low, high) == (pytest.approx(40, abs=1), pytest.approx(60, abs=1))  # 1.98 * sqrt(100 / 4) people


def test_a_pattern_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--runs: no run with checkpoints/best"):
        systems([f"{tmp_path}/seed*/emma"])


def test_the_half_that_chooses_nothing_is_read_on_demand_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        (tmp_path / f"seed{seed}" / "emma" / "checkpoints").mkdir(parents=True)
        (tmp_path / f"seed{seed}" / "emma" / "checkpoints" / "best.ckpt").touch()

    def predicted(folder: Path, script: str, given: Sequence[str]) -> Path:
        assert script == "evaluate"
        if not folder.is_dir():
            (folder / "predictions").mkdir(parents=True)
            write_table(table([False, True] * 4, ["anger", "neutral"] * 4), folder / "predictions" / "test.parquet")
        return folder

    monkeypatch.setattr(people, "run", predicted)
    given = ["people", str(tmp_path / "study"), "--runs", f"{tmp_path}/seed*/emma", "--london", str(tmp_path)]
    for extra, halves in (([], 1), (["--all-people"], 3)):
        monkeypatch.setattr(sys, "argv", [*given, *extra])
        people.main()
        (found,) = json.loads((tmp_path / "study" / "results.json").read_text()).values()
        assert len(found) == halves
        assert set(found["2nd, 4th, …"].values()) == {1.0}
    assert set(found["1st, 3rd, …"].values()) == {0.0}
    assert "4.0 [4, 4] of 4" in capsys.readouterr().out
