"""Data module of all uni-task lists of Aff-Wild2 at once: each list is drawn from by itself, as many rows of each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np

from affect.computed import CropPaths
from affect.errors import DataError
from affect.frames import Frames, IntArray
from affect.labels import TASKS, UNI_TASKS, UniTask
from affect.settings import Count, buildable
from datamodules.affwild2 import AffWild2DataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.base import Split
from datamodules.folds import Part, joined, named
from datamodules.loading import JointSampler

_log = logging.getLogger(__name__)


@buildable("data")
class AffWild2JointDataModule(AffWild2DataModule):
    """The label files of several tasks, read as ``AffWild2UniDataModule`` reads those of one.

    Training draws from each list by itself: a row has the labels of its list only, and a frame of two lists is two
    rows. Every batch has as many rows of each list, so that the masked losses of a batch, summed, are the losses of one
    batch a task. Source: the multi-task code of ABAW3's winner (Deng, arXiv 2203.12845;
    github.com/wtomin/ABAW3_MultiEmotionNet), where the three batches pass through the network one after another, and
    BatchNorm sees one list at a time. Here they pass together: evaluation has one set of running statistics for the
    faces of all lists, which so are those that training used, and no statistic tells the network which task is asked.
    Without BatchNorm both are the same.

    Validation is the union of the validation lists by (video, frame), sorted: each frame once, with all labels that
    these lists give. A test split is the list of one task.

    Args:
        root: see ``AffWild2UniDataModule``.
        batch_size: rows per training batch and process, of all lists together; rounded down to a multiple of their
            number.
        tasks: whose lists are read.
        task: whose the test list is.
        shared_videos: what is done with a video of a training list that is in the validation list of another task:
            ``leave_out`` of training, or ``keep``, as in the published code.
        slices: an epoch draws from one of so many interleaved parts of each list; 8 in the published code.
        train_annotations: label folders of the training split by task, for those whose name is not the usual one.
        val_annotations: likewise, of the validation split.
        expected_frames: see ``AffWild2UniDataModule``.
        **options: keywords of ``AffWild2DataModule``.

    Raises:
        ValueError: no task, one twice, or an annotation of another task.
    """

    def __init__(
        self,
        root: str | list[str],
        *,
        batch_size: Count,
        eval_batch_size: Count | None = None,
        tasks: Sequence[UniTask] = get_args(UniTask),
        task: UniTask | None = None,
        shared_videos: Literal["leave_out", "keep"] = "leave_out",
        slices: Count = 1,
        train_annotations: Mapping[str, str] | None = None,
        val_annotations: Mapping[str, str] | None = None,
        expected_frames: str | None = None,
        **options: Any,
    ) -> None:
        known = get_args(UniTask)
        if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(known):
            raise ValueError(f"data.tasks is {list(tasks)}, expected some of {', '.join(known)}, each once")
        options["eval_batch_size"] = eval_batch_size or batch_size
        options["batch_size"] = batch_size // len(tasks) * len(tasks)
        super().__init__(root, **options)
        self.tasks, self.task, self.shared_videos, self.slices = tuple(tasks), task, shared_videos, slices
        self.given = {"train_annotations": train_annotations or {}, "val_annotations": val_annotations or {}}
        for key, folders in self.given.items():
            if unknown := set(folders) - set(tasks):
                raise ValueError(f"data.{key}: there is no task {min(unknown)}; there are {', '.join(tasks)}")
        self._options = {**options, "expected_frames": expected_frames}
        self._lengths: dict[str, dict[str, int]] = {}  # rows by video and list

    def read_split(self, split: Split) -> tuple[Frames, CropPaths]:
        """Read the lists of a split: joined for training, their union for validation, one of them for a test.

        Raises:
            FileNotFoundError: a root, a label folder, a list or every crop of a list is missing.
            DataError: a file is faulty, or a link leads out of the roots; of a test list, ``task`` is not given.
        """
        if split == "test":
            if self.task is None:
                raise DataError("a test list is of one task, and data.task is not set. Set data.task=va, expr or au.")
            return self.list_of(self.task).read_split("test")
        parts = self._parts([split])
        if split == "val":
            return _union(_joined(parts))
        return _joined(parts if self.shared_videos == "keep" else self._unshared(parts))

    def read_pool(self, splits: Sequence[str]) -> tuple[Frames, CropPaths]:
        """Return the union of all lists of these splits by (video, frame), sorted."""
        return _union(_joined(self._parts(splits)))

    def training_pool(self, splits: Sequence[str], pool: Part) -> tuple[Frames, CropPaths]:
        """Return all lists of these splits, joined: a video is in one fold, whichever lists have it."""
        return _joined(self._parts(splits))

    def _parts(self, splits: Sequence[str]) -> list[tuple[Frames, CropPaths]]:
        parts = [self.list_of(task).read_split(split) for split in splits for task in self.tasks]
        self._compare_lengths(parts)
        return parts

    @property
    def list_rows(self) -> list[IntArray]:
        """Training rows of each list, in the order of ``tasks``.

        Raises:
            DataError: a list has none, or fewer than there are slices.
        """
        frames = self.frames("train").select(self.train_rows)
        lists = [self.train_rows[frames.labelled(UNI_TASKS[task])] for task in self.tasks]
        for task, rows in zip(self.tasks, lists, strict=True):
            if len(rows) < self.slices:
                raise DataError(
                    f"{len(rows)} rows of the training list of data.task={task} have a label and an image, too few for "
                    f"data.slices={self.slices}. {_fix(task, self.tasks)}"
                )
        return lists

    def training_sampler(self) -> JointSampler:
        """Return what draws this process's training rows, of each list in turn.

        Raises:
            DataError: a batch has fewer rows than there are lists, or a list has too few.
        """
        if not self.batch_size:
            raise DataError(
                f"a batch has at least a row of each of {len(self.tasks)} lists: raise data.batch_size to that number."
            )
        rank, world_size = self._process
        return JointSampler(self.list_rows, slices=self.slices, seed=self.seed, rank=rank, world_size=world_size)

    def list_of(self, task: UniTask) -> AffWild2UniDataModule:
        """Return the data module of one of the lists."""
        options = {**self._options, "follow_outside": self.follow_outside}
        folders = {key: by_task.get(task) for key, by_task in self.given.items()}
        return _OneOfSeveral(self.root, others=self.tasks, task=task, **folders, **options)

    def _unshared(self, parts: list[tuple[Frames, CropPaths]]) -> list[tuple[Frames, CropPaths]]:
        """Leave out the videos that a validation list has, and log which these are."""
        validated = set(self.frames("val").video)
        kept, left, rows = [], set[str](), 0
        for frames, images in parts:
            shared = [code for code, name in enumerate(images.videos) if name in validated]
            stays = ~np.isin(images.numbers[1], shared)
            left.update(images.videos[code] for code in shared)
            rows += int(np.sum(~stays))
            index = np.flatnonzero(stays)
            kept.append((frames.select(index), images.take(index)))
        if left:
            _log.info(
                "left out of training: %d rows of %d video(s) that a validation list has: %s", rows, len(left),
                ", ".join(sorted(left)),
            )  # fmt: skip
        return kept

    def _compare_lengths(self, parts: list[tuple[Frames, CropPaths]]) -> None:
        """Warn of the videos to which two lists, of any split that was read, give different numbers of rows."""
        before = self._differing()
        for frames, images in parts:
            counts = np.bincount(images.numbers[1], minlength=len(images.videos)).tolist()
            for video, count in zip(images.videos, counts, strict=True):
                self._lengths.setdefault(video, {})[next(iter(frames.files))] = count
        if new := sorted(self._differing() - before):
            told = "; ".join(
                f"{video} ({', '.join(f'{count} in {name}' for name, count in self._lengths[video].items())})"
                for video in new[:10]
            )
            _log.warning(
                "the lists differ in how many rows %d video(s) have: %s%s. Frames beyond the end of a list are "
                "without its labels; are the lists of one release?", len(new), told, "; …" if len(new) > 10 else "",
            )  # fmt: skip

    def _differing(self) -> set[str]:
        return {video for video, counts in self._lengths.items() if len(set(counts.values())) > 1}


class _OneOfSeveral(AffWild2UniDataModule):
    """One of the lists; its errors say how to do without it."""

    def __init__(self, root: str | list[str], *, others: Sequence[UniTask], **options: Any) -> None:
        super().__init__(root, **options)
        self.others = others

    def fix_of_list(self, split: Split) -> str:
        folders = f"set data.{split}_annotations='{{{self.task}: <folder>}}'"
        return f"Add the folder above it to data.root, or {folders}. {_fix(self.task, self.others)}"


def _fix(task: UniTask, tasks: Sequence[UniTask]) -> str:
    """Return how the other tasks are trained without this one."""
    others = ",".join(one for one in tasks if one != task)
    return f"data.tasks=[{others}] trains the others." if others else ""


def _joined(parts: Sequence[tuple[Frames, CropPaths]]) -> tuple[Frames, CropPaths]:
    """Return lists as one, one after another."""
    frames, images = joined(parts)
    assert isinstance(images, CropPaths)
    return frames, images


def _union(joined: tuple[Frames, CropPaths]) -> tuple[Frames, CropPaths]:
    """Return each frame once, sorted by video and frame, with the labels of all of its rows."""
    frames, images = joined
    _, video, frame = images.numbers
    place = video.astype(np.int64) * (int(frame.max()) + 1) + frame
    _, first, number = np.unique(place, return_index=True, return_inverse=True)
    columns = {}
    for task in TASKS:
        labels = getattr(frames, task)
        columns[task] = labels[first]
        known = np.flatnonzero(frames.labelled(task))
        columns[task][number[known]] = labels[known]
    crops = images.take(first)
    return replace(named(crops, frames.files), **columns), crops
