"""AffectNet as it is given out: numbers in any spelling, what is left out, what is kept, what is refused."""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import DataError
from affect.frames import Frames
from datamodules.affectnet import AffectNetDataModule
from datamodules.links import Links
from datamodules.readers.affectnet import read_annotations, read_release
from tests.datamodules.conftest import write_annotation, write_release

EXPRESSIONS = ["0", 1, np.int8(2), "3", 4.0, np.str_("5"), 6, "7"]


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """A split with each class once, written in the ways that numbers are."""
    folder = tmp_path / "root" / "train_set"
    write_release(folder, EXPRESSIONS)
    return folder


def read(split: Path, classes: int = 8, *, valence_arousal: bool = False, cache: Path | None = None) -> Frames:
    links = Links(split, follow_outside=False)
    return read_release(split, classes=classes, valence_arousal=valence_arousal, cache=cache, links=links)[0]


def moved_on(folder: Path) -> None:
    later = folder.stat().st_mtime_ns + 1_000_000
    os.utime(folder, ns=(later, later))


def test_labels_and_batches(split: Path) -> None:
    write_release(split.parent / "val_set", [7, 0, 2])
    data = AffectNetDataModule(str(split.parent), image_size=32, batch_size=8, cache_dir=None)
    data.setup("fit")
    frames = data.frames("train")
    assert frames.expression.tolist() == [*range(8)]
    assert frames.image == [f"{number}.jpg" for number in range(8)]
    assert frames.frame.tolist() == [*range(8)]
    assert np.isnan(frames.valence_arousal).all()
    (batch,) = data.val_dataloader()
    assert batch["expression"].tolist() == [7, 0, 2]
    assert batch["image"].shape == (3, 3, 32, 32)
    seven = AffectNetDataModule(str(split.parent), image_size=32, batch_size=4, classes=7)
    assert seven.frames("val").image == ["1.jpg", "2.jpg"]
    assert seven.frames("train").expression.tolist() == [*range(7)]


WRITTEN: list[Callable[[int], object]] = [int, str, float, np.int8, lambda number: np.bytes_(str(number))]


@settings(max_examples=30, deadline=None)
@given(
    labels=st.dictionaries(st.integers(0, 10**6), st.tuples(st.integers(0, 10), st.sampled_from(WRITTEN)), min_size=1),
    classes=st.sampled_from([7, 8]),
)
def test_rows_are_the_images_of_the_classes_in_order_of_name(
    labels: dict[int, tuple[int, Callable[[int], object]]], classes: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        images, annotations = Path(folder) / "images", Path(folder) / "annotations"
        images.mkdir()
        for stem, (number, written) in labels.items():
            (images / f"{stem}.jpg").touch()
            write_annotation(annotations, str(stem), "exp", written(number))
        expected = sorted((f"{stem}.jpg", number) for stem, (number, _) in labels.items() if number < classes)
        if not expected:
            with pytest.raises(DataError, match="the split is empty"):
                read(Path(folder), classes)
            return
        frames = read(Path(folder), classes)
        assert [*zip(frames.image, frames.expression.tolist(), strict=True)] == expected


def test_what_shows_no_expression_is_left_out_and_counted(split: Path, caplog: pytest.LogCaptureFixture) -> None:
    for stem, number in (("0", "8"), ("1", 10), ("2", "10")):
        write_annotation(split / "annotations", stem, "exp", number)
    with caplog.at_level(logging.INFO):
        frames = read(split, classes=7)
    assert frames.image == ["3.jpg", "4.jpg", "5.jpg", "6.jpg"]
    assert "train_set: 4 of 8 images; left out: 1 contempt, 1 none, 2 no face" in caplog.text


def test_valence_and_arousal_are_read_when_asked_for(split: Path) -> None:
    with pytest.raises(DataError, match=r"no such file: .*/0_val\.npy, .*; 7 more of 8 .*data\.valence_arousal=false"):
        read(split, valence_arousal=True)
    values = np.linspace(-1, 1, 16).reshape(8, 2).round(6)
    values[3, 0], values[5, 1] = -2, -2
    for stem, pair in enumerate(values):
        for kind, value in zip(("val", "aro"), pair, strict=True):
            write_annotation(split / "annotations", str(stem), kind, str(value) if stem % 2 else value)
    found = read(split, valence_arousal=True).valence_arousal
    assert found.dtype == np.float32
    known = np.array([stem not in (3, 5) for stem in range(8)])
    np.testing.assert_array_equal(found[known], values[known].astype(np.float32))
    assert np.isnan(found[~known]).all()
    assert np.isnan(read(split).valence_arousal).all()
    assert read(split, 7, valence_arousal=True).valence_arousal.shape == (7, 2)
    write_annotation(split / "annotations", "6", "aro", 1.5)
    with pytest.raises(DataError, match=r"6_aro\.npy holds 1\.5, expected a number from -1 to 1, or -2 where"):
        read(split, valence_arousal=True)


def test_annotations_are_read_once_and_again_when_the_folder_has_changed(split: Path, tmp_path: Path) -> None:
    cache, annotations = tmp_path / "cache", split / "annotations"
    first = read(split, cache=cache)
    assert len([*cache.iterdir()]) == 2
    stamp = annotations.stat().st_mtime_ns
    for path in annotations.iterdir():  # in place, which the folder's own time does not show
        path.write_bytes(b"no longer read")
    assert annotations.stat().st_mtime_ns == stamp
    again = read(split, cache=cache)
    assert again.expression.tolist() == first.expression.tolist()
    assert again.files == first.files
    moved_on(annotations)
    with pytest.raises(DataError, match="8 of 8 such files"):
        read(split, cache=cache)
    write_release(split, [*EXPRESSIONS, 2])
    for folder in (split / "images", annotations):
        moved_on(folder)
    changed = read(split, cache=cache)
    assert changed.expression.tolist() == [*range(8), 2]
    assert changed.files.keys() == first.files.keys() == {"train_set/annotations"}
    assert changed.files != first.files


def test_hidden_files_of_a_mac_are_not_read(split: Path) -> None:
    (split / "images/._0.jpg").write_bytes(b"\0")
    (split / "annotations/._0_exp.npy").write_bytes(b"\0")
    assert len(read(split)) == 8


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (11, r"holds 11, expected a whole number from 0 to 10"),
        (-1, r"holds -1, expected"),
        ("2.5", r"holds '2\.5', expected"),
        (float("nan"), r"holds nan, expected"),
        ("happy", r"cannot be read \(ValueError: could not convert string to float: 'happy'\)"),
        ([1, 2], r"cannot be read \(ValueError: can only convert an array of size 1"),
        (b"", r"cannot be read \(ValueError"),
    ],
)
def test_a_value_that_is_no_expression(split: Path, value: object, message: str) -> None:
    for stem in ("4", "5"):
        write_annotation(split / "annotations", stem, "exp", value)
    with pytest.raises(
        DataError, match=rf"annotations/4_exp\.npy {message}.*2 of 8 such files cannot be used\. Copy them again"
    ):
        read(split)


def test_pickles_are_not_opened(split: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.save(split / "annotations/3_exp.npy", np.array(Trap(), dtype=object), allow_pickle=True)
    (split / "annotations/6_exp.npy").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"3_exp\.npy cannot be read .*pickle.*2 of 8"):
        read(split)
    assert not (tmp_path / "sprung").exists()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_an_error_that_names_it_or_still_a_number(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_annotation(Path(folder), "1", "exp", data.draw(st.sampled_from(["7", 3, 5.0])))
        path = Path(folder) / "1_exp.npy"
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(0, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            (outcome,) = read_annotations(Path(folder), "exp", None, Links(folder, follow_outside=False)).values()
        except DataError as error:
            outcome = str(error)
        assert str(path) in outcome if isinstance(outcome, str) else outcome in range(11)


def test_an_image_without_annotation_and_an_annotation_without_image(split: Path) -> None:
    missing = [split / "annotations" / f"{stem}_exp.npy" for stem in (2, 4)]
    kept = [path.read_bytes() for path in missing]
    for path in missing:
        path.unlink()
    with pytest.raises(DataError, match=rf"no such file: {missing[0]}, .*; 1 more of 8 images lack theirs\. Unpack"):
        read(split)
    for path, content in zip(missing, kept, strict=True):
        path.write_bytes(content)
    (split / "images/5.jpg").unlink()
    with pytest.raises(DataError, match=r"5_exp\.npy has no image in .*/images .*, nor have 0 more of 8\. Unpack"):
        read(split)


def test_folders_that_are_missing_or_empty(split: Path) -> None:
    for path in (split / "annotations").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="7 more of 8 images lack theirs"):
        read(split)
    for path in (split / "images").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"none of the 0 images .* the split is empty"):
        read(split)
    (split / "annotations").rmdir()
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*/annotations\. Unpack AffectNet's archive"):
        read(split)
