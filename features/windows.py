"""Data module of windows: stretches of a video's stored features, for networks that look at how a face changes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from affect.batch import Batch
from affect.errors import ConfigError, DataError
from affect.frames import Frames, IntArray
from affect.labels import TASKS
from affect.settings import Count, buildable
from datamodules.base import FaceDataModule, Split
from datamodules.loading import Sample
from features.datamodule import FeatureBatches, FeaturesDataModule
from features.planning import Fill, Grid, Laid, Spans, VideoPlan, moved, plan_videos, predicted_spans, windows
from features.store import FeatureStore, Places, share

_log = logging.getLogger(__name__)
_NONE = np.zeros(0, dtype=np.int64)


@buildable("data")
class WindowsDataModule(FeaturesDataModule):
    """Windows of the stored features of each video; everything else comes from ``labels``.

    A frame without features takes those of another (``fill``). It is out of the loss, and predicted all the same. Only
    what is behind the end of a video is padding. Rows of videos without any feature are null in predictions.

    Training draws windows that have a labelled frame in random order. A frame that is listed more than once teaches
    once, by the first valid label of each value. Validation and prediction go through whole videos, each of which is
    one process's, and no batch holds two: so a table depends neither on the processes nor on the other videos.

    Args:
        store: folder that extract.py has made; or several, of the same frames, whose embeddings are put side by side.
        labels: data module with the lists and labels; none of its images is read.
        window: frames of a window. Shorter videos are padded.
        hop: frames from the start of a window to that of the next; the last window ends where the video does.
        eval_hop: that of validation and prediction, where overlapping windows are averaged; ``hop`` where None.
        max_frames: for networks that go through a video in one pass: validation and prediction take whole videos, and
            longer ones in pieces of so many frames, which do not overlap. None: windows.
        grid: ``frames``: a window is of consecutive frames, listed or not; ``rows``: of listed frames, for lists that
            leave out frames evenly, and stores of such.
        fill: whose features a frame without any takes: of the ``nearest`` frame; or of the ``previous`` one, and zeros
            before the first, so that nothing is known of the future.
        random_starts: whether the windows of a video are moved anew each epoch, together, by up to half a hop.
        **options: keywords of ``FeaturesDataModule``; ``batch_size`` and ``eval_batch_size`` count windows.

    Raises:
        ConfigError: a hop is longer than the window, or no store is given.
        DataError: as ``FeaturesDataModule``; or the stores are of other frames.
    """

    def __init__(
        self,
        store: str | list[str],
        labels: FaceDataModule,
        *,
        window: Count,
        hop: Count,
        eval_hop: Count | None = None,
        max_frames: Count | None = None,
        grid: Grid = "frames",
        fill: Fill = "nearest",
        random_starts: bool = False,
        **options: Any,
    ) -> None:
        roots = [store] if isinstance(store, str) else list(store)
        errors = [
            f"data.{key}={value}: windows of data.window={window} frames would leave out frames between them"
            for key, value in (("hop", hop), ("eval_hop", eval_hop))
            if value is not None and value > window
        ]
        if errors or not roots:
            raise ConfigError(errors or ["data.store=[]: give the folder of a store, or of several"])
        super().__init__(roots[0], labels, **options)
        self.stores = [self.store, *(FeatureStore(root, self.cache) for root in roots[1:])]
        self.window, self.hop, self.max_frames = window, hop, max_frames
        self.grid, self.fill, self.random_starts = grid, fill, random_starts
        self.laid = Laid(window=window, hop=hop, eval_hop=eval_hop, max_frames=max_frames, grid=grid, fill=fill)
        self._plans: dict[Split, list[VideoPlan]] = {}

    def plans(self, split: Split) -> list[VideoPlan]:
        """Return the plan of each video of a split, in the order of their first rows."""
        if split not in self._plans:
            frames = self.frames(split)
            for store in self.stores[1:]:
                store.check(frames.video)
            self._plans[split] = plan_videos(frames, self.stores, self.grid, self.fill)
        return self._plans[split]

    def setup(self, stage: str) -> None:
        """Read the lists and plan the videos that a stage needs, so that their errors come before the first step."""
        super().setup(stage)
        for split in self._splits:
            self.plans(split)

    def spans(self, length: int) -> Spans:
        """Return the windows of validation and prediction on a video of so many frames."""
        return predicted_spans(length, self.laid)

    @cached_property
    def training_windows(self) -> tuple[IntArray, IntArray]:
        """The windows with a frame that has features and a label: (W,) numbers of videos, (W,) starts.

        Raises:
            DataError: there is none.
        """
        has_label = self.frames("train").has_label
        video, start = [_NONE], [_NONE]
        for number, plan in enumerate(self.plans("train")):
            spans = windows(len(plan), self.window, self.hop)
            counts = np.append(0, np.cumsum(plan.labelled(has_label)))
            start.append(spans.start[counts[spans.stop] > counts[spans.start]])
            video.append(np.full(len(start[-1]), number))
        return np.concatenate(video), np.concatenate(start)

    def training_batches(self) -> WindowBatches:
        """Return what draws this process's training windows."""
        rank, world_size = self._process
        video, start = self.training_windows
        return WindowBatches(
            np.arange(len(start)),
            self.batch_size,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            drop_last=self.drop_last,
            video=video,
            start=start,
            data=self,
        )

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return this process's training batches."""
        return self._loader_of_cuts("train", self.training_batches())

    def _evaluation_loader(self, split: Split) -> DataLoader[Sample]:
        rank, world_size = self._process
        return self._loader_of_cuts(split, self.cuts(split, rank, world_size))

    def _loader_of_cuts(self, split: Split, cuts: Any) -> DataLoader[Sample]:
        dataset = cast("Dataset[Sample]", WindowDataset(self.frames(split), self.plans(split), self.stores))
        return DataLoader(dataset, batch_size=None, sampler=cuts, **self._loading())

    def cuts(self, split: Split, rank: int = 0, world_size: int = 1) -> Cuts:
        """Deal whole videos to the processes; return what cuts those of one of them into batches."""
        plans = self.plans(split)
        dealt = share([len(plan) for plan in plans], world_size)
        counts = [sum(self._count(plans[number]) for number in numbers) for numbers in dealt]
        return Cuts(self, plans, dealt[rank], max(counts))

    def _count(self, plan: VideoPlan) -> int:
        """Count what ``cuts_of`` yields."""
        spans = 0 if plan.without_features else len(self.spans(len(plan)).start)
        return -(-spans // self._windows_at_once) or 1

    @property
    def _windows_at_once(self) -> int:
        """Windows per batch of validation and prediction; pieces come one by one, as a state goes on between them."""
        return self.eval_batch_size if self.max_frames is None else 1

    def cuts_of(self, number: int, plan: VideoPlan) -> Iterator[Cut]:
        """Cut a video into batches of windows; one without features into one of no window.

        Args:
            number: of the video.
            plan: its plan.
        """
        if plan.without_features:
            yield Cut(_NONE, _NONE, 1, unreadable=plan.rows)
            return
        spans, given = self.spans(len(plan)), 0
        size = self._windows_at_once
        for first in range(0, len(spans.start), size):
            start, stop, done = (column[first : first + size] for column in spans)
            frames = self.window if self.max_frames is None else int(stop[0] - start[0])
            yield Cut(np.full(len(start), number), start, frames, done, given)
            given = int(done[-1])

    def _check_batches(self) -> None:
        count = len(self.training_windows[0])
        if not count:
            raise DataError(
                f"no frame of the training videos has both features in {self.stores[0].root} and a label: is "
                "data.labels the list, and the task, that this store was extracted for?"
            )
        if not len(self.training_batches()):
            raise DataError(
                f"{count} training windows with a labelled frame over {self._process[1]} "
                f"process(es) do not fill one batch of {self.batch_size}, so an epoch would have no step. Lower "
                "data.batch_size or data.hop, or set data.drop_last=false"
            )


class Cut(NamedTuple):
    """What a batch is cut from.

    Attributes:
        video: (B,) numbers of the videos of B windows.
        start: (B,) their first positions.
        frames: T, the frames of a window.
        done: (B,) of validation and prediction: positions that no later window covers.
        given: positions that batches before this one were the last to cover.
        unreadable: (U,) rows of a video without features.
    """

    video: IntArray
    start: IntArray
    frames: int
    done: IntArray = _NONE
    given: int = 0
    unreadable: IntArray = _NONE


@dataclass(eq=False, repr=False)
class Cuts:
    """A sampler of batches of validation or prediction, made one at a time: hours of video are many windows.

    Every process gets as many, the last ones without a window: whatever the processes do together in one, none waits.

    Attributes:
        data: what the windows are of.
        plans: the plans of all videos of the split.
        mine: the numbers of this process's videos.
        length: how many batches each process gets.
    """

    data: WindowsDataModule
    plans: Sequence[VideoPlan]
    mine: Sequence[int]
    length: int

    def __iter__(self) -> Iterator[Cut]:
        own = (cut for number in self.mine for cut in self.data.cuts_of(number, self.plans[number]))
        return islice(chain(own, repeat(Cut(_NONE, _NONE, 1))), self.length)

    def __len__(self) -> int:
        return self.length


@dataclass(eq=False, repr=False)
class WindowBatches(FeatureBatches):
    """A sampler of training batches, shuffled by (seed, epoch).

    Attributes:
        rows: (W,) numbers of the windows.
        video: (W,) numbers of their videos.
        start: (W,) their first positions.
        data: what the windows are of.
    """

    _: KW_ONLY
    video: IntArray
    start: IntArray
    data: WindowsDataModule

    def _order(self) -> IntArray:
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)

    def __iter__(self) -> Iterator[Any]:
        start = self._moved() if self.data.random_starts else self.start
        for numbers in super().__iter__():
            yield Cut(self.video[numbers], start[numbers], self.data.window)

    def _moved(self) -> IntArray:
        """Return the starts of the epoch that comes next."""
        plans, start = self.data.plans("train"), self.start.copy()
        ends = np.searchsorted(self.video, np.arange(len(plans) + 1))
        for number, plan in enumerate(plans):
            of_video = slice(ends[number], ends[number + 1])
            seed = self.seed, self.epoch, plan.video
            start[of_video] = moved(start[of_video], len(plan), self.data.window, self.data.hop, seed)
        return start


class WindowDataset(Dataset[Batch]):
    """Batches of windows, indexed by what they are cut from.

    Args:
        frames: the split's list.
        plans: the plans of its videos.
        stores: the feature stores.
    """

    def __init__(self, frames: Frames, plans: Sequence[VideoPlan], stores: Sequence[FeatureStore]) -> None:
        self.frames, self.plans, self.stores = frames, plans, stores

    def __getitem__(self, cut: Cut) -> Batch:
        """Read the features and labels of a batch."""
        shape = len(cut.start), cut.frames
        widths = [store.info.embedding for store in self.stores]
        features = np.zeros((*shape, sum(widths)), dtype=np.float32)
        labels = self._no_labels(shape)
        row = np.full(shape, -1, dtype=np.int64)
        present, seen = np.zeros((2, *shape), dtype=bool)
        for window, (video, start) in enumerate(zip(cut.video, cut.start, strict=True)):
            plan = self.plans[video]
            stop = min(int(start) + cut.frames, len(plan))
            present[window, : stop - start] = True
            seen[window, : stop - start] = plan.seen[start:stop]
            self._read(plan, slice(start, stop), np.split(features[window], np.cumsum(widths)[:-1], axis=1))
            # of a frame that is listed twice, the first valid label is written last
            rows, position = (column[::-1] for column in plan.listed(int(start), stop))
            row[window, position - start] = rows
            for task in TASKS:
                values = getattr(self.frames, task)[rows]
                valid = (values >= 0) if values.ndim == 1 else ~np.isnan(values)
                at = np.nonzero(valid)
                labels[task][(window, (position - start)[at[0]], *at[1:])] = values[at]
        batch: dict[str, Any] = {"features": features, "present": present, "seen": seen, "row": row, **labels}
        batch["unreadable"] = cut.unreadable
        if len(cut.done):
            known, at_position = self.plans[cut.video[0]].listed(cut.given, int(cut.done[-1]))
            batch |= {"start": cut.start, "done": cut.done, "known": known, "at": at_position}
        return cast("Batch", {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in batch.items()})

    def _read(self, plan: VideoPlan, part: slice, columns: Sequence[np.ndarray[Any, Any]]) -> None:
        """Read the features of some positions into the columns of each store."""
        for store, places, into in zip(self.stores, plan.places, columns, strict=True):
            of_part = Places(places.part[part], places.position[part])
            found = np.flatnonzero(of_part.found)
            into[found] = store.read_embeddings(Places(of_part.part[found], of_part.position[found]))

    def _no_labels(self, shape: tuple[int, int]) -> dict[str, np.ndarray[Any, Any]]:
        """Return labels of windows, all of them missing."""
        missing: dict[str, np.ndarray[Any, Any]] = {}
        for task in TASKS:
            like = getattr(self.frames, task)
            value = -1 if like.ndim == 1 else np.nan
            missing[task] = np.full((*shape, *like.shape[1:]), value, dtype=like.dtype)
        return missing
