"""Folds of whole videos: the lists that are dealt, who is held back, and the file that says so."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from affect.computed import CropPaths, frame_names, take
from affect.errors import DataError
from affect.folds import deal
from affect.frames import Frames, IntArray, concatenate, unlabelled
from affect.labels import AU_NAMES, TASKS
from datamodules.readers.attributes import first_found, group_column, read_attributes
from datamodules.readers.folds import Dealt, list_sha256, units

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule

POOLED: Final = "oof"
"""The split of all folds together: the concatenated lists, in their order."""

Images = Sequence[Path | None]
Part = tuple[Frames, Images]
_NAMED: Final = re.compile(r"fold(0|[1-9]\d*)")

_log = logging.getLogger(__name__)


def split_errors(split: str) -> list[str]:
    """Say what is wrong with the name of a split; nothing where it can be one."""
    if split in ("train", "val", "test", POOLED) or _NAMED.fullmatch(split):
        return []
    return [f"split={split}: there are train, val, test and, of data with folds, fold0, fold1 … and {POOLED}"]


def fold_errors(folds: int | str | None, fold: int | None, groups: str | None, splits: Sequence[str]) -> list[str]:
    """Say what is wrong with the settings of folds, before anything is read."""
    if folds is None:
        given = [f"data.{name}={value}" for name, value in (("fold", fold), ("groups", groups)) if value is not None]
        return [f"{' and '.join(given)}: give data.folds, too: how many there are, data.folds=5"] if given else []
    errors = []
    if fold is not None and isinstance(folds, int) and fold >= folds > 1:
        errors.append(f"data.fold={fold}: there are {folds} folds, 0 to {folds - 1}")
    if not splits:
        errors.append("data.fold_splits=[]: give train, val or both")
    return errors


@dataclass(eq=False)
class Folding:
    """How a data module's lists are dealt into folds, and which fold is held back.

    Attributes:
        folds: how many, or the path of a file of folds.
        fold: the one that is held back; None: nothing is trained.
        groups: CSV ``video,group`` (of pictures ``image,group``, too) of what stays together besides a video.
        splits: the lists that are dealt, one after another.
    """

    folds: int | str
    fold: int | None
    groups: str | None
    splits: tuple[str, ...]
    _pool: Part | None = field(default=None, init=False)
    _dealt: Dealt | None = field(default=None, init=False)

    @property
    def held(self) -> str:
        """The split that is validated on."""
        return POOLED if self.fold is None else f"fold{self.fold}"

    def lists_of(self, split: str) -> Sequence[str]:
        """Name the lists of the data set that a split may have rows of."""
        return self.splits if split == "train" or split == POOLED or _NAMED.fullmatch(split) else [split]

    def pool(self, data: FaceDataModule) -> Part:
        """Return the concatenated lists and the image of each row."""
        if self._pool is None:
            self._pool = data.read_pool(self.splits)
        return self._pool

    def dealt(self, data: FaceDataModule) -> Dealt:
        """Return the folds, which are checked at the first call.

        Raises:
            DataError: there are fewer videos than folds, no such fold, a fold has no label of a task, a file is
                faulty, or rows are no frames of videos and ``groups`` is not given.
        """
        if self._dealt is None:
            frames, _ = self.pool(data)
            if isinstance(self.folds, str):
                dealt = self._read(Path(self.folds).expanduser(), frames)
            else:
                dealt = self._deal(data, frames, self.folds)
            if self.fold is not None and self.fold >= dealt.count:
                raise DataError(f"data.fold={self.fold}: there are {dealt.count} folds, 0 to {dealt.count - 1}")
            check_labels(frames, dealt.of_rows(frames), data.expressions)
            self._dealt = dealt
        return self._dealt

    def read(self, data: FaceDataModule, split: str) -> Part:
        """Read a split: what is held back, what is not, or what the folds leave alone.

        Raises:
            DataError: as ``dealt``; or there is no such split.
        """
        if split == "test" or (split == "val" and "val" not in self.splits):
            return data.read_split(split)
        if split == "val":
            raise DataError(f"split=val: its videos are dealt into the folds; give split={self.held}, or leave it out")
        dealt, part = self.dealt(data), self.pool(data)
        if split == POOLED:
            return part
        if split == "train":
            if self.fold is None:
                raise DataError("data.folds is given, and data.fold is not: give the fold to hold back, data.fold=0")
            part = data.training_pool(self.splits, part)
            return _select(part, dealt.of_rows(part[0]) != self.fold)
        named = _NAMED.fullmatch(split)
        if named is None or int(named[1]) >= dealt.count:
            raise DataError(f"split={split}: there are fold0 to fold{dealt.count - 1}, {POOLED}, train and test")
        return _select(part, dealt.of_rows(part[0]) == int(named[1]))

    def _deal(self, data: FaceDataModule, frames: Frames, folds: int) -> Dealt:
        if not data.of_videos and self.groups is None:
            raise DataError(
                "data.folds: these rows are no frames of videos, so nothing says which belong together. Give "
                "data.groups=<CSV with the columns image,group>, of the people for example"
            )
        key: Literal["video", "image"] = "video" if data.of_videos else "image"
        names, number = units(frames, key)
        totals = counts(frames, number, len(names), data.expressions)
        group = list(names)
        if self.groups is not None:
            group = self._grouped(_path(self.groups, data.root), frames, names, number, key)
        fold = deal(group, totals[:, totals.any(axis=0)], folds)
        of = {name: int(of_name) for name, of_name in zip(names, fold, strict=True)}
        return Dealt(key, of, folds, list_sha256(frames))

    @staticmethod
    def _grouped(path: Path, frames: Frames, names: Sequence[str], number: IntArray, key: str) -> list[str]:
        """Return the group of each unit: units that share one, directly or by others, are together."""
        found = read_attributes(path, frames)
        groups = group_column(path, found, frames, ("video",) if key == "video" else ("image", "video"))
        parent: dict[tuple[str, str], tuple[str, str]] = {}

        def root(of: tuple[str, str]) -> tuple[str, str]:
            while (above := parent.setdefault(of, of)) != of:
                parent[of] = of = parent.setdefault(above, above)
            return of

        for unit, group in dict.fromkeys(zip(number.tolist(), groups, strict=True)):
            ends = root((key, names[unit])), root(("group", group))
            parent[max(ends)] = min(ends)
        return ["/".join(root((key, name))) for name in names]

    def _read(self, path: Path, frames: Frames) -> Dealt:
        dealt, own = Dealt.read(path), list_sha256(frames)
        dealt.of_rows(frames, str(path))
        names, lists = set(units(frames, dealt.key)[0]), " and ".join(self.splits)
        others = sorted(dealt.fold_of.keys() - names)
        if dealt.list_sha256 not in ("", own):
            _log.warning(
                "%s was written for other lists than %s of this data; each video keeps its fold%s", path, lists,
                f", and {len(others)} that are not in these lists are left out" if others else "",
            )  # fmt: skip
        elif others:
            more = f", and those of {len(others) - 1} more" if len(others) > 1 else ""
            raise DataError(
                f"{path}: {others[0]!r} has a line, but is in no list of this data ({lists}): take out its line{more}"
            )
        return replace(dealt, list_sha256=own, fold_of={name: dealt.fold_of[name] for name in sorted(names)})


def count_names(expressions: Sequence[str]) -> list[str]:
    """Name what is counted in a fold: rows, rows with valence and arousal, expressions, positives of action units."""
    return ["rows", "VA", *expressions, *AU_NAMES]


def counts(frames: Frames, group: IntArray, groups: int, expressions: Sequence[str]) -> NDArray[np.float64]:
    """Count as ``count_names`` says: (groups, counts), where ``group`` is the (N,) number of each row's group."""
    positives = (frames.action_units[:, unit] == 1 for unit in range(len(AU_NAMES)))
    classes = (frames.expression == number for number in range(len(expressions)))
    columns = [np.ones(len(frames)), frames.labelled("valence_arousal"), *classes, *positives]
    return np.stack([np.bincount(group, weights=column, minlength=groups) for column in columns], axis=1)


def check_labels(frames: Frames, fold: IntArray, expressions: Sequence[str]) -> None:
    """Refuse folds without a label of a task that the lists have; warn of those without one of a class.

    Raises:
        DataError: naming the fold and the task.
    """
    number = int(fold.max(initial=0)) + 1
    for task in TASKS:
        known = np.bincount(fold, weights=frames.labelled(task), minlength=number)
        if known.any() and not known.all():
            raise DataError(
                f"fold {int(np.argmin(known))} has no label of {task.replace('_', ' ')}: too few videos have any. Ask "
                "for fewer folds, or give a file of folds (data.folds=<file>)"
            )
    total = counts(frames, fold, number, expressions)
    for name, of_folds in list(zip(count_names(expressions), total.T, strict=True))[2:]:
        if of_folds.any() and not of_folds.all():
            lacking = np.flatnonzero(of_folds == 0).tolist()
            _log.warning(
                "fold%s %s: no row of %s, which other folds have; its F1 there is 0", "s" * (len(lacking) > 1),
                ", ".join(map(str, lacking)), name,
            )  # fmt: skip


def fold_table(frames: Frames, dealt: Dealt, expressions: Sequence[str]) -> list[list[str]]:
    """Return a header and a row for each fold: how much is in it, and what is furthest from its even share."""
    fold = dealt.of_rows(frames)
    total, names = counts(frames, fold, dealt.count, expressions), count_names(expressions)
    labelled = {task: np.bincount(fold, weights=frames.labelled(task), minlength=dealt.count) for task in TASKS}
    shown = {task: of_folds for task, of_folds in labelled.items() if of_folds.any()}
    even = np.maximum(total.mean(axis=0), 1e-300)
    off = np.where(total.any(axis=0), total / even - 1, 0.0)
    sizes = np.bincount(list(dealt.fold_of.values()), minlength=dealt.count)
    short = {"valence_arousal": "VA", "expression": "EXPR", "action_units": "AU"}
    rows = [
        ["fold", f"{dealt.key}s", "rows", *(f"{short[task]} rows" for task in shown), "furthest from an even share"]
    ]
    for number in range(dealt.count):
        most = int(np.argmax(np.abs(off[number])))
        cells = [number, sizes[number], int(total[number, 0]), *(int(one[number]) for one in shown.values())]
        rows.append([*map(str, cells), f"{names[most]} {off[number, most]:+.0%}"])
    return rows


def joined(parts: Sequence[Part]) -> Part:
    """Return lists as one, one after another; millions of crops stay numbers."""
    images = [images for _, images in parts]
    if not all(isinstance(one, CropPaths) for one in images):
        return concatenate([frames for frames, _ in parts]), [path for one in images for path in one]
    crops = CropPaths.join([one for one in images if isinstance(one, CropPaths)])
    files = {name: digest for frames, _ in parts for name, digest in frames.files.items()}
    columns: dict[str, Any] = {task: np.concatenate([getattr(frames, task) for frames, _ in parts]) for task in TASKS}
    return replace(named(crops, files), **columns), crops


def named(images: CropPaths, files: dict[str, str]) -> Frames:
    """Return unlabelled frames with the names that their crops have."""
    _, video, frame = images.numbers
    names, files_of_rows = frame_names(images.videos, video, frame)
    return unlabelled(files_of_rows, names, frame.astype(np.int64), files)


def _select(part: Part, keep: NDArray[np.bool_]) -> Part:
    rows = np.flatnonzero(keep)
    return part[0].select(rows), take(part[1], rows)


def _path(given: str, root: str | Sequence[str]) -> Path:
    path = Path(given).expanduser()
    return first_found(path, [root] if isinstance(root, str) else root) or path
