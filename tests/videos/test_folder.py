"""The files of a folder of faces, which may come from anybody."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from affect.errors import DataError
from videos.folder import SETTINGS, VIDEOS, Finished, open_folder, read_finished, record_settings, write_finished

DONE = Finished("v", "/videos/v.mp4", 9, 7, 1, 29.97, 640, 480, None, 1.5, 1, 5_000_000_000, "0f" * 32)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_finished(tmp_path, {"v": DONE})
    assert read_finished(tmp_path) == {"v": DONE}


def test_a_row_of_an_earlier_version_says_nothing_of_the_file(tmp_path: Path) -> None:
    write_finished(tmp_path, {"v": DONE})
    path = tmp_path / VIDEOS
    path.write_text("".join(f"{line.rsplit(',', 3)[0]}\n" for line in path.read_text().splitlines()))
    assert read_finished(tmp_path) == {"v": dataclasses.replace(DONE, lost=None, size=None, sha256=None)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nv,", "\n../v,"), ("\nv,", "\n/etc/v,"), ("\nv,", "\na/b,"), ("\nv,", "\n.v,"), ("\nv,", "\n,"),
        (",9,", ",9_0,"), (",9,", ",-9,"), (",9,", "," + "9" * 20 + ","), (",9,", ",٩,"), (",9,", ","),
        ("29.97", "nan"), ("29.97", "1e999"), ("1.5", "1.5,7"), ("/videos/v", '"/videos/v'),
        ("name", "nom"), (",1.5", ""), (",1,5000000000", ",-1,5000000000"), (",50", ",5e"),
        (",0f0f", ",0F0f"), (",0f0f", ",0f"), ("v,/videos/v.mp4,9,7,1,29.97,640,480,,1.5,1,5000000000,", "v,"),
        (",9,7,", ",9,9,"), (",1,50", ",2,50"), (",640", ",0"), (",640", ",640640"), (",29.97", ",9000000"),
        (",9,7,1", ",0,0,0"), ("/v.mp4", "/v\0.mp4"), ("/v.mp4", "/v.mp4 "),
        ("\nv,", "\n v,"), ("/v.mp4", "/v\r.mp4"), ("lost", "last"), ("sha256", "sha256,more"),
    ],
)  # fmt: skip
def test_a_damaged_row_is_an_error_that_names_the_file(tmp_path: Path, old: str, new: str) -> None:
    write_finished(tmp_path, {"v": DONE})
    path = tmp_path / VIDEOS
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=r"videos\.csv: not as prepare\.py wrote it"):
        read_finished(tmp_path)


def test_a_video_twice_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    write_finished(tmp_path, {"v": DONE, "again": DONE})
    with pytest.raises(DataError, match="two rows are named v"):
        read_finished(tmp_path)
    (tmp_path / VIDEOS).write_bytes(b"name,file\n\xff\xfe\n")
    with pytest.raises(DataError, match=r"videos\.csv"):
        read_finished(tmp_path)


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"size": ', "7"])
def test_damaged_settings(tmp_path: Path, content: str) -> None:
    write_finished(tmp_path, {"v": DONE})
    (tmp_path / SETTINGS).write_text(content)
    with pytest.raises(DataError, match=r"faces\.json: not as prepare\.py wrote it"):
        record_settings(tmp_path, {"size": 112})


def test_what_a_killed_process_left_is_no_stranger(tmp_path: Path) -> None:
    (tmp_path / f".{SETTINGS}.writing").touch()
    (tmp_path / ".lock").touch()
    open_folder(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match="holds something else"):
        open_folder(tmp_path)
