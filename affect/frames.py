"""A list of frames and their labels, whatever file they come from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affect.computed import Names, take
from affect.labels import AFFECT, AU_NAMES, EXPRESSIONS, MISSING_CLASS, TASKS, Task

_log = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_COLUMNS: Final = ("frame", *TASKS)  # of Frames, the arrays with an entry per row


@dataclass(frozen=True, eq=False)
class Frames:
    """Listed frames and their labels, one entry per row of the list, in its order, duplicates included.

    Attributes:
        video: name of the face folder, N entries.
        frame: (N,) frame number, from the image name.
        image: path below the image folder as the list has it, e.g. ``video1/00001.jpg``.
        valence_arousal: (N, 2) in [−1, 1]; both NaN where either is missing.
        expression: (N,) class index, −1 where missing.
        action_units: (N, 12) 0 or 1, NaN where missing, value by value.
        files: name of each label file that was read → its sha256.
    """

    video: Sequence[str]
    frame: IntArray
    image: Sequence[str]
    valence_arousal: FloatArray
    expression: IntArray
    action_units: FloatArray
    files: dict[str, str]

    def __len__(self) -> int:
        return len(self.image)

    @property
    def has_label(self) -> BoolArray:
        """(N,) true where at least one value of one task is labelled."""
        labelled: BoolArray = np.any([self.labelled(task) for task in TASKS], axis=0)
        return labelled

    def labelled(self, task: Task) -> BoolArray:
        """Return (N,) true where at least one value of a task is labelled."""
        if task == "expression":
            return self.expression >= 0
        known: BoolArray = ~np.isnan(getattr(self, task)).all(axis=1)
        return known

    def select(self, index: IntArray) -> Frames:
        """Return the rows of ``index`` (integers), in that order."""
        columns = {name: getattr(self, name)[index] for name in _COLUMNS}
        return replace(self, video=take(self.video, index), image=take(self.image, index), **columns)

    def constant(self) -> dict[str, float]:
        """Return the only value of valence, arousal or an action unit, of those that have one in several rows."""
        found = {}
        for name, column in zip((*AFFECT, *AU_NAMES), (*self.valence_arousal.T, *self.action_units.T), strict=True):
            known = column[~np.isnan(column)]
            if len(known) > 1 and (known == known[0]).all():
                found[name] = float(known[0])
        return found

    def class_counts(self, classes: int = len(EXPRESSIONS)) -> IntArray:
        """Count the rows of each expression, (classes,), to weight them by; warn if all rows have the same one."""
        counts = np.bincount(self.expression[self.expression >= 0], minlength=classes)
        if np.count_nonzero(counts) == 1:
            _log.warning(
                "all %d training rows with an expression are of class %d, so that no other can be learnt. Is this the "
                "right column?", counts.sum(), counts.argmax(),
            )  # fmt: skip
        return counts

    def class_weights(self, classes: int = len(EXPRESSIONS)) -> FloatArray:
        """Return (classes,) weights for a cross entropy in which every expression counts the same: n / (classes n_c).

        An expression without a row gets 1: nothing can be learnt of it, and no weight would change that.
        """
        counts = self.class_counts(classes).astype(np.float32)
        weights = np.ones(classes, dtype=np.float32)
        np.divide(counts.sum() / classes, counts, out=weights, where=counts > 0)
        return weights

    def positive_weights(self) -> FloatArray:
        """Return (12,) negatives per positive of each action unit: ``pos_weight`` of a balanced BCE.

        A unit without a positive row gets 1: nothing can be learnt of it, and no weight would change that.
        """
        positives = np.sum(self.action_units == 1, axis=0).astype(np.float32)
        negatives = np.sum(self.action_units == 0, axis=0).astype(np.float32)
        weights = np.ones(len(AU_NAMES), dtype=np.float32)
        np.divide(negatives, positives, out=weights, where=positives > 0)
        return weights


def warn_of_one_value(rows: str, labels: Frames, tasks: Sequence[str]) -> None:
    """Warn of valence, arousal, or all action units, where one value is all that there is.

    Args:
        rows: what they are called.
        labels: their list.
        tasks: those that are learnt, or scored.
    """
    found = labels.constant()
    names: list[str] = [name for name in AFFECT if name in found and "valence_arousal" in tasks]
    units = [name for name in AU_NAMES if name in found]
    if units and len(units) == (~np.isnan(labels.action_units).all(axis=0)).sum() and "action_units" in tasks:
        names.append("action units")
    if names:
        _log.warning(
            "%s: all rows have the same %s, of which nothing can be learnt, nor a score tells anything. Is this the "
            "right column?", rows, " and ".join(names),
        )  # fmt: skip


def column_means(values: FloatArray) -> npt.NDArray[np.float64]:
    """Return the mean of each column over its valid (not NaN) values; NaN for a column without any."""
    count = (~np.isnan(values)).sum(axis=0)
    total = np.nansum(values.astype(np.float64), axis=0)
    means: npt.NDArray[np.float64] = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return means


def class_shares(expression: IntArray, classes: int) -> npt.NDArray[np.float64]:
    """Return the (classes,) shares of the expressions among the valid labels; NaN without any."""
    counts = np.bincount(expression[expression >= 0], minlength=classes)
    return counts / counts.sum() if counts.any() else np.full(len(counts), np.nan)


def concatenate(lists: Sequence[Frames]) -> Frames:
    """Return several lists as one, in their order."""
    names: dict[str, Any] = {
        key: [name for frames in lists for name in getattr(frames, key)] for key in ("video", "image")
    }
    columns: dict[str, Any] = {key: np.concatenate([getattr(frames, key) for frames in lists]) for key in _COLUMNS}
    return Frames(**names, **columns, files={name: digest for one in lists for name, digest in one.files.items()})


def video_numbers(videos: Sequence[str]) -> IntArray:
    """Return (N,) numbers 0, 1, … of the videos of N rows, in the order of their first row."""
    names = Names.of(videos)
    numbers = np.empty(len(names.names), dtype=np.int64)
    numbers[np.argsort(names.first_rows(), kind="stable")] = np.arange(len(numbers))
    return numbers[names.numbers[0]]


def rows_by_video(videos: Sequence[str]) -> dict[str, IntArray]:
    """Return the rows of each video, the videos in the order of their first rows."""
    codes = video_numbers(videos)
    parts = np.split(np.argsort(codes, kind="stable"), np.bincount(codes).cumsum()[:-1])
    return {videos[rows[0]]: rows for rows in parts if len(rows)}


def unlabelled(image: Sequence[str], video: Sequence[str], frame: IntArray, files: dict[str, str]) -> Frames:
    """Return frames without any label.

    Args:
        image: path of each frame below the image folder, as the list has it.
        video: name of each frame's face folder.
        frame: (N,) frame numbers.
        files: name of each file that was read to its sha256.
    """
    return Frames(
        video=video,
        frame=frame,
        image=image,
        valence_arousal=np.full((len(image), 2), np.nan, dtype=np.float32),
        expression=np.full(len(image), MISSING_CLASS, dtype=np.int64),
        action_units=np.full((len(image), len(AU_NAMES)), np.nan, dtype=np.float32),
        files=files,
    )
