"""Gaps between groups are found where they are, and seldom where they are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.errors import DataError
from benchmarks.studies.coverage import World, simulate, world
from evaluators.audit import audit, gap_lines, read_attributes
from evaluators.table import Table


def draw(seed: int, videos: int) -> tuple[World, Table]:
    rng = np.random.default_rng(seed)
    of = world(rng, videos)
    (table,) = simulate(rng, of)
    return of, table


def attributes(of: World, seed: int, videos: int, count: int = 4) -> dict[str, list[str]]:
    """Draw two groups for each attribute, without any meaning."""
    sides = np.random.default_rng([seed, 7]).integers(2, size=(count, videos))
    return {f"a{number}": [f"g{side[video]}" for video in of.video] for number, side in enumerate(sides)}


def spoilt(table: Table, rows: np.ndarray, share: float, seed: int) -> Table:
    """Turn some answers about the action units round in some rows."""
    rng = np.random.default_rng(seed)
    units = table.predictions["action_units"].copy()
    wrong = rows[:, None] & (rng.random(units.shape) < share)
    units[wrong] = 1 - units[wrong]
    return replace(table, predictions={**table.predictions, "action_units": units})


def found(table: Table, of: World, groups: dict[str, list[str]], score: str) -> list[str]:
    return [one.attribute for one in audit(table, of.frames, groups) if one.score == score and one.p < 0.05]


def test_a_large_gap_is_found_and_told() -> None:
    of, table = draw(0, 200)
    groups = attributes(of, 0, 200)
    worse = spoilt(table, np.array(groups["a2"]) == "g0", 0.3, 0)
    gaps = audit(worse, of.frames, groups)
    (gap,) = [one for one in gaps if one.attribute == "a2" and one.score == "P_AU"]
    assert gap.gap is not None
    assert gap.gap.high < 0
    assert sum(gap.videos) == 200
    header, *rows = gap_lines(gaps)
    assert header == ["group", "videos", "P_MTL", "P_VA", "P_EXPR", "P_AU"]
    assert [row[0] for row in rows] == [f"a{number}: g0 - others" for number in range(4)]
    assert rows[2][5].endswith(" *")


def test_of_few_videos_it_cannot_tell_and_of_many_groups_each_has_a_line() -> None:
    of, table = draw(1, 60)
    light = [("dim", "bright", "")[video % 3] if video > 20 else "none" for video in of.video]
    rare = ["rare" if video < 9 else "common" for video in of.video]
    gaps = audit(table, of.frames, {"light": light, "kind": rare, "same": ["x"] * len(rare)})
    assert {(one.attribute, one.group) for one in gaps} == {
        ("light", "bright"), ("light", "dim"), ("light", "none"), ("kind", "common")
    }  # fmt: skip
    (few,) = [one for one in gaps if one.attribute == "kind" and one.score == "P_AU"]
    assert str(few) == "cannot tell: 9 videos, fewer than 10"


@pytest.mark.slow
def test_planted_gaps_are_found_and_others_are_not() -> None:
    """A gap of .10 in P_AU (standard deviation below .03) among four attributes, 200 videos, 100 draws."""
    hits, false, gaps = [], [], []
    for seed in range(100):
        of, table = draw(seed, 200)
        groups = attributes(of, seed, 200)
        false.append(bool(found(table, of, groups, "P_AU")))
        planted = spoilt(table, np.array(groups["a0"]) == "g0", 0.1, seed)
        hits.append("a0" in found(planted, of, groups, "P_AU"))
        gaps += [one.gap.value for one in audit(planted, of.frames, groups)
                 if one.gap and (one.attribute, one.score) == ("a0", "P_AU")]  # fmt: skip
    print(f"gap {np.mean(gaps):.3f} ± {np.std(gaps):.3f}, found {np.mean(hits)}, false {np.mean(false)}")
    assert np.mean(gaps) == pytest.approx(-0.1, abs=0.03)
    assert np.mean(hits) >= 0.8
    assert np.mean(false) <= 0.06


def test_files_of_attributes(tmp_path: Path) -> None:
    of, table = draw(2, 12)
    videos = sorted(set(table.video))
    path = tmp_path / "a.csv"
    rows = [f"{video},{number % 2},old" for number, video in enumerate(videos)]
    path.write_text("\n".join(["video,side,age", *rows, "elsewhere,1,young"]) + "\n")
    read = read_attributes(path, table)
    assert set(read) == {"side", "age"}
    assert [read["side"][row] for row in range(len(of.video))] == [str(video % 2) for video in of.video]
    for text, message in (
        (["name,side", *rows], "its first line must name video or image"),
        (["video,side", "x"], r"a\.csv, line 2: 1 cells"),
        (["video,side,age", *rows, rows[0]], f"line {len(rows) + 2}: {videos[0]} has a line already"),
        (["video,side,age", *rows[1:]], f"no line for 1 videos of the table, {videos[0]} first"),
        ([], "its first line must name"),
    ):
        path.write_text("\n".join(text) + "\n")
        with pytest.raises(DataError, match=message):
            read_attributes(path, table)
    with pytest.raises(DataError, match="No such file"):
        read_attributes(tmp_path / "none.csv", table)
