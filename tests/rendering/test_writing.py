"""A drawn data set is there as a whole or not at all, whoever draws it and whatever ends them."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from affect import files
from affect.files import OutputError
from rendering.cache import rendered
from rendering.writing import is_complete, writing

PARAMETERS = {"layout": "x"}


def draw(root: Path, text: str = "face") -> None:
    with writing(root, PARAMETERS) as folder:
        (folder / "images").mkdir()
        (folder / "images" / "1.jpg").write_text(text)


def test_a_drawn_set_is_whole_and_nothing_is_beside_it(tmp_path: Path) -> None:
    draw(tmp_path / "set")
    assert is_complete(tmp_path / "set", PARAMETERS)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1.jpg", "images", "rendering.json", "set"]


def test_two_may_draw_at_once_and_the_first_one_stays(tmp_path: Path) -> None:
    with writing(tmp_path / "set", PARAMETERS) as slow:
        (slow / "1.jpg").write_text("slow")
        draw(tmp_path / "set", "quick")
        assert (slow / "1.jpg").is_file()
    assert (tmp_path / "set" / "images" / "1.jpg").read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_killed_draw_is_removed_by_the_next_one(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from affect import files
from tests.rendering.test_writing import draw
files.hook = lambda point, path: os.kill(os.getpid(), signal.SIGKILL) if point == "drawing.synced" else None
draw(Path({str(tmp_path)!r}) / "set")
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".set-")
    (tmp_path / ".set-of-somebody").mkdir()
    draw(tmp_path / "set")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set-of-somebody", "set"]


def test_a_set_without_its_manifest_is_not_taken_for_whole(tmp_path: Path) -> None:
    draw(tmp_path / "set")
    (tmp_path / "set" / "rendering.json").write_text('{"layout"')
    with pytest.raises(OutputError, match="holds something that was not rendered"):
        is_complete(tmp_path / "set", PARAMETERS)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(point: str, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "hook", full)
    size = {"seed": 1, "train_faces": 1, "val_faces": 1}
    with pytest.raises(OutputError, match=r"No space left on device.*paths\.cache_dir=<folder>"):
        rendered(tmp_path / "cache", layout="faces", workers=1, **size)
    assert not list((tmp_path / "cache").iterdir())
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"paths\.cache_dir=<folder>"):
        rendered(tmp_path / "file", layout="faces", workers=1, **size)
