"""Near copies are found, other faces are not; what was seen of a picture is kept."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from datamodules.affwild2_mtl import MTLDataModule
from datamodules.doctor import pictures
from datamodules.doctor.copies import find_copies, likeness, small, thumbnail
from datamodules.doctor.pictures import check_pictures
from datamodules.doctor.reading import read_parts
from datamodules.pictures import read_image
from tests.datamodules.conftest import truncate, write_picture
from tests.datamodules.doctor.test_planted import REAL, near_copy


def copies_of(originals: list[Path], folder: Path) -> list[Path]:
    """Near copies, each with the seed of its place in the list."""
    made = []
    for number, path in enumerate(originals):
        made.append(folder / f"{number:05d}.jpg")
        cv2.imwrite(str(made[-1]), near_copy(cv2.imread(str(path)), np.random.default_rng(number)))
    return made


def found_among(asked: list[Path], among: list[Path]) -> dict[Path, Path]:
    hashes = np.array([thumbnail(small(read_image(path))) for path in among], dtype=np.uint8)
    return {one.path: one.original for one in find_copies(asked, among, hashes, lambda: None)}


def test_copies_of_drawn_faces_are_found_and_no_other_face_is_one(faces: Path, tmp_path: Path) -> None:
    train = sorted((faces / "cropped_aligned").glob("train-*/*.jpg"))
    val = sorted((faces / "cropped_aligned").glob("validation-*/*.jpg"))
    copies = copies_of(train, tmp_path)
    found = found_among(copies, train)
    right = [path for path, original in zip(copies, train, strict=True) if found.get(path) == original]
    assert len(right) >= 0.95 * len(train)
    assert found_among(val, train) == {}
    assert found_among(val, []) == {}


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real_faces_small")
def test_copies_of_photographs_are_found(tmp_path: Path) -> None:
    originals = sorted((REAL / "cropped_aligned").glob("*/*.jpg"))[::8]
    copies = copies_of(originals, tmp_path)
    found = found_among(copies, originals)
    assert sum(found.get(copy) == original for copy, original in zip(copies, originals, strict=True)) >= 0.95 * len(
        copies
    )


@pytest.mark.parametrize(("down", "right"), [(0, 0), (3, -4), (-4, 4)])
def test_likeness_is_the_correlation_at_the_best_place(down: int, right: int) -> None:
    """Against the plain correlation of every pair of windows."""
    random = np.random.default_rng(5)
    one = cv2.GaussianBlur(random.integers(0, 256, (112, 112), dtype=np.uint8), (0, 0), 2)
    other = np.roll(one, (down, right), axis=(0, 1)) // 2 + random.integers(0, 20, (112, 112), dtype=np.uint8)
    windows = [other[y : y + 104, x : x + 104].ravel() for y in range(9) for x in range(9)]
    plain = max(np.corrcoef(one[4:-4, 4:-4].ravel(), window)[0, 1] for window in windows)
    assert likeness(one, other) == pytest.approx(plain, abs=1e-4)


def test_what_was_seen_is_kept_until_a_picture_changes(make_root, tmp_path: Path, monkeypatch) -> None:
    module = MTLDataModule(str(make_root()), image_size=32, batch_size=2)
    parts, _ = read_parts(module)
    opened: list[Path] = []

    def read(path: Path, most: int) -> np.ndarray:
        opened.append(path)
        return read_image(path, most)

    monkeypatch.setattr(pictures, "read_image", read)
    assert check_pictures(module, parts, tmp_path / "kept") == []
    assert len(opened) == 17
    opened.clear()
    assert check_pictures(module, parts, tmp_path / "kept") == []
    assert opened == []
    changed = parts[1].images[2]
    assert changed is not None
    truncate(changed)
    os.utime(changed, ns=(0, 0))
    (finding,) = check_pictures(module, parts, tmp_path / "kept")
    assert (finding.kind, finding.file, opened) == ("unreadable", changed, [changed])


def test_a_pass_that_is_stopped_goes_on(make_root, tmp_path: Path, monkeypatch) -> None:
    module = MTLDataModule(str(make_root()), image_size=32, batch_size=2)
    parts, _ = read_parts(module)
    opened: list[Path] = []

    def read(path: Path, most: int) -> np.ndarray:
        if len(opened) == 9:
            raise KeyboardInterrupt
        opened.append(path)
        return read_image(path, most)

    monkeypatch.setattr(pictures, "read_image", read)
    monkeypatch.setattr(pictures, "_CHUNK", 4)
    with pytest.raises(KeyboardInterrupt):
        check_pictures(module, parts, tmp_path / "kept")
    kept = opened[:8]
    again: list[Path] = []
    monkeypatch.setattr(pictures, "read_image", lambda path, most: (again.append(path), read_image(path, most))[1])
    assert check_pictures(module, parts, tmp_path / "kept") == []
    assert len(again) == 9
    assert not {*again} & {*kept}


def test_the_original_of_a_copy_is_named(make_root, tmp_path: Path) -> None:
    root = make_root()
    write_picture(root / "cropped_aligned" / "b" / "00003.jpg", 5)  # that of a/00005.jpg, byte for byte
    module = MTLDataModule(str(root), image_size=32, batch_size=2)
    parts, _ = read_parts(module)
    (finding,) = check_pictures(module, parts, None)
    assert finding.file == root / "cropped_aligned" / "b" / "00003.jpg"
    assert "a near copy of" in finding.what
    assert "a/00006.jpg" in finding.what
