"""Kept listings: what is listed, and when it is listed anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from datamodules.listing import list_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("b/2.jpg", "b/1.jpg", "b/deep/0.png", "a.jpg", ".hidden/3.jpg"):
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
