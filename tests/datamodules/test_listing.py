"""Kept listings: what is listed, and when it is listed anew."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from affect import files
from datamodules.links import Links
from datamodules.listing import keep, list_images, scan_if_there
from datamodules.pictures import UnreadableImageError, read_image

LINKS = Links(follow_outside=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in ("b/2.jpg", "b/1.jpg", "b/deep/0.png", "a.jpg", ".hidden/3.jpg", "b/._1.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_tree_and_a_folder(tree: Path) -> None:
    assert list_images(tree, None, LINKS, recursive=True) == ["a.jpg", "b/1.jpg", "b/2.jpg", "b/deep/0.png"]
    assert list_images(tree, None, LINKS, recursive=False) == ["a.jpg"]
    assert list_images(tree / "b", None, LINKS, recursive=False) == ["1.jpg", "2.jpg"]


def test_a_link_back_ends(tree: Path) -> None:
    (tree / "b" / "back").symlink_to(tree)
    assert list_images(tree, None, LINKS, recursive=True) == ["a.jpg", "b/1.jpg", "b/2.jpg", "b/deep/0.png"]


def test_a_listing_is_kept_until_its_folder_changes(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "listings"
    whole = list_images(tree, cache, LINKS, recursive=True)
    (kept,) = cache.iterdir()
    version, folder, content = json.loads(kept.read_bytes().partition(b"\n")[2])
    stamp, _, *others = content["b"]
    content["b"] = [stamp, ["kept.jpg"], *others]
    text = json.dumps([version, folder, content]).encode()
    kept.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    assert list_images(tree, cache, LINKS, recursive=True) == ["a.jpg", "b/deep/0.png", "b/kept.jpg"]
    assert list_images(tree, None, LINKS, recursive=True) == whole
    (tree / "b" / "9.jpg").touch()
    os.utime(tree / "b", ns=(stamp + 1, stamp + 1))
    assert list_images(tree, cache, LINKS, recursive=True) == sorted([*whole, "b/9.jpg"])
    assert [path.name for path in cache.iterdir()] == [kept.name]


def test_images_are_listed_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.jpeg", "notes.txt", "10.jpg", "9.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    assert list_images(tmp_path, None, LINKS) == ["10.jpg", "9.jpg", "a.png", "b.JPG", "c.jpeg"]


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


@pytest.mark.parametrize("damage", ["", "[]", '{"folder": ', '{"folder": "FOLDER", "stamp": 1, "names": ["old.jpg"]}'])
def test_a_kept_file_that_is_damaged_or_of_another_version_is_made_anew(
    tree: Path, tmp_path: Path, damage: str
) -> None:
    cache = tmp_path / "listings"
    whole = list_images(tree, cache, LINKS, recursive=True)
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    kept.write_text(damage.replace("FOLDER", str(tree)))
    assert list_images(tree, cache, LINKS, recursive=True) == whole
    assert kept.read_bytes() == content


def test_one_changed_byte_of_what_is_kept_is_found(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "listings"
    assert keep(tree, cache, "numbers", lambda: [12, 13]) == [12, 13]
    whole = list_images(tree, cache, LINKS, recursive=True)
    for kept in cache.iterdir():
        content = kept.read_bytes()
        for at in range(0, len(content), 9):
            kept.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            assert keep(tree, cache, "numbers", lambda: [12, 13]) == [12, 13]
            assert list_images(tree, cache, LINKS, recursive=True) == whole


@pytest.mark.parametrize("broken", ["a file", "its file is a folder", "full"])
def test_a_cache_that_cannot_be_written_costs_one_warning(
    tree: Path, tmp_path: Path, monkeypatch, caplog, broken: str
) -> None:
    cache = tmp_path / "listings"
    if broken == "a file":
        cache.touch()
    elif broken == "full":
        monkeypatch.setattr(files, "hook", lambda point, path: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    else:
        list_images(tree, cache, LINKS)
        (kept,) = cache.iterdir()
        kept.unlink()
        kept.mkdir()
    for _ in range(2):
        assert list_images(tree, cache, LINKS) == ["a.jpg"]
    (warning,) = caplog.records
    assert str(cache) in warning.getMessage()
    assert "cannot be kept" in warning.getMessage()


def test_folders_without_permission_are_left_out_with_one_warning(
    tree: Path, tmp_path: Path, monkeypatch, caplog
) -> None:
    for name in ("lost+found", "b/private"):
        (tree / name).mkdir()
    real = os.scandir

    def refuse(folder: Path) -> Iterator:
        if Path(folder).name in ("lost+found", "private"):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list_images(tree, tmp_path / "cache", LINKS, recursive=True) == [
        "a.jpg",
        "b/1.jpg",
        "b/2.jpg",
        "b/deep/0.png",
    ]
    (warning,) = caplog.records
    assert "lost+found" in warning.getMessage()
    assert "1 more" in warning.getMessage()
    monkeypatch.setattr(os, "scandir", real)
    (tree / "lost+found" / "x.jpg").touch()  # a folder that could not be listed is not kept as empty
    assert "lost+found/x.jpg" in list_images(tree, tmp_path / "cache", LINKS, recursive=True)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        list_images(tree / "lost+found", None, LINKS)


def test_broken_links_and_rings_of_links(tree: Path) -> None:
    (tree / "ring").symlink_to("ring")
    (tree / "ring.jpg").symlink_to("ring.jpg")
    (tree / "gone").symlink_to("nowhere")
    (tree / "gone.jpg").symlink_to("nowhere.jpg")
    links = Links(tree, follow_outside=False)
    wanted = ["a.jpg", "b/1.jpg", "b/2.jpg", "b/deep/0.png", "gone.jpg", "ring.jpg"]
    assert list_images(tree, None, links, recursive=True) == wanted
    assert scan_if_there(tree / "ring", links) == scan_if_there(tree / "gone", links) == ([], [], [])
    for name in ("ring.jpg", "gone.jpg"):
        with pytest.raises(UnreadableImageError, match=name):
            read_image(tree / name)
