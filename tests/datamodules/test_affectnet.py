"""AffectNet's class folders: order, numbering, balanced draws, errors; which of the two layouts is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from affect.batch import Batch
from affect.errors import DataError
from affect.frames import Frames
from affect.labels import AFFECTNET_EXPRESSIONS
from datamodules.affectnet import AffectNetDataModule
from datamodules.transforms import DANTransform
from tests.datamodules.conftest import truncate, write_picture, write_release

COUNTS = (20, 5, 1, 1, 1, 2, 1, 1)

AFFECTNET_ALIASES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, factor in (("train", 1), ("val", 0)):
        for number, count in enumerate(COUNTS):
            for i in range(count if factor else 1):
                write_picture(tmp_path / split / str(number) / f"{i:03d}.jpg", 100 * number + i, size=48)
    (tmp_path / "train/0/notes.txt").write_text("not a picture")
    return tmp_path


def all_rows(data: AffectNetDataModule, epoch: int) -> list[Batch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    return list(loader)


def test_folders_are_the_labels_in_affectnets_numbering(root: Path) -> None:
    data = AffectNetDataModule(str(root), image_size=32, batch_size=8)
    data.setup("fit")
    frames = data.frames("train")
    assert np.bincount(frames.expression).tolist() == list(COUNTS)
    assert frames.image[:2] == ["0/000.jpg", "0/001.jpg"]
    assert frames.image[20] == "1/000.jpg"
    (batch,) = data.val_dataloader()
    assert batch["expression"].tolist() == [*range(8)]
    assert batch["image"].shape == (8, 3, 32, 32)
    assert torch.isnan(batch["action_units"]).all()


def test_balanced_draws_are_pure_in_seed_and_epoch(root: Path) -> None:
    data = AffectNetDataModule(str(root), image_size=32, batch_size=32)
    drawn = [all_rows(data, epoch)[0]["row"].tolist() for epoch in range(60)]
    assert (
        drawn[3]
        == all_rows(AffectNetDataModule(str(root), image_size=32, batch_size=32, num_workers=1), 3)[0]["row"].tolist()
    )
    assert len({tuple(rows) for rows in drawn}) == 60
    shares = np.bincount(data.frames("train").expression[np.concatenate(drawn)]) / (60 * 32)
    assert shares == pytest.approx(np.full(8, 1 / 8), abs=0.03)
    plain = AffectNetDataModule(str(root), image_size=32, batch_size=32, balanced=False)
    assert sorted(all_rows(plain, 0)[0]["row"].tolist()) == [*range(32)]


def test_augmentation_of_a_row_drawn_twice_is_one_draw(root: Path) -> None:
    """A repeated row is augmented alike within an epoch: the draw is a function of (seed, epoch, row)."""
    data = AffectNetDataModule(
        str(root), image_size=32, batch_size=32, augmentation=DANTransform(image_size=32, affine=1.0)
    )
    (batch,) = all_rows(data, 0)
    rows = batch["row"].tolist()
    repeated = next(row for row in rows if rows.count(row) > 1)
    first, second = [i for i, row in enumerate(rows) if row == repeated][:2]
    assert torch.equal(batch["image"][first], batch["image"][second])


def test_errors_name_folder_and_setting(root: Path) -> None:
    def data() -> AffectNetDataModule:
        return AffectNetDataModule(str(root), image_size=32, batch_size=8)

    truncate(root / "val/3/000.jpg")
    (batch,) = data().val_dataloader()
    assert (batch["row"].tolist(), batch["unreadable"].tolist()) == ([0, 1, 2, 4, 5, 6, 7], [3])
    shutil.rmtree(root / "train/6")
    with pytest.raises(
        FileNotFoundError,
        match=r"train has no folder 6 or anger, .* data\.root .*train/0 \(neutral\) to train/7 \(contempt\)",
    ):
        data().setup("fit")
    for path in root.glob("val/*/*"):
        path.unlink()
    with pytest.raises(DataError, match="val split is empty"):
        data().setup("validate")


def test_seven_classes_leave_out_contempt(root: Path) -> None:
    shutil.rmtree(root / "val/7")
    with pytest.raises(FileNotFoundError, match=r"val has no folder 7 or contempt, there is 0, 1, 2, 3, 4, 5, 6\. "):
        AffectNetDataModule(str(root), image_size=32, batch_size=8).frames("val")
    data = AffectNetDataModule(str(root), image_size=32, batch_size=8, classes=7)
    data.setup("fit")
    assert data.expressions == AFFECTNET_EXPRESSIONS[:7]
    assert np.bincount(data.frames("train").expression).tolist() == list(COUNTS[:7])
    assert data.frames("val").expression.tolist() == [*range(7)]
    with pytest.raises(ValueError, match=r"data\.classes is 6, expected 7 or 8"):
        AffectNetDataModule(str(root), image_size=32, batch_size=8, classes=6)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", [str.lower, str.upper, str.capitalize])
@pytest.mark.parametrize("alias", [0, 1])
def test_folders_called_by_their_expression_are_read(root: Path, style, alias: int) -> None:
    names = AFFECTNET_EXPRESSIONS if alias == 0 else AFFECTNET_ALIASES
    wanted = AffectNetDataModule(str(root), image_size=32, batch_size=8).frames("val").expression
    for number, name in enumerate(names):
        (root / "val" / str(number)).rename(root / "val" / style(name))
    (root / "val" / "Uncertain").mkdir()
    data = AffectNetDataModule(str(root), image_size=32, batch_size=8)
    assert data.frames("val").expression.tolist() == wanted.tolist()
    assert data.frames("val").image[1] == f"{style(names[1])}/000.jpg"
    assert data.has_image("val").all()


def test_folders_of_unknown_or_two_names_are_told(root: Path) -> None:
    (root / "val" / "3").rename(root / "val" / "astonished")
    wanted = (
        r"val has no folder 3 or surprise, there is 0, 1, 2, 4, 5, 6, 7, astonished\. .* or the same called neutral, "
        "happiness, sadness, surprise, fear, disgust, anger, contempt"
    )
    with pytest.raises(FileNotFoundError, match=wanted):
        AffectNetDataModule(str(root), image_size=32, batch_size=8).frames("val")
    (root / "train" / "Sad").mkdir()
    with pytest.raises(DataError, match=r"train/2 and .*train/Sad are of the same class\. Merge them"):
        AffectNetDataModule(str(root), image_size=32, batch_size=8).frames("train")


def test_images_in_both_splits_are_told(root: Path, caplog) -> None:
    AffectNetDataModule(str(root), image_size=32, batch_size=8).setup("fit")
    assert "trained on, too" not in caplog.text  # files of both are called alike
    shutil.rmtree(root / "val")
    (root / "val").symlink_to(root / "train")
    AffectNetDataModule(str(root), image_size=32, batch_size=8).setup("fit")
    assert f"{sum(COUNTS)} of {sum(COUNTS)} validation rows are of images or videos that are trained on" in caplog.text


def test_listings_are_kept(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kept = AffectNetDataModule(str(root), image_size=32, batch_size=8, cache_dir=str(cache)).frames("train")
    assert len([*cache.iterdir()]) == 8
    again = AffectNetDataModule(str(root), image_size=32, batch_size=8, cache_dir=str(cache)).frames("train")
    assert (
        kept.image == again.image == AffectNetDataModule(str(root), image_size=32, batch_size=8).frames("train").image
    )


def test_the_layout_is_told_by_the_folders_of_the_split(root: Path, tmp_path: Path) -> None:
    def frames(folder: Path, layout: Literal["release", "folders"] | None = None) -> Frames:
        return AffectNetDataModule(str(folder), layout=layout, image_size=32, batch_size=8).frames("val")

    neither = r"Set data\.root to .*val_set/images and val_set/annotations, .* class folders val/0 "
    for folder, problem in ((tmp_path / "train", "holds no val split"), (tmp_path / "x", "no such folder")):
        with pytest.raises(FileNotFoundError, match=rf"{problem}.*{neither}"):
            frames(folder)
    assert frames(root).image[0] == "0/000.jpg"
    with pytest.raises(
        FileNotFoundError, match=rf"holds no val split of AffectNet \(data\.layout=release\).*{neither}"
    ):
        frames(root, "release")
    write_release(root / "val_set", [3, "5"])
    with pytest.raises(DataError, match=r"val_set and .*/val are both AffectNet's val split.*data\.layout=release"):
        frames(root)
    assert frames(root, "folders").image[0] == "0/000.jpg"
    assert frames(root, "release").image == ["0.jpg", "1.jpg"]
    shutil.rmtree(root / "val")
    assert frames(root).image == ["0.jpg", "1.jpg"]


def test_class_folders_have_no_valence(root: Path) -> None:
    data = AffectNetDataModule(str(root), image_size=32, batch_size=8, valence_arousal=True)
    with pytest.raises(DataError, match=r"Set data\.valence_arousal=false"):
        data.setup("fit")
