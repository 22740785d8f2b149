"""The multi-task data module: splits, missing and unreadable images, reproducible batches, Lightning's loops."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from affect.batch import Batch
from affect.errors import DataError
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.pictures import UnreadableImageError
from datamodules.transforms import JitterAndCrop
from features.datamodule import FeaturesDataModule
from features.store import open_store
from features.store_files import FeatureWriter, StoreInfo
from tests.datamodules.conftest import HEADER, LABELS, UNLABELLED, process, truncate, write_picture

REAL = Path(__file__).parents[2] / "../shared/real_faces_small"
OPTIONS: dict[str, Any] = {"image_size": 32, "batch_size": 4, "augmentation": JitterAndCrop(image_size=32)}
MakeRoot = Callable[..., Path]


def module(root: Path | list[Path], **options: Any) -> MTLDataModule:
    roots = [str(folder) for folder in root] if isinstance(root, list) else str(root)
    return MTLDataModule(roots, **{**OPTIONS, **options})


def epochs(data: MTLDataModule, count: int) -> list[list[Batch]]:
    loader = data.train_dataloader()
    batches = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined] # what Lightning does
        batches.append(list(loader))
    return batches


def assert_equal(first: Iterable[Batch], second: Iterable[Batch]) -> None:
    for a, b in zip(first, second, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            torch.testing.assert_close(value, b[key], rtol=0, atol=0, equal_nan=True)  # type: ignore[literal-required]


def rows(batches: Iterable[Batch], key: str = "row") -> list[int]:
    return [row for batch in batches for row in batch[key].tolist()]  # type: ignore[literal-required]


def test_kept_listings_are_used_until_a_folder_changes(
    make_root: MakeRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = make_root(train=6, val=3), str(tmp_path / "cache")
    first = module(root, cache_dir=cache).read_split("train")[1]
    listed: list[Any] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path)) or real(path))
    assert module(root, cache_dir=cache).read_split("train")[1] == first == module(root).read_split("train")[1]
    folders = {path.parent for path in first if path is not None}
    assert sorted(listed) == sorted(folders)  # those without a cache
    changed = folders.pop()
    os.utime(changed, ns=(1, 1))
    listed.clear()
    assert module(root, cache_dir=cache).read_split("train")[1] == first
    assert listed == [changed]


def test_pictures_are_those_of_the_readable_rows(make_root: MakeRoot) -> None:
    root = make_root(train=13, val=7)
    truncate(root / "cropped_aligned/b/00003.jpg")
    data = module(root)
    read = dict(data.pictures("val", [5, 2, 0], 32))
    assert list(read) == [5, 0]  # row 2 is truncated
    (batch, *_) = data.loader_of("val", [np.array([0])])
    np.testing.assert_array_equal(read[0], batch["image"][0].permute(1, 2, 0).numpy())
    assert next(data.pictures("val", [0], 48))[1].shape == (48, 48, 3)


def test_workers_change_nothing_and_epochs_differ(make_root: MakeRoot) -> None:
    root = make_root(train=13, val=7)
    truncate(root / "cropped_aligned/b/00003.jpg")
    wanted = module(root)
    train, val = epochs(wanted, 2), list(wanted.val_dataloader())
    assert [len(batches) for batches in train] == [3, 3]
    assert rows(train[0]) != rows(train[1])
    images = {
        row: image for batch in train[0] for row, image in zip(batch["row"].tolist(), batch["image"], strict=True)
    }
    again = {row: image for batch in train[1] for row, image in zip(batch["row"].tolist(), batch["image"], strict=True)}
    assert any((images[row] != again[row]).any() for row in images.keys() & again.keys())
    assert (rows(val), rows(val, "unreadable")) == ([0, 1, 3, 4, 5, 6], [2])

    for workers in (0, 1, 2):
        state = torch.get_rng_state()
        data = module(root, num_workers=workers)
        for batches, expected in zip(epochs(data, 2), train, strict=True):
            assert_equal(batches, expected)
        assert_equal(data.val_dataloader(), val)
        assert torch.equal(torch.get_rng_state(), state)  # or the number of workers would change dropout
    assert rows(epochs(module(root, seed=1), 1)[0]) != rows(train[0])


def test_training_keeps_duplicates_and_drops_rows_without_label_or_image(
    make_root: MakeRoot, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_root(train=4)
    path = root / "training_set_annotations.txt"
    path.write_text(
        path.read_text()
        + f"a/00002.jpg,{LABELS}\na/00003.jpg,{UNLABELLED}\na/00099.jpg,{LABELS}\nnone/00001.jpg,{LABELS}\n"
    )
    data = module(root, drop_last=False)
    with caplog.at_level(logging.INFO):
        data.setup("fit")
    assert data.train_rows.tolist() == [0, 1, 2, 3, 4]
    assert "training: 5 of 8 rows; left out: 1 without a label, 2 without an image" in caplog.text
    assert sorted(rows(data.train_dataloader())) == [0, 1, 2, 3, 4]
    assert len(data.frames("train")) == 8
    data.predict_split = "train"  # a prediction gives every row
    batches = list(data.predict_dataloader())
    assert rows(batches) == [0, 1, 2, 3, 4, 5]
    assert rows(batches, "unreadable") == [6, 7]


def test_truncated_image_fails_in_training_unless_skipped(make_root: MakeRoot) -> None:
    root = make_root(train=8)
    truncate(root / "cropped_aligned/a/00005.jpg")
    for workers in (0, 1):
        with pytest.raises(UnreadableImageError, match=r"a/00005\.jpg: truncated.*data\.on_unreadable=skip"):
            list(module(root, num_workers=workers).train_dataloader())
    batches = list(module(root, on_unreadable="skip").train_dataloader())
    assert sorted(rows(batches)) == [0, 1, 2, 3, 5, 6, 7]
    assert rows(batches, "unreadable") == [4]
    assert sorted(len(batch["image"]) for batch in batches) == [3, 4]
    with pytest.raises(ValueError, match=r"data\.on_unreadable is 'ignore', expected error or skip"):
        module(root, on_unreadable="ignore")


def test_several_roots_are_merged_and_the_first_wins(make_root: MakeRoot, tmp_path: Path) -> None:
    root, more = make_root(train=4), tmp_path / "more"
    for number in (1, 5):  # 00001 is in both roots, 00005 only here
        write_picture(more / f"cropped_aligned/a/{number:05d}.jpg", 50)
    write_picture(more / "cropped_aligned/c/00001.jpg", 60)
    path = root / "training_set_annotations.txt"
    path.write_text(path.read_text() + f"a/00005.jpg,{LABELS}\nc/00001.jpg,{LABELS}\n")
    _, images = module([root, more]).read_split("train")
    folders = [image.relative_to(tmp_path).parts[0] for image in images if image]
    assert folders == ["root"] * 4 + ["more"] * 2
    _, images = module([more, root]).read_split("train")
    folders = [image.relative_to(tmp_path).parts[0] for image in images if image]
    assert folders == ["more", "root", "root", "root", "more", "more"]
    assert module(root).read_split("train")[1][4:] == [None, None]


def test_abaw3_names_given_names_and_test_list(make_root: MakeRoot, tmp_path: Path) -> None:
    root = make_root()
    (root / "training_set_annotations.txt").rename(root / "train_set.txt")
    (root / "validation_set_annotations.txt").rename(root / "validation_set.txt")
    data = module(root)
    assert (len(data.frames("train")), len(data.frames("val"))) == (10, 7)
    assert list(data.frames("train").files) == ["train_set.txt"]
    swapped = module(root, train_annotations="validation_set.txt", val_annotations=str(root / "train_set.txt"))
    assert (len(swapped.frames("train")), len(swapped.frames("val"))) == (7, 10)

    test_root = tmp_path / "test"
    write_picture(test_root / "cropped_aligned/t/00001.jpg", 1)
    (tmp_path / "list.txt").write_text(f"{HEADER}\nt/00001.jpg,\nt/00002.jpg,\nt/00001.jpg,\n")
    data = module(root, test_list=str(tmp_path / "list.txt"), test_root=str(test_root))
    data.predict_split = "test"
    data.setup("predict")
    (batch,) = data.predict_dataloader()
    assert (batch["row"].tolist(), batch["unreadable"].tolist()) == ([0, 2], [1])
    assert batch["expression"].tolist() == [-1, -1]


def test_bad_roots_and_files_are_named(make_root: MakeRoot, tmp_path: Path) -> None:
    root = make_root(train=3)
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*nowhere\. Set data\.root"):
        module(tmp_path / "nowhere").setup("fit")
    with pytest.raises(FileNotFoundError, match=r"other\.txt\. Set data\.val_annotations"):
        module(root, val_annotations="other.txt").setup("validate")
    with pytest.raises(
        FileNotFoundError, match=r"training_set_annotations\.txt, .*train_set\.txt\. Set data\.train_ann"
    ):
        module(root / "cropped_aligned").setup("fit")
    with pytest.raises(FileNotFoundError, match=r"data\.test_list"):
        module(root).frames("test")
    with pytest.raises(
        FileNotFoundError, match=r"none of the 7 images .*crops/b/00001\.jpg\. Set data\.root.*data\.images"
    ):
        module(root, images="crops").setup("validate")
    with pytest.raises(DataError, match=r"3 training rows .* one batch of 4.*data\.batch_size"):
        module(root).setup("fit")
    with pytest.raises(TypeError, match="batchsize"):
        module(root, batchsize=3)
    path = root / "training_set_annotations.txt"
    path.write_text(f"{HEADER}\n")
    with pytest.raises(DataError, match="no row after the header"):
        module(root).setup("fit")
    path.write_text(f"{HEADER}\na/00001.jpg,{UNLABELLED}\n")
    with pytest.raises(DataError, match="training split is empty"):
        module(root).setup("fit")


def test_images_are_found_whatever_their_case_and_another_suffix_is_named(make_root: MakeRoot) -> None:
    root = make_root(train=3)
    folder = root / "cropped_aligned/a"
    (folder / "00001.jpg").rename(folder / "00001.JPG")
    (folder / "00002.jpg").rename(folder / "00002.JPEG")
    shutil.copy(folder / "00001.JPG", folder / "00003.JPG")
    frames, paths = module(root).read_split("train")
    assert [path and path.name for path in paths] == ["00001.JPG", None, "00003.jpg"]
    assert frames.image == ["a/00001.jpg", "a/00002.jpg", "a/00003.jpg"]
    for name in ("00001.JPG", "00003.JPG", "00003.jpg"):
        (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"none of the 3 images .* But there is .*/a/00002\.JPEG: rename such"):
        module(root).read_split("train")
    labels = root / "training_set_annotations.txt"
    labels.write_text(labels.read_text().replace(".jpg", ".jpeg"))
    assert module(root).read_split("train")[1] == [None, folder / "00002.JPEG", None]


def test_validation_rows_that_are_trained_on_are_told_once(make_root: MakeRoot, caplog) -> None:
    root = make_root(train=8, val=7)
    module(root).setup("fit")
    assert "trained on, too" not in caplog.text
    rows = (root / "training_set_annotations.txt").read_text().splitlines()
    with (root / "validation_set_annotations.txt").open("a") as file:
        file.write("\n".join(rows[2:5]) + "\n")
    data = module(root)
    for _ in range(2):
        data.setup("fit")
    assert [record.getMessage() for record in caplog.records if "trained on, too" in record.getMessage()] == [
        "3 of 10 validation rows are of images or videos that are trained on, too, the first of a: their scores say "
        "nothing of other faces"
    ]


@pytest.mark.parametrize(("splits", "told"), [(["train"], True), (["train", "val"], False)])
def test_features_of_rows_that_are_trained_on_by_intention_are_not_told(
    make_root: MakeRoot, tmp_path: Path, caplog, splits, told: bool
) -> None:
    root = make_root(train=8, val=7)
    shutil.copy(root / "training_set_annotations.txt", root / "validation_set_annotations.txt")
    info = StoreInfo("x", "0", embedding=2, outputs=("y",), images="cropped_aligned", image_size=8)
    writer = FeatureWriter(open_store(tmp_path / "store", info).root, "a", info)
    writer.add(np.arange(1, 9), np.ones((8, 2), dtype=np.float32), np.ones((8, 1), dtype=np.float32))
    writer.finish()
    data = FeaturesDataModule(str(tmp_path / "store"), module(root), train_splits=splits, image_size=8, batch_size=4)
    data.setup("fit")
    assert len(data.train_rows) == 8 * len(splits)
    assert ("8 of 8 validation rows are of images or videos that are trained on" in caplog.text) is told


class Recorder(pl.LightningModule):
    """Records the rows and a digest of the images of every batch, and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[tuple[list[int], int]]] = {}
        self.predicted: list[int] = []

    def training_step(self, batch: Batch) -> torch.Tensor:
        digest = int(batch["image"].long().sum())
        self.seen.setdefault(self.current_epoch, []).append((batch["row"].tolist(), digest))
        return self.weight * 0

    def validation_step(self, batch: Batch) -> None:
        self.predicted += batch["row"].tolist() + batch["unreadable"].tolist()

    predict_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, epochs: int, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        default_root_dir=folder, max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("on_train_end", [True, False])
def test_lightning_gives_each_epoch_its_own_batches_also_after_resuming(
    make_root: MakeRoot, tmp_path: Path, workers: int, on_train_end: bool
) -> None:
    root = make_root(train=9, val=3)
    checkpoint = pl.callbacks.ModelCheckpoint(
        tmp_path / "c", save_top_k=-1, filename="{epoch}", save_on_train_epoch_end=on_train_end
    )
    whole = Recorder()
    trainer(tmp_path, 4, callbacks=[checkpoint]).fit(whole, datamodule=module(root, num_workers=workers))
    wanted = epochs(module(root), 4)
    assert [whole.seen[epoch] for epoch in range(4)] == [
        [(batch["row"].tolist(), int(batch["image"].long().sum())) for batch in batches] for batches in wanted
    ]
    resumed = Recorder()
    trainer(tmp_path, 4, enable_checkpointing=False).fit(
        resumed, datamodule=module(root, num_workers=workers), ckpt_path=str(tmp_path / "c" / "epoch=1.ckpt")
    )
    assert resumed.seen == {epoch: whole.seen[epoch] for epoch in (2, 3)}


def test_lightning_predicts_every_row_and_counts_skipped_images(
    make_root: MakeRoot, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_root(train=8, val=5)
    truncate(root / "cropped_aligned/a/00005.jpg")
    truncate(root / "cropped_aligned/b/00002.jpg")
    data, recorder = module(root, on_unreadable="skip"), Recorder()
    with caplog.at_level(logging.WARNING):
        trainer(tmp_path, 2, enable_checkpointing=False).fit(recorder, datamodule=data)
    assert data.skipped_rows == {4}
    assert [r.message for r in caplog.records if "unreadable" in r.message] == [
        "training skips an unreadable image: a/00005.jpg (1 so far)"
    ]
    assert sorted(recorder.predicted) == sorted([*range(5)] * 2)
    recorder.predicted = []
    trainer(tmp_path, 1).predict(recorder, datamodule=data, return_predictions=False)
    assert sorted(recorder.predicted) == [*range(5)]
    assert data.skipped_rows == {4}


@pytest.mark.parametrize("world_size", [3, 5])
def test_ranks_evaluate_the_batches_of_one_process(make_root: MakeRoot, world_size: int) -> None:
    root = make_root(val=7)
    alone = list(module(root, batch_size=2).val_dataloader())
    dealt: list[list[Batch]] = []
    for rank in range(world_size):
        data = module(root, batch_size=9, eval_batch_size=2)
        data.trainer = process(rank, world_size)
        dealt.append(list(data.predict_dataloader()))
    together = [batch for batches in zip(*dealt, strict=True) for batch in batches]  # each has as many batches
    assert_equal(alone, together[: len(alone)])
    assert not rows(together[len(alone) :])


def test_ranks_partition_the_splits(make_root: MakeRoot) -> None:
    root = make_root(train=9, val=7)
    parts = []
    for rank in range(2):
        data = module(root, batch_size=2)
        data.trainer = process(rank, 2)
        parts.append((rows(data.train_dataloader()), rows(data.val_dataloader())))
    (train0, val0), (train1, val1) = parts
    assert len(train0) == len(train1) == 4
    assert len({*train0, *train1}) == 8
    assert (val0, val1) == ([0, 1, 4, 5], [2, 3, 6])
    data = module(root, batch_size=5)
    data.trainer = process(0, 2)
    with pytest.raises(DataError, match=r"over 2 process"):
        data.setup("fit")


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared photographs are not here")
def test_the_shared_photographs() -> None:
    data = MTLDataModule(str(REAL), image_size=64, batch_size=100)
    data.setup("fit")
    assert (len(data.train_rows), len(data.frames("val"))) == (1502, 498)
    batches = list(data.val_dataloader())
    assert rows(batches) == [*range(498)]
    assert not rows(batches, "unreadable")
    expression = np.concatenate([batch["expression"].numpy() for batch in batches])
    np.testing.assert_array_equal(expression, data.frames("val").expression)
    assert all(torch.isnan(batch["valence_arousal"]).all() for batch in batches)
