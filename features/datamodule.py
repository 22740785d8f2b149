"""Data module of stored features: the labels of another data module, and a frozen network's features of each frame."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from affect.batch import Batch
from affect.errors import DataError
from affect.frames import BoolArray, Frames, IntArray, concatenate, rows_by_video
from affect.settings import buildable
from datamodules.base import FaceDataModule, Split
from datamodules.loading import Sample, labelled_batch
from datamodules.readers.folds import Dealt
from features.store import FeatureStore, Places

BLOCK: Final = 256
"""Consecutive rows of the list that are drawn together: neighbours on the disk are read in one go."""

POOL: Final = 65536
"""Rows of shuffled blocks that are shuffled together; the system's file cache must hold them."""

_log = logging.getLogger(__name__)


@buildable("data")
class FeaturesDataModule(FaceDataModule):
    """Stored features instead of images; everything else comes from ``labels``.

    Training draws blocks of rows in random order and shuffles the rows within a pool of blocks, so that a store larger
    than the memory is read once per epoch from end to end. Rows without features are null in predictions.

    Args:
        store: folder that extract.py has made.
        labels: data module with the lists and labels; none of its images is read.
        train_splits: splits to train on. ``[train, val]`` is the published train+val regime, in which validation
            scores are of rows that were learnt; ``[train, val, val]`` that of its expression run, by mistake.
        **options: keywords of ``FaceDataModule``; those for images have no effect, ``follow_outside`` also holds for
            ``labels``.

    Raises:
        DataError: there is no such store, it is damaged, or it has nothing of a video that has images.
    """

    def __init__(
        self,
        store: str,
        labels: FaceDataModule,
        *,
        train_splits: Sequence[Literal["train", "val"]] = ("train",),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not train_splits or not set(train_splits) <= {"train", "val"}:
            raise ValueError(f"data.train_splits is {list(train_splits)}, expected some of train, val")
        self.store = FeatureStore(store, self.cache)
        self.labels = labels
        self.labels.follow_outside |= self.follow_outside
        self.root = labels.root
        self.expressions = labels.expressions
        if self.folding is not None:
            if "val" in train_splits:
                raise ValueError("data.train_splits is not for data.folds, which deal all lists: leave it out")
            labels.folding, self.folding = self.folding, None  # the lists are those of the labels
        self.train_splits: tuple[Split, ...] = tuple(train_splits)
        self._places: dict[Split, Places] = {}

    @property
    def held(self) -> Split:
        """The split that training is validated on, as ``labels`` has it."""
        return self.labels.held

    @property
    def dealt(self) -> Dealt | None:
        """The folds of ``labels``."""
        return self.labels.dealt

    def read_split(self, split: Split) -> tuple[Frames, Sequence[Path | None]]:
        """Read the lists of ``labels`` and look up each row's features; there are no images."""
        parts = self.train_splits if split == "train" else (split,)
        frames = [self.labels.frames(part) for part in parts]
        places = [self._find(part, of_part) for part, of_part in zip(parts, frames, strict=True)]
        self._places[split] = Places(*(np.concatenate(columns) for columns in zip(*places, strict=True)))
        return (frames[0] if len(frames) == 1 else concatenate(frames)), ()

    def has_image(self, split: Split) -> BoolArray:
        """Return (N,) true for the rows of a split that have features, which stand in for their images."""
        return self.places(split).found

    def kept_apart(self, split: Split) -> Sequence[object]:
        """Return what ``labels`` returns; nothing where the validation split is trained on intentionally."""
        return self.labels.kept_apart(split) if self.train_splits == ("train",) else ()

    def places(self, split: Split) -> Places:
        """Return where the store keeps the features of each row of a split."""
        self._split(split)
        return self._places[split]

    def _find(self, split: Split, frames: Frames) -> Places:
        self.store.check(frames.video)
        places = self.store.find(frames.video, frames.frame)
        image = self.labels.has_image(split)
        lacking = [
            video
            for video, rows in rows_by_video(frames.video).items()
            if image[rows].any() and not places.found[rows].any()
        ]
        if lacking:
            lists = [split] if self.labels.folding is None else self.labels.folding.lists_of(split)
            raise DataError(
                f"{self.store.root} has no features of {len(lacking)} videos of the {split} split that have images, of "
                f"{lacking[0]} for one. extract.py store={self.store.root} splits=[{','.join(lists)}] adds them"
            )
        absent = int((image & ~places.found).sum())
        if absent:
            _log.warning("%s: %d of %d rows have an image, but no features: unreadable?", split, absent, len(frames))
        return places

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return this process's training batches."""
        rank, world_size = self._process
        batches = FeatureBatches(
            self.train_rows,
            self.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            drop_last=self.drop_last,
        )
        return self.loader_of("train", batches)

    def loader_of(self, split: Split, batches: Iterable[IntArray]) -> DataLoader[Sample]:
        """Return a loader of these batches of rows, for this process only."""
        dataset = cast("Dataset[Sample]", FeatureDataset(self.frames(split), self.places(split), self.store))
        # the sampler yields whole batches, which are read together
        return DataLoader(dataset, batch_size=None, sampler=batches, **self._loading())


class FeatureDataset(Dataset[Batch]):
    """Batches of stored features, indexed by arrays of rows.

    Args:
        frames: the split's list.
        places: where the store keeps the features of its rows.
        store: the feature store.
    """

    def __init__(self, frames: Frames, places: Places, store: FeatureStore) -> None:
        self.frames, self.places, self.store = frames, places, store

    def __getitem__(self, rows: IntArray) -> Batch:
        """Read a batch; rows without features are its ``unreadable``."""
        found = self.places.found[rows]
        known = rows[found]
        features = self.store.read(Places(self.places.part[known], self.places.position[known]))
        batch = labelled_batch(self.frames, known, rows[~found])
        batch["embedding"] = torch.from_numpy(features.embedding)
        batch["outputs"] = torch.from_numpy(features.outputs)
        return batch


@dataclass(eq=False, repr=False)
class FeatureBatches(Sampler[Any]):
    """A sampler of arrays of training rows, shuffled in blocks.

    The order is a function of (seed, epoch, rank). Lightning calls ``set_epoch``.

    Attributes:
        rows: (N,) training rows.
        batch_size: rows per batch and process.
        seed: seed of the order.
        rank: number of this process.
        world_size: number of processes, each of which gets the same number of batches.
        drop_last: whether to leave out a smaller last batch.
        epoch: the epoch that comes next.
    """

    rows: IntArray
    batch_size: int
    _: KW_ONLY
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that comes next."""
        self.epoch = epoch

    def _order(self) -> IntArray:
        random = np.random.default_rng([self.seed, self.epoch])
        blocks = np.array_split(self.rows, range(BLOCK, len(self.rows), BLOCK))
        order = np.concatenate([blocks[number] for number in random.permutation(len(blocks))])
        for start in range(0, len(order), POOL):
            random.shuffle(order[start : start + POOL])
        return order

    def __iter__(self) -> Iterator[IntArray]:
        order = self._order()
        for number in range(len(self)):
            start = (number * self.world_size + self.rank) * self.batch_size
            yield order[start : start + self.batch_size]

    def __len__(self) -> int:
        whole, rest = divmod(len(self.rows), self.batch_size)
        if self.drop_last or self.world_size > 1:  # all processes must make the same number of steps
            return whole // self.world_size
        return whole + bool(rest)


def usable(data: FeaturesDataModule, split: Split) -> tuple[Batch, BoolArray]:
    """Load all features of a split into memory, for learners that are not trained in batches.

    Returns:
        The rows with features as one batch, and (N,) which rows of the list these are.
    """
    frames, places = data.frames(split), data.places(split)
    batch = FeatureDataset(frames, places, data.store)[np.flatnonzero(places.found)]
    return batch, places.found
