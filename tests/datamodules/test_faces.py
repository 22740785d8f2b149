"""Faces without labels: CelebA's partition, plain trees, squares, small and broken images."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from affect.errors import DataError
from datamodules.faces import FacesDataModule
from datamodules.readers.celeba import read_partition
from datamodules.transforms import MAETransform, Transform, middle_square
from tests.datamodules.conftest import process


def write(path: Path, size: tuple[int, int] = (24, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(len(str(path))).integers(0, 255, (*size, 3), dtype=np.uint8)
    cv2.imwrite(str(path), picture)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """Six aligned images with the official partition file; the last is in no split."""
    for number in range(1, 7):
        write(tmp_path / "celeba" / "img_align_celeba" / f"{number:06d}.jpg", (218, 178))
    lines = ["000001.jpg 0", "000002.jpg 1", "000003.jpg 0", "000004.jpg 2", "000005.jpg 0"]
    (tmp_path / "celeba" / "Eval").mkdir()
    (tmp_path / "celeba" / "Eval" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "celeba"


def make(root: Path, **options) -> FacesDataModule:
    return FacesDataModule(str(root), **{"image_size": 16, "batch_size": 2, "on_unreadable": "skip", **options})


def test_celeba_is_split_by_its_partition(celeba: Path) -> None:
    data = make(celeba)
    assert data.frames("train").image == [f"img_align_celeba/00000{n}.jpg" for n in (1, 3, 5)]
    assert data.frames("val").image == ["img_align_celeba/000002.jpg"]
    assert data.frames("test").image == ["img_align_celeba/000004.jpg"]
    assert list(data.frames("train").files) == ["list_eval_partition.txt"]
    assert data.train_rows.tolist() == [0, 1, 2]


def test_the_comma_separated_copy_is_read_too(celeba: Path) -> None:
    (celeba / "Eval" / "list_eval_partition.txt").rename(celeba / "old.txt")
    (celeba / "list_eval_partition.csv").write_text("image_id,partition\n000001.jpg,1\n000002.jpg,0\n")
    data = make(celeba)
    assert data.frames("train").image == ["img_align_celeba/000002.jpg"]
    given = make(celeba, partition="old.txt")
    assert given.frames("val").image == ["img_align_celeba/000002.jpg"]


def test_a_plain_tree_is_split_by_hash_and_adding_images_moves_none(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number % 10}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 10}" / f"{number}.JPG").touch()
    before = {split: set(make(tmp_path, val_share=0.3).frames(split).image) for split in ("train", "val")}
    assert before["train"] | before["val"] == {f"{n % 10}/{n}.JPG" for n in range(200)}
    assert not before["train"] & before["val"]
    assert 35 < len(before["val"]) < 85
    (tmp_path / "0" / "more.png").touch()
    (tmp_path / "0" / "notes.txt").touch()
    after = make(tmp_path, val_share=0.3)
    for split in ("train", "val"):
        assert before[split] == set(after.frames(split).image) - {"0/more.png"}
    folders = make(tmp_path, val_share=0.3, val_by="folder")
    assert not {i[0] for i in folders.frames("train").image} & {i[0] for i in folders.frames("val").image}


def test_several_roots(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "b" / "1.png")
    data = FacesDataModule([str(tmp_path / "a"), str(tmp_path / "b")], image_size=16, batch_size=1, val_share=1e-9)
    frames, images = data.read_split("train")
    assert frames.image == ["1.png", "1.png"]
    assert images == [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"]


def test_unreadable_and_small_images_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "good1.jpg")
    write(tmp_path / "good2.jpg")
    write(tmp_path / "small.jpg", (24, 9))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    data = make(tmp_path, val_share=1e-9, min_size=10, batch_size=4)
    (batch,) = list(data.train_dataloader())
    names = data.frames("train").image
    assert sorted(names[row] for row in batch["row"]) == ["good1.jpg", "good2.jpg"]
    assert sorted(names[row] for row in batch["unreadable"]) == ["broken.jpg", "small.jpg"]
    with pytest.raises(DataError, match=r"small\.jpg: 9 x 24 px, but data\.min_size=10|broken\.jpg"):
        list(make(tmp_path, val_share=1e-9, min_size=10, on_unreadable="error").train_dataloader())


def test_squares_keep_the_aspect(tmp_path: Path) -> None:
    image = np.zeros((40, 20, 3), dtype=np.uint8)
    image[10:30] = 200
    assert middle_square(image).shape == (20, 20, 3)
    for number in range(20):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)

    def values(augmentation: Transform | None, square: bool) -> torch.Tensor:
        data = make(tmp_path, image_size=8, batch_size=20, val_share=1e-9, square=square, augmentation=augmentation)
        (batch,) = data.train_dataloader()
        return batch["image"]

    for augmentation in (None, MAETransform(image_size=8)):
        assert (values(augmentation, True) == 200).all()
        assert (values(augmentation, False) == 0).any()


@pytest.mark.parametrize(
    ("device", "devices", "of_task", "expected"),
    [("cpu", 1, "", 0), ("cuda", 1, "", 12), ("cuda", 4, "", 3), ("cuda", 20, "", 1), ("cuda", 4, "8", 8),
     ("cuda", 1, "40", 16)],
)  # fmt: skip
def test_a_gpu_gets_the_cores_that_are_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, devices: int, of_task: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", of_task)
    data = make(tmp_path)
    assert data._loading()["num_workers"] == 0, "no trainer yet"
    data.trainer = process(device=device, num_devices=devices)
    loading = data._loading()
    assert (loading["num_workers"], loading["persistent_workers"], loading["pin_memory"]) == (
        expected, expected > 0, device == "cuda"
    )  # fmt: skip
    data.num_workers, data.pin_memory = 2, False
    assert (data._loading()["num_workers"], data._loading()["pin_memory"]) == (2, False), "what was asked for"


def test_crops_are_a_function_of_seed_epoch_and_row() -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 40, 3), dtype=np.uint8)
    one, two = MAETransform(image_size=16, seed=1), MAETransform(image_size=16, seed=1)
    two(image, epoch=3, row=4)  # what was drawn before changes nothing
    first = one(image, epoch=0, row=0)
    assert first.shape == (16, 16, 3)
    np.testing.assert_array_equal(first, two(image, epoch=0, row=0))
    others = [
        one(image, epoch=1, row=0),
        one(image, epoch=0, row=1),
        MAETransform(image_size=16, seed=2)(image, epoch=0, row=0),
    ]
    assert all((first != other).any() for other in others)


def test_where_nothing_is_trained_every_image_is_evaluated(tmp_path: Path, celeba: Path) -> None:
    for number in range(60):
        write(tmp_path / "tree" / f"{number}.jpg", (20, 20))
    training, evaluation = make(tmp_path / "tree", val_share=0.2), make(tmp_path / "tree", val_share=0.2)
    evaluation.evaluate_only()
    assert 0 < len(training.frames("val")) < 30
    assert len(training.frames("val")) + len(training.frames("train")) == 60
    for split in ("val", "test"):
        assert evaluation.frames(split).image == sorted(f"{number}.jpg" for number in range(60))
    parted = make(celeba)
    parted.evaluate_only()
    assert parted.frames("val").image == ["img_align_celeba/000002.jpg"]


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".TIFF", ".webp", ".jfif", ".gif"])
def test_pictures_of_every_listed_format_are_read(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    path = tmp_path / f"0{suffix}"
    formats = {".jfif": "jpeg", ".tif": "tiff"}
    options = {".webp": {"lossless": True}}.get(suffix, {})
    PIL.Image.fromarray(values).save(path, formats.get(suffix, suffix.lower()[1:]), **options)
    data = make(tmp_path, image_size=16)
    data.evaluate_only()
    (batch,) = data.val_dataloader()
    found = batch["image"][0].numpy().transpose(1, 2, 0)
    with PIL.Image.open(path) as image:
        wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(found, wanted)
    if suffix != ".jfif":
        np.testing.assert_array_equal(found, values)  # nothing is lost


def test_what_is_left_out_is_counted_and_named(tmp_path: Path, caplog) -> None:
    for name in ("0.jpg", "deep/1.jpg"):
        write(tmp_path / name, (20, 20))
    for name in ("a.heic", "b.HEIC", "notes", "deep/c.txt", "deep/._2.jpg"):
        (tmp_path / name).write_bytes(b"")
    for name in (b"z\xff.jpg", b"deep/\xe9.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9t\xe9"))
    folder.mkdir()
    (folder / "3.jpg").write_bytes(b"")
    caplog.set_level("INFO")
    for _ in range(2):  # the second time from the kept listing
        caplog.clear()
        data = make(tmp_path, cache_dir=str(tmp_path / ".cache"))
        data.evaluate_only()
        assert data.frames("val").image == ["0.jpg", "deep/1.jpg"]
        told = [record.getMessage() for record in caplog.records]
        assert told == [
            f"{tmp_path}: 3 images or folders are left out, because their names are not UTF-8: rename them. The first "
            "is b'deep/\\xe9.png'",
            f"{tmp_path}: 2 images;\n  other files are left out: 2 .heic, 1 without a suffix, 1 .txt",
        ]


def test_bad_input(tmp_path: Path, celeba: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*nowhere\. Set data\.root"):
        make(tmp_path / "nowhere").frames("train")
    (tmp_path / "empty" / "folder").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no image \(\.jpg, \.jpeg, .*\.gif\) in .*empty"):
        make(tmp_path / "empty").frames("train")
    with pytest.raises(FileNotFoundError, match=r"Set data\.partition"):
        make(celeba, partition="nothing.txt").frames("train")
    (celeba / "bad.txt").write_text("000001.jpg 0\n000002.jpg 7\n")
    with pytest.raises(DataError, match=r"bad\.txt:2: '000002\.jpg 7' is not"):
        read_partition(celeba / "bad.txt")
    (celeba / "bad.txt").write_text("000001.jpg 0\n")
    with pytest.raises(DataError, match=r"the val split is empty\. None of them is listed with 1"):
        make(celeba, partition="bad.txt").frames("val")
    (celeba / "bad.txt").write_text("000001.png 1\n")
    with pytest.raises(DataError, match=r"It has 000001\.png where there is .*/img_align_celeba/000001\.jpg: rename"):
        make(celeba, partition="bad.txt").frames("val")
    (celeba / "bad.txt").write_text("000001.JPG 1\n")
    assert make(celeba, partition="bad.txt").frames("val").image == ["img_align_celeba/000001.jpg"]
    with pytest.raises(ValueError, match=r"data\.val_share is 1\.5"):
        make(celeba, val_share=1.5)
    with pytest.raises(ValueError, match=r"data\.val_by is 'video'"):
        make(celeba, val_by="video")
