"""A kill is a kill, and what it breaks is noticed."""

from __future__ import annotations

import os
from pathlib import Path

from affect import files

from .forks import Points, forked
from .kills import broken_files


def _write_twice(folder: Path, points: Points) -> list[str]:
    files.hook = points
    files.write_whole(folder / "a.json", "1")
    files.write_whole(folder / "b.json", "2")
    return points.names


def test_a_process_ends_at_the_point_that_is_given(tmp_path: Path) -> None:
    log, names = tmp_path / "log", ["written", "synced", "renamed"]
    expected = [f"file.{name} {file}.json" for file in "ab" for name in names]
    assert forked(lambda: _write_twice(tmp_path, Points(None, None)), log) == (0, expected)
    (tmp_path / "b.json").unlink()
    assert forked(lambda: _write_twice(tmp_path, Points(5, tmp_path)), log) == (-9, None)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["a.json"]
    assert forked(lambda: _write_twice(tmp_path, Points(1, tmp_path / "elsewhere")), log)[0] == 0
    assert forked(lambda: os._exit(7), log) == (7, None)
    assert forked(lambda: 1 / 0, log) == (1, None)
    assert "ZeroDivisionError" in log.read_text()


def test_what_is_not_whole_is_found(tmp_path: Path) -> None:
    for name, content in (
        ("last.ckpt", b"PK"),
        ("scores.json", b"{"),
        ("val.parquet", b"PAR1"),
        ("frame.npy", b"\x93"),
    ):
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".scores.json.writing").write_bytes(b"{")
    (tmp_path / "environment.json").write_bytes(b"{}")
    found = [told.partition(":")[0] for told in broken_files(tmp_path)]
    assert found == ["frame.npy", "last.ckpt", "scores.json", "val.parquet"]
