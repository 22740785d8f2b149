"""Kept listings: what is listed, and when it is listed anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from datamodules.listing import keep, list_files, list_images


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("b/2.jpg", "b/1.jpg", "b/deep/0.png", "a.jpg", ".hidden/3.jpg", "b/._1.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_tree_and_a_folder(tree: Path) -> None:
    assert list_files(tree, None, recursive=True) == ["a.jpg", "b/1.jpg", "b/2.jpg", "b/deep/0.png"]
    assert list_files(tree, None, recursive=False) == ["a.jpg"]
    assert list_files(tree / "b", None, recursive=False) == ["1.jpg", "2.jpg"]


def test_a_link_back_ends(tree: Path) -> None:
    (tree / "b" / "back").symlink_to(tree)
    assert list_files(tree, None, recursive=True) == ["a.jpg", "b/1.jpg", "b/2.jpg", "b/deep/0.png"]


def test_a_listing_is_kept_until_its_folder_changes(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "listings"
    whole = list_files(tree, cache, recursive=True)
    (kept,) = cache.iterdir()
    content = json.loads(kept.read_text())
    stamp, _, folders = content["listings"]["b"]
    content["listings"]["b"] = (stamp, ["kept.jpg"], folders)
    kept.write_text(json.dumps(content))
    assert list_files(tree, cache, recursive=True) == ["a.jpg", "b/deep/0.png", "b/kept.jpg"]
    assert list_files(tree, None, recursive=True) == whole
    (tree / "b" / "9.jpg").touch()
    os.utime(tree / "b", ns=(stamp + 1, stamp + 1))
    assert list_files(tree, cache, recursive=True) == sorted([*whole, "b/9.jpg"])
    assert [path.name for path in cache.iterdir()] == [kept.name]


def test_images_are_listed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.jpeg", "notes.txt", "10.jpg", "9.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert list_images(tmp_path, None) == ["10.jpg", "9.jpg", "a.png", "b.JPG", "c.jpeg"]


def test_purposes_and_folders_are_kept_apart(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    wanted = {(folder, what): f"{what} of {folder.name}" for folder in folders for what in ("exp", "val")}
    for _ in range(2):
        for (folder, what), text in wanted.items():
            assert keep(folder, tmp_path / "cache", what, lambda text=text: text) == text
    for (folder, what), text in wanted.items():
        assert keep(folder, tmp_path / "cache", what, lambda: "read again") == text
        assert keep(folder, None, what, lambda: "read again") == "read again"
    for folder, what in wanted:
        os.utime(folder, ns=(1, 1))
        assert keep(folder, tmp_path / "cache", what, lambda: "read again") == "read again"


def test_nothing_is_kept_of_a_reading_that_failed(tmp_path: Path) -> None:
    folder, cache = tmp_path / "faces", tmp_path / "cache"
    folder.mkdir()
    with pytest.raises(ZeroDivisionError):
        keep(folder, cache, "x", lambda: 1 / 0)
    assert not cache.exists()
    numbers = {"third": 1 / 3, "missing": -2.0}
    assert keep(folder, cache, "x", lambda: numbers) == numbers
    assert keep(folder, cache, "x", dict) == numbers


@pytest.mark.parametrize("content", ["", '{"folder": ', "[]", '{"folder": "FOLDER", "stamp": 1, "names": ["old.jpg"]}'])
def test_a_kept_file_that_is_damaged_or_of_another_version_is_made_anew(
    tree: Path, tmp_path: Path, content: str
) -> None:
    cache = tmp_path / "listings"
    whole = list_files(tree, cache, recursive=True)
    (kept,) = cache.iterdir()
    kept.write_text(content.replace("FOLDER", str(tree)))
    assert list_files(tree, cache, recursive=True) == whole
    assert "listings" in json.loads(kept.read_text())
