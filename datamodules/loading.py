"""Load faces from disk into batches: the dataset, and the sampler that carries the epoch to the transforms.

The sampler yields (epoch, row) pairs, so that the epoch travels with the index into whichever worker loads the row.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from affect.batch import Augmentation, Batch
from affect.cores import usable_cores
from affect.frames import Frames, IntArray
from datamodules.pictures import MAX_PIXELS, UnreadableImageError, read_image
from datamodules.resizing import Image
from datamodules.transforms import Transform, middle_square

_log = logging.getLogger(__name__)
OnUnreadable = Literal["error", "skip"]

MOST_WORKERS: Final = 16
"""Loader processes of one process that trains, where nobody has said how many."""


class Sample(NamedTuple):
    """One loaded row: its number and its transformed image, or None where that is missing or unreadable.

    ``augmentation`` is what the transform leaves to the method, if anything; ``one_colour`` is true where all pixels of
    the picture as it is stored are equal.
    """

    row: int
    image: Image | None
    augmentation: Augmentation | None = None
    one_colour: bool = False


@dataclass(eq=False, repr=False)
class FaceDataset(Dataset[Sample]):
    """Listed frames and their images, indexed by (epoch, row).

    Attributes:
        frames: the split's list.
        images: image file of each row, None where there is none.
        transform: applied to each image.
        on_unreadable: "error" raises an error where an image is missing or unreadable; "skip" leaves it out and puts
            its row into ``Batch["unreadable"]``.
        min_size: an image whose shorter side has fewer pixels counts as unreadable.
        max_pixels: an image with more pixels counts as unreadable.
        square: crop images to the square in their middle first, instead of changing their aspect.
    """

    frames: Frames
    images: Sequence[Path | None]
    transform: Transform
    on_unreadable: OnUnreadable = "error"
    _: KW_ONLY
    min_size: int = 1
    max_pixels: int = MAX_PIXELS
    square: bool = False

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: tuple[int, int]) -> Sample:
        """Load one row.

        Args:
            index: epoch and row, as ``RowSampler`` gives them.

        Raises:
            UnreadableImageError: ``on_unreadable`` is "error" and the image is missing or unreadable.
        """
        epoch, row = index
        path = self.images[row]
        try:
            if path is None:
                raise UnreadableImageError(f"{self.frames.image[row]}: there is no such image")
            image = read_image(path, self.max_pixels)
            if min(image.shape[:2]) < self.min_size:
                height, width = image.shape[:2]
                raise UnreadableImageError(f"{path}: {width} x {height} px, but data.min_size={self.min_size}")
        except UnreadableImageError as error:
            if self.on_unreadable == "skip":
                return Sample(row, None)
            raise UnreadableImageError(
                f"{error}. Replace the file, or set data.on_unreadable=skip to leave out such images and count them."
            ) from error
        left = self.transform.left_to_do(epoch=epoch, row=row)
        one_colour = _is_one_colour(image[::8, ::8]) and _is_one_colour(image)  # nearly always told by a few pixels
        if self.square:
            image = middle_square(image)
        return Sample(row, self.transform(image, epoch=epoch, row=row), left, one_colour)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Put samples into a batch with the labels of their rows."""
        loaded = [(sample.row, sample.image) for sample in samples if sample.image is not None]
        size = self.transform.image_size
        images = np.empty((len(loaded), 3, size, size), dtype=np.uint8)
        for target, (_, image) in zip(images, loaded, strict=True):
            target[:] = image.transpose(2, 0, 1)
        rows = np.array([row for row, _ in loaded], dtype=np.int64)
        unreadable = np.array([sample.row for sample in samples if sample.image is None], dtype=np.int64)
        batch = labelled_batch(self.frames, rows, unreadable)
        batch["image"] = torch.from_numpy(images)
        one_colour = [sample.row for sample in samples if sample.one_colour]
        if one_colour:
            batch["one_colour"] = torch.tensor(one_colour, dtype=torch.int64)
        left = [sample.augmentation for sample in samples if sample.augmentation is not None]
        if left:
            batch["augmentation"] = torch.tensor(left, dtype=torch.float32)
        return batch


def labelled_batch(frames: Frames, rows: IntArray, unreadable: IntArray) -> Batch:
    """Return a batch of these rows of a list, (B,), without their images; ``unreadable``, (U,), are further rows."""
    return Batch(
        valence_arousal=torch.from_numpy(frames.valence_arousal[rows]),
        expression=torch.from_numpy(frames.expression[rows]),
        action_units=torch.from_numpy(frames.action_units[rows]),
        row=torch.from_numpy(rows),
        unreadable=torch.from_numpy(unreadable),
    )


def _is_one_colour(image: Image) -> bool:
    return bool((image == image[0, 0]).all())


class TrainingLoader(DataLoader[Sample]):
    """A loader that starts fetching at the first batch, and warns after an epoch with pictures of one colour.

    Lightning 2.6.6 makes the iterator of a resumed run before it calls ``set_epoch``; workers that fetch ahead from
    that moment would load the first resumed epoch in the order of epoch 0.

    Args:
        dataset: the faces.
        **options: keywords of ``torch.utils.data.DataLoader``.
    """

    def __init__(self, dataset: FaceDataset, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.told = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        read, one_colour = 0, set[int]()
        try:
            for number, batch in enumerate(super().__iter__(), start=1):
                read += len(batch["row"])
                if "one_colour" in batch:
                    one_colour.update(batch.pop("one_colour").tolist())
                if number == len(self):
                    self._warn(read, sorted(one_colour))
                yield batch
        finally:  # also if an epoch is cut short
            self._warn(read, sorted(one_colour))

    def _warn(self, read: int, rows: list[int]) -> None:
        if self.told or not rows:
            return
        self.told = True
        frames = cast(FaceDataset, self.dataset).frames
        _log.warning(
            "%d of %d pictures that were trained on are black, or of another single colour, in %d folders; the first "
            "is %s. Remove them, or make them again", len(rows), read, len({frames.video[row] for row in rows}),
            frames.image[rows[0]],
        )  # fmt: skip


class RowSampler(DistributedSampler[tuple[int, int]]):
    """A sampler of (epoch, row) for the rows that this process trains on, shuffled by (seed, epoch).

    The tail is dropped so that every process gets the same number. It is a DistributedSampler because Lightning would
    wrap any other sampler in one of its own, which would shard a second time.

    Args:
        rows: (N,) row numbers to draw from.
        seed: with the epoch, decides the order.
        rank: this process.
        world_size: number of processes.
        weights: (N,) probabilities, by which N rows are drawn with replacement. None: each row once.
    """

    def __init__(
        self,
        rows: IntArray,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        weights: npt.NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(rows, world_size, rank, seed=seed)  # type: ignore[arg-type]
        self.rows = rows
        self.weights = weights

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = np.random.default_rng([self.seed, self.epoch])
        if self.weights is None:
            rows = generator.permutation(self.rows)
        else:
            rows = generator.choice(self.rows, size=len(self.rows), p=self.weights)
        # The rows after the last full round over the processes are dropped; the slice ends before them.
        for row in rows[self.rank :: self.num_replicas][: len(self)]:
            yield self.epoch, int(row)

    def __len__(self) -> int:
        return len(self.rows) // self.num_replicas


class JointSampler(RowSampler):
    """A sampler that draws from several lists in turn: one row of each, the next of each, and so on.

    A batch whose size is a multiple of the number of lists so has as many rows of each. An epoch takes as many rows of
    every list as the longest has; of a shorter one all rows, again in another order, until these are as many. Each
    list is shuffled by (seed, epoch, its number).

    Args:
        lists: row numbers of each list, none of which is empty.
        slices: an epoch draws from one of so many interleaved parts of each list (rows i, i + slices, …), itself drawn
            by the epoch; no list has fewer rows.
        seed: decides the order, with the epoch.
        rank: this process.
        world_size: number of processes.
    """

    def __init__(
        self, lists: Sequence[IntArray], *, slices: int = 1, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(np.concatenate(lists), seed=seed, rank=rank, world_size=world_size)
        self.lists, self.slices = lists, slices
        self.longest = max(map(len, lists)) // slices

    def __iter__(self) -> Iterator[tuple[int, int]]:
        drawn = np.stack([self._order(number, rows) for number, rows in enumerate(self.lists)], axis=1)
        for row in drawn[self.rank :: self.num_replicas].ravel()[: len(self)]:
            yield self.epoch, int(row)

    def __len__(self) -> int:
        return self.longest // self.num_replicas * len(self.lists)

    def _order(self, number: int, rows: IntArray) -> IntArray:
        """Return the rows that the epoch draws of a list, (longest,)."""
        generator = np.random.default_rng([self.seed, self.epoch, number])
        part = rows[int(generator.integers(self.slices)) :: self.slices]
        rounds = -(-self.longest // len(part))
        return np.concatenate([generator.permutation(part) for _ in range(rounds)])[: self.longest]


def dealt_batches(count: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> list[IntArray]:
    """Deal the rows of an evaluation, in their order, to the processes in the batches that one process would form.

    A row's neighbours in a batch change the last digits of what is predicted for it, so no batch is split.

    Args:
        count: rows of the list, each of which exactly one process gets.
        batch_size: rows per batch; the last batch may have fewer.
        rank: this process.
        world_size: number of processes.

    Returns:
        Row numbers of each batch of this process. Every process gets the same number of batches, the last of which may
        have no row: whatever the processes do together in a batch, none waits for another.
    """
    whole_rounds = -(-count // (batch_size * world_size))
    starts = [(number * world_size + rank) * batch_size for number in range(whole_rounds)]
    return [np.arange(min(start, count), min(start + batch_size, count)) for start in starts]


def loader_options(trainer: pl.Trainer | None, num_workers: int | None, pin_memory: bool | None) -> dict[str, Any]:
    """Return what all loaders of a run have in common.

    A GPU would wait for its pictures: where nobody has said it, there is a loader process for each core, up to
    ``MOST_WORKERS``. The cores are those of SLURM's task, or those that this process may use, shared by the devices
    of this machine. On a CPU there is none: the network needs the cores.

    Args:
        trainer: of the data module; None before it has one.
        num_workers: loader processes of each process that trains; None: as above.
        pin_memory: whether batches are put into page-locked memory; None: on a GPU.
    """
    gpus = trainer.num_devices if trainer is not None and trainer.strategy.root_device.type == "cuda" else 0
    if num_workers is None and not gpus:
        num_workers = 0
    elif num_workers is None:
        cores = int(os.environ.get("SLURM_CPUS_PER_TASK") or usable_cores() // gpus)
        num_workers = min(max(cores, 1), MOST_WORKERS)
    return {
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": gpus > 0 if pin_memory is None else pin_memory,
        "worker_init_fn": _use_one_thread,
        "generator": torch.Generator(),  # of its own, as workers would draw from the global one
    }


def _use_one_thread(worker: int) -> None:
    # OpenCV's thread pool does not survive a fork, and a pool in each worker would compete for the cores
    cv2.setNumThreads(0)
