"""Base of the data modules: which rows each split loads, the data loaders, and the count of skipped images."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, cast, get_args

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset

from affect.batch import Batch
from affect.computed import Paths, take
from affect.errors import DataError
from affect.frames import BoolArray, Frames, IntArray
from affect.labels import EXPRESSIONS
from affect.preprocessing import Interpolation
from affect.settings import Count, Range, Whole
from datamodules.folds import Folding, Part, fold_errors, joined
from datamodules.links import Links
from datamodules.loading import (
    FaceDataset,
    OnUnreadable,
    RowSampler,
    Sample,
    TrainingLoader,
    dealt_batches,
    loader_options,
)  # fmt: skip
from datamodules.pictures import MAX_PIXELS
from datamodules.readers.folds import Dealt
from datamodules.resizing import Image
from datamodules.transforms import EvalTransform, Transform

Listed = Literal["train", "val", "test"]
"""The splits that a data set has a list of."""

Split: TypeAlias = str
"""One of these or, of data that is dealt into folds, ``fold0``, ``fold1`` … and ``oof`` (``datamodules.folds``)."""

_log = logging.getLogger(__name__)


class FaceDataModule(pl.LightningDataModule):
    """Base of the data modules; a subclass says what a split holds (``read_split``).

    Training loads the rows that have a label and an image, duplicates included. Validation and prediction load every
    row of the list, in its order; rows whose image is missing or unreadable come in ``Batch["unreadable"]``.

    Args:
        image_size: side of the images in a batch, px.
        batch_size: rows per training batch and process.
        augmentation: applied to training images; None: they are prepared like those of validation.
        interpolation: how images are enlarged; it belongs to the weights that the network starts from.
        seed: decides the order, together with the epoch.
        num_workers: number of loader processes, which changes the speed only; None: see ``loader_options``.
        on_unreadable: what training does with an unreadable image: "error", or "skip" to leave it out and count it.
        max_pixels: images with more pixels count as unreadable.
        follow_outside: whether links below the given folders may lead out of them.
        drop_last: whether training drops the last batch where that is smaller.
        pin_memory: whether batches are put into page-locked memory, from which a GPU copies faster; None: where the
            trainer has a GPU.
        eval_batch_size: rows per batch of validation and prediction; ``batch_size`` where None.
        cache_dir: folder for what a data module remembers of the data's folders, such as listings; None: no cache.
        folds: how many folds of whole videos the lists are dealt into, or a file that says it; None: no folds.
        fold: the fold that is held back, from 0: its rows are validated on, the others are trained on.
        groups: CSV of what stays together besides a video; needed where rows are no frames of videos.
        fold_splits: the lists that are dealt.

    Attributes:
        root: folder or folders of the data.
        expressions: the class names that ``Batch["expression"]`` numbers.
        predict_split: the split of ``predict_dataloader``.
        needs_labels: whether training loads only the rows that have a label.
        of_videos: whether rows are frames of videos, too alike to be in two splits.
        crops: name of the folder of the frames' crops; None where the images are no frames.
        min_size: images with a shorter side, px, are treated as unreadable.
        square: whether images are first cropped to the square in their middle.
        faults: None: the first fault in the data's files is raised; a list collects those that reading can go on after.
        skipped_rows: rows that training skipped so far because their image is unreadable.
    """

    root: str | list[str]
    expressions: tuple[str, ...] = EXPRESSIONS
    needs_labels = True
    of_videos = False
    crops: str | None = None
    min_size = 1
    square = False
    faults: list[DataError] | None = None

    def __init__(
        self,
        *,
        image_size: Count,
        batch_size: Count,
        augmentation: Transform | None = None,
        interpolation: Interpolation = "bilinear",
        seed: Whole = 0,
        num_workers: Whole | None = None,
        on_unreadable: OnUnreadable = "error",
        max_pixels: Count = MAX_PIXELS,
        follow_outside: bool = False,
        drop_last: bool = True,
        pin_memory: bool | None = None,
        eval_batch_size: Count | None = None,
        cache_dir: str | None = None,
        folds: Annotated[int, Range(least=2)] | str | None = None,
        fold: Whole | None = None,
        groups: str | None = None,
        fold_splits: Sequence[Literal["train", "val"]] = ("train", "val"),
    ) -> None:
        super().__init__()
        if errors := fold_errors(folds, fold, groups, fold_splits):
            raise DataError("; ".join(errors))
        if on_unreadable not in ("error", "skip"):
            raise ValueError(f"data.on_unreadable is {on_unreadable!r}, expected error or skip")
        self.image_size = image_size
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.interpolation = interpolation
        self.seed = seed
        self.num_workers = num_workers
        self.on_unreadable = on_unreadable
        self.max_pixels = max_pixels
        self.follow_outside = follow_outside
        self.drop_last = drop_last
        self.pin_memory = pin_memory
        self.eval_batch_size = eval_batch_size or batch_size
        self.cache = None if cache_dir is None else Path(cache_dir).expanduser()
        lists = tuple(split for split in ("train", "val") if split in fold_splits)
        self.folding = None if folds is None else Folding(folds, fold, groups, lists)
        self.predict_split: Split = "val"
        self.skipped_rows: set[int] = set()
        self._splits: dict[Split, tuple[Frames, Sequence[Path | None]]] = {}
        self._train_rows: IntArray | None = None
        self._overlap_told = False

    def read_split(self, split: Split) -> tuple[Frames, Sequence[Path | None]]:
        """Read a split's list from disk; return it with the image file of each row, None where there is none."""
        raise NotImplementedError

    def read_pool(self, splits: Sequence[str]) -> Part:
        """Read several lists as one, one after another: what is dealt into folds."""
        return joined([self.read_split(split) for split in splits])

    def training_pool(self, splits: Sequence[str], pool: Part) -> Part:
        """Return the rows of all folds as training takes them; ``pool`` is ``read_pool(splits)``."""
        return pool

    @property
    def held(self) -> Split:
        """The split that training is validated on: ``val``, or the fold that is held back."""
        return "val" if self.folding is None else self.folding.held

    @property
    def dealt(self) -> Dealt | None:
        """The folds, and None where there are none."""
        return None if self.folding is None else self.folding.dealt(self)

    def sampling_weights(self, frames: Frames) -> npt.NDArray[np.float64] | None:
        """Return the probability with which each training row is drawn, or None to use each once per epoch."""
        return None

    def evaluate_only(self) -> None:
        """Declare that nothing will be trained, so that no image need be kept for training."""

    def links(self, *more: str | Sequence[str] | None) -> Links:
        """Return the rule which links below ``root`` and further folders are followed."""
        return Links(self.root, *more, follow_outside=self.follow_outside)

    def kept_apart(self, split: Split) -> Sequence[object]:
        """Return what each row of a split must not share with another split: its image, or its video."""
        if self.of_videos:
            return self.frames(split).video
        real = cache(os.path.realpath)  # a split's folder may be a link to the other's
        return [path and f"{real(path.parent)}/{path.name}" for path in self._split(split)[1]]

    def frames(self, split: Split) -> Frames:
        """Return all rows of a split, which ``Batch["row"]`` indexes; they are read from disk at the first call."""
        return self._split(split)[0]

    def has_image(self, split: Split) -> BoolArray:
        """Return (N,) true for the rows of a split that have an image."""
        images = self._split(split)[1]
        return images.found if isinstance(images, Paths) else np.array([path is not None for path in images], bool)

    @property
    def train_rows(self) -> IntArray:
        """Rows of the training list that have a label and an image.

        Raises:
            DataError: there is none.
        """
        if self._train_rows is None:
            frames, found = self.frames("train"), self.has_image("train")
            labelled = frames.has_label if self.needs_labels else np.ones(len(frames), dtype=bool)
            rows = np.flatnonzero(labelled & found)
            if not len(rows):
                raise DataError(
                    f"none of the {len(frames)} rows of {', '.join(frames.files) or 'the training split'} has both a "
                    "label and an image, so the training split is empty. Is this the file with labels?"
                )
            _log.info(
                "training: %d of %d rows; left out: %d without a label, %d without an image",
                len(rows), len(frames), np.sum(~labelled), np.sum(labelled & ~found),
            )  # fmt: skip
            self._train_rows = rows
        return self._train_rows

    def pictures(self, split: Split, rows: Sequence[int], side: int) -> Iterator[tuple[int, Image]]:
        """Yield of some rows those whose image can be read, each with it as validation loads it, (side, side, 3)."""
        if len(self._split(split)[1]):  # else images are not what this module loads
            transform = EvalTransform(image_size=side, interpolation=self.interpolation)
            dataset = self._dataset(split, transform, "skip")
            for sample in (dataset[0, row] for row in rows):
                if sample.image is not None:
                    yield sample.row, sample.image

    def setup(self, stage: str) -> None:
        """Read the lists that a stage needs, so that their errors come before anything is built."""
        stages = {"fit": ("train", self.held), "validate": (self.held,)}
        for split in stages.get(stage, (self.predict_split,)):
            self._split(split)
            if split == "train":
                self._check_batches()
        if stage == "fit":
            self._warn_of_overlap()

    @property
    def _process(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def training_sampler(self) -> RowSampler:
        """Return what draws this process's training rows."""
        rank, world_size = self._process
        weights = self.sampling_weights(self.frames("train").select(self.train_rows))
        return RowSampler(self.train_rows, seed=self.seed, rank=rank, world_size=world_size, weights=weights)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return this process's training batches."""
        dataset = self._dataset("train", self.augmentation, self.on_unreadable)
        return TrainingLoader(
            dataset,
            batch_size=self.batch_size,
            sampler=self.training_sampler(),
            drop_last=self.drop_last,
            collate_fn=dataset.collate,
            **self._loading(),
        )

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return this process's share of the validation list."""
        return self._evaluation_loader(self.held)

    def predict_dataloader(self) -> DataLoader[Sample]:
        """Return this process's share of the list of ``predict_split``."""
        return self._evaluation_loader(self.predict_split)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Count the images that training skips; it is done here because workers cannot return a count."""
        if self.trainer is not None and self.trainer.training:
            frames = self.frames("train")
            for row in set(batch["unreadable"].tolist()) - self.skipped_rows:
                self.skipped_rows.add(row)
                _log.warning(
                    "training skips an unreadable image: %s (%d so far)", frames.image[row], len(self.skipped_rows)
                )
        return batch

    def _warn_of_overlap(self) -> None:
        train, val = self.kept_apart("train"), self.kept_apart(self.held)
        learnt = set(take(train, self.train_rows)) if train else set()
        shared = [unit for unit in val if unit in learnt]
        if shared and not self._overlap_told:
            self._overlap_told = True
            _log.warning(
                "%d of %d validation rows are of images or videos that are trained on, too, the first of %s: their "
                "scores say nothing of other faces", len(shared), len(val), shared[0],
            )  # fmt: skip

    def _split(self, split: Split) -> tuple[Frames, Sequence[Path | None]]:
        if split not in self._splits:
            if self.dealt is None and split not in get_args(Listed):
                raise DataError(f"split={split}: the data has no folds; give data.folds=<the folds.csv of a run>")
            self._splits[split] = self.read_split(split) if self.folding is None else self.folding.read(self, split)
            absent = int(np.sum(~self.has_image(split)))
            if absent:
                _log.info("%s: %d of %d listed frames have no image", split, absent, len(self.frames(split)))
        return self._splits[split]

    def _evaluation_loader(self, split: Split) -> DataLoader[Sample]:
        rank, world_size = self._process
        batches = dealt_batches(len(self.frames(split)), self.eval_batch_size, rank=rank, world_size=world_size)
        return self.loader_of(split, batches)

    def loader_of(self, split: Split, batches: Sequence[IntArray]) -> DataLoader[Sample]:
        """Return a loader of these batches of rows, prepared as in validation, for this process only."""
        whole = cast("Dataset[Sample]", _WholeBatches(self._dataset(split, None, "skip"), batches))
        return DataLoader(whole, batch_size=None, **self._loading())

    def _dataset(self, split: Split, augmentation: Transform | None, on_unreadable: OnUnreadable) -> FaceDataset:
        return FaceDataset(
            *self._split(split),
            augmentation or EvalTransform(image_size=self.image_size, interpolation=self.interpolation),
            on_unreadable,
            min_size=self.min_size,
            max_pixels=self.max_pixels,
            square=self.square,
        )

    def _loading(self) -> dict[str, Any]:
        """Return what all loaders have in common."""
        return loader_options(self.trainer, self.num_workers, self.pin_memory)

    def _check_batches(self) -> None:
        if len(self.training_sampler()) < (self.batch_size if self.drop_last else 1):
            raise DataError(
                f"{len(self.train_rows)} training rows over {self._process[1]} process(es) do not fill one batch of "
                f"{self.batch_size}, so an epoch would have no step. Lower data.batch_size, or set "
                "data.drop_last=false."
            )


class _WholeBatches(Dataset[Batch]):
    """Batches of given rows, each loaded as a whole; in prediction, Lightning would take a batch sampler apart."""

    def __init__(self, dataset: FaceDataset, batches: Sequence[IntArray]) -> None:
        self.dataset, self.batches = dataset, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        batch = self.dataset.collate([self.dataset[0, int(row)] for row in self.batches[number]])
        batch.pop("one_colour", None)
        return batch
