"""Files appear as a whole or not at all, outputs go to files, and a folder has one writer."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import SoftFileLock

from affect import files
from affect.files import LockedError, OutputError, locked, whole_file, write_whole


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_whole(path, "1\n")
    write_whole(path, "ë\n")
    assert path.read_bytes() == "ë\n".encode()
    assert [one.name for one in path.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("point", ["file.written", "file.synced"])
def test_a_full_disk_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "former")

    def hook(reached: str, where: Path) -> None:
        if reached == point:
            raise OSError(errno.ENOSPC, "full", str(where))

    monkeypatch.setattr(files, "hook", hook)
    with pytest.raises(OSError, match="full"):
        write_whole(path, "new")
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise KeyError

    with pytest.raises(KeyError), whole_file(tmp_path / "a") as beside:
        fail(beside)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".a.writing").write_text("half of a file that was longer")
    write_whole(tmp_path / "a", "whole")
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "whole"


def test_a_link_to_a_file_stands_for_the_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.write_text("former")
    link.symlink_to(target)
    write_whole(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


@pytest.mark.parametrize("kind", ["folder", "device", "pipe", "link to a folder", "link to a device"])
def test_an_output_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path(os.devnull)
    else:
        path.symlink_to(tmp_path if "folder" in kind else os.devnull)
    with pytest.raises(OutputError, match=f"{path}.* is a"):
        write_whole(path, "x")
    assert path.exists()
    assert not path.is_file()


def test_a_folder_has_one_writer(tmp_path: Path) -> None:
    code = (
        f"from affect.files import *; from pathlib import Path\nwith locked(Path({str(tmp_path)!r}), 'run folder'): 1"
    )
    with locked(tmp_path, "run folder"):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert f"run folder {tmp_path}: another process" in second.stderr
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_folder_without_locks_has_one_writer_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(path: object) -> object:
        raise OSError(errno.ENOLCK, "no locks", str(path))

    monkeypatch.setattr(files, "FileLock", without)
    with locked(tmp_path, "store"), pytest.raises(LockedError, match=f"{os.getpid()} on "):
        locked(tmp_path, "store").__enter__()
    # what a killed process of this host leaves is taken over; another host's is told
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with SoftFileLock(tmp_path / files.LOCK):
        host = (tmp_path / files.LOCK).read_text().splitlines()[1]
    (tmp_path / files.LOCK).write_text(f"{dead.pid}\n{host}\n")
    with locked(tmp_path, "store"):
        pass
    (tmp_path / files.LOCK).write_text("1\nelsewhere\n")
    with pytest.raises(LockedError, match=r"1 on elsewhere.*delete"), locked(tmp_path, "store"):
        pass
