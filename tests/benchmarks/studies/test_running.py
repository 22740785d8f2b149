"""What every study is made of: archives and seeds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from affect.errors import DataError
from benchmarks.studies.running import study_parser, unpacked


def archive(path: Path, *names: str) -> Path:
    """Write a compressed tar file of small files."""
    with tarfile.open(path, "w:gz") as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 3
            file.addfile(entry, io.BytesIO(b"abc"))
    return path


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    made = archive(tmp_path / "faces.tar.gz", "faces/00/000.jpg", "faces/00/001.jpg")
    folder = unpacked(made, tmp_path / "study" / "faces")
    assert sorted(path.name for path in folder.rglob("*.jpg")) == ["000.jpg", "001.jpg"]
    made.write_bytes(b"changed")
    assert unpacked(made, folder) == folder
    assert unpacked(folder, tmp_path / "elsewhere") == folder  # a folder is taken as it is


@pytest.mark.parametrize("what", ["missing", "cut off", "another file", "outside"])
def test_an_archive_that_cannot_be_unpacked_leaves_nothing(tmp_path: Path, what: str) -> None:
    path = tmp_path / "faces.tar.gz"
    if what == "outside":
        archive(path, "faces/1.jpg", "../outside.jpg")
    elif what == "cut off":
        whole = archive(path, *(f"{n}.jpg" for n in range(200))).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif what == "another file":
        path.write_text("a page that says: not found")
    with pytest.raises(DataError, match=r"faces\.tar\.gz"):
        unpacked(path, tmp_path / "study" / "faces")
    assert not list((tmp_path / "study").glob("*")) if (tmp_path / "study").exists() else True
    assert not (tmp_path / "outside.jpg").exists()


def test_a_seed_given_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = study_parser("A study.", seeds=(0, 1, 2))
    assert parser.parse_args(["folder"]).seeds == [0, 1, 2]
    assert parser.parse_args(["folder", "--seeds", "3", "4"]).seeds == [3, 4]
    with pytest.raises(SystemExit):
        parser.parse_args(["folder", "--seeds", "3", "4", "3"])
    assert "--seeds: 3 is given twice" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args(["folder", "--seeds", "3", "a=1"])
    assert "a=1 is not a whole number; a key=value stands before --seeds" in capsys.readouterr().err
