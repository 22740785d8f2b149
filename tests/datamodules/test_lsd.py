"""Class folders and test list of the synthetic-data challenge: spellings, order, kept listings, errors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from affect.errors import DataError
from affect.labels import LSD_FOLDERS
from datamodules.lsd import LSDDataModule, class_folders
from tests.datamodules.conftest import write_picture

COUNTS = (3, 1, 2, 4, 5, 1)


def make(root: Path, **options: object) -> LSDDataModule:
    return LSDDataModule(str(root), image_size=32, batch_size=4, **options)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("training_set_synthetic_images", "validation_set_real_images"):
        for number, (names, count) in enumerate(zip(LSD_FOLDERS, COUNTS, strict=True)):
            for i in range(count):
                write_picture(tmp_path / split / names[0] / f"{i}.jpg", 10 * number + i, size=48)
    return tmp_path


def test_test_images_are_found_whatever_their_case_and_another_suffix_is_named(root: Path) -> None:
    write_picture(root / "test" / "0.jpg", 1, size=48)
    (root / "test" / "0.jpg").rename(root / "test" / "0.JPG")
    (root / "list.txt").write_text("image,expression\n0.jpg\n")
    data = make(root, test_list="list.txt", test_root=str(root / "test"))
    frames, paths = data.read_split("test")
    assert (frames.image, paths) == (["0.jpg"], [root / "test" / "0.JPG"])
    (root / "test" / "0.JPG").rename(root / "test" / "0.png")
    with pytest.raises(DataError, match=r"0\.jpg is not in .* But there is .*/test/0\.png: rename such files"):
        data.read_split("test")


def test_every_kind_of_image_in_a_class_folder_is_listed(root: Path) -> None:
    fear = root / "validation_set_real_images" / "FEAR"
    for suffix in (".bmp", ".tif", ".TIFF", ".webp", ".gif", ".jfif"):
        (fear / f"x{suffix}").touch()
    assert np.bincount(make(root).frames("val").expression).tolist() == [3, 1, 2 + 6, 4, 5, 1]


def test_names_that_are_no_utf8_make_no_traceback(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/\xff"))
    folder.mkdir(parents=True)
    with pytest.raises(DataError, match=r"is none of the six classes") as error:
        class_folders(tmp_path / "train")
    assert "train/\\udcff is none" in str(error.value)
    str(error.value).encode()


def test_folders_are_the_labels(root: Path) -> None:
    data = make(root)
    data.setup("fit")
    frames = data.frames("train")
    assert np.bincount(frames.expression).tolist() == list(COUNTS)
    assert frames.image[:4] == ["ANGRER/0.jpg", "ANGRER/1.jpg", "ANGRER/2.jpg", "DISGUST/0.jpg"]
    assert frames.video[0] == "ANGRER"
    assert data.expressions == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    batch = next(iter(data.val_dataloader()))
    assert batch["expression"].tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("anger", ["ANGRER", "anger", "Angere"])
def test_spellings_and_the_renamed_splits(root: Path, anger: str) -> None:
    for old, new in (("training_set_synthetic_images", "train"), ("validation_set_real_images", "val")):
        (root / old).rename(root / new)
        (root / new / "ANGRER").rename(root / new / anger)
        (root / new / "FEAR").rename(root / new / "Fear")
    data = make(root)
    data.setup("fit")
    assert np.bincount(data.frames("val").expression).tolist() == list(COUNTS)


def test_a_split_under_another_name(root: Path) -> None:
    (root / "training_set_synthetic_images").rename(root / "sr")
    with pytest.raises(
        FileNotFoundError, match=r"training_set_synthetic_images, .*train\. Set data\.root .*train_folder"
    ):
        make(root).setup("fit")
    make(root, train_folder="sr").setup("fit")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        make(root / "elsewhere").setup("fit")


def test_an_unknown_class(root: Path) -> None:
    (root / "validation_set_real_images/NEUTRAL").mkdir()
    with pytest.raises(DataError, match=r"NEUTRAL is none of the six classes: ANGRER, DISGUST"):
        make(root).setup("fit")


def test_a_missing_and_a_doubled_class(root: Path) -> None:
    train = root / "training_set_synthetic_images"
    shutil.copytree(train / "ANGRER", train / "anger")
    with pytest.raises(DataError, match="are of the same class"):
        class_folders(train)
    shutil.rmtree(train / "anger")
    shutil.rmtree(train / "SADNESS")
    with pytest.raises(DataError, match="no class folder SADNESS"):
        class_folders(train)


def test_an_empty_class(root: Path) -> None:
    folder = root / "training_set_synthetic_images/FEAR"
    for file in folder.iterdir():
        file.unlink()
    (folder / "Thumbs.db").write_text("")
    with pytest.raises(DataError, match="FEAR holds no image"):
        make(root).setup("fit")


def test_a_batch_larger_than_the_data_set(root: Path) -> None:
    with pytest.raises(DataError, match=r"16 training rows .* do not fill one batch of 1216"):
        LSDDataModule(str(root), image_size=32, batch_size=1216).setup("fit")


def test_test_list(root: Path, tmp_path: Path) -> None:
    flat = tmp_path / "test"
    for number in range(3):
        write_picture(flat / f"{number}.jpg", number, size=48)
    listed = tmp_path / "LSD_Challenge_test_set_release.txt"
    listed.write_text("image,expression\r\n2.jpg,\r\n0.jpg,\r\n1.jpg,\r\n")
    data = make(root, test_list=str(listed), test_root=str(flat))
    data.predict_split = "test"
    data.setup("predict")
    assert data.frames("test").image == ["2.jpg", "0.jpg", "1.jpg"]
    assert len(next(iter(data.predict_dataloader()))["row"]) == 3

    listed.write_text("image,expression\n2.jpg\n7.jpg\n8.jpg\n")
    with pytest.raises(DataError, match=r"release\.txt:3: 7\.jpg is not in .*, nor are 1 more of 3"):
        make(root, test_list=str(listed), test_root=str(flat)).frames("test")
    listed.write_text("2.jpg\n0.jpg\n")
    with pytest.raises(DataError, match="the header is missing"):
        make(root, test_list=str(listed), test_root=str(flat)).frames("test")
    with pytest.raises(FileNotFoundError, match=r"Set data\.test_list"):
        make(root).frames("test")
