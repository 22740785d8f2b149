"""Smooth a table's raw scores in time by what was seen before: exponential smoothing, which looks at no later frame.

With r = alpha / (1 + alpha) and a frame with prediction x, d frames after the last one of its video that has one,

    X = r^d X_before + (1 - r^d) x,

and X = x at a video's first frame and after a gap of more than ``max_gap`` frames. A frame without a prediction has no
weight: X stays what it is, and the frame gets it, up to ``max_gap`` frames after the last one that was seen. Frame
numbers count, not rows. A frame that is listed twice counts once, with its first row that has a prediction.

Raw scores are logits: those of the table, where it has them, and otherwise the logits of the probabilities, which for
expressions are known up to a constant per row that the softmax removes. Valence and arousal are taken as they are.

Source: Deng, arXiv 2203.12845 (github.com/wtomin/ABAW3_MultiEmotionNet), which smooths the embeddings before linear
classifiers, X = (alpha X_before + x) / (1 + alpha), with alpha chosen by task. That is the same for scores, because the
classifiers are linear and the weights sum to 1; where no frame is missing, d is 1 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import IntArray, video_numbers
from affect.labels import TASKS
from evaluators.postprocess.blending import from_logits, to_logits
from evaluators.postprocess.filling import fill_nulls, known_rows
from evaluators.postprocess.timeline import check_videos
from evaluators.table import Table

Alphas: TypeAlias = float | Mapping[str, float]
"""How much what was seen before weighs against one frame: one number, or one by task."""

Array = NDArray[np.float64]

PUBLISHED_ALPHA: Final = {"valence_arousal": 9, "expression": 9, "action_units": 7}
"""What ABAW3's winner chose of 7, 8, 9 and 10, by task."""

MAX_GAP: Final = 50
"""Frames, two seconds of a video; with alpha 9, less than 1 % is left of what was seen before them."""

_EDGES: Final = (float(np.finfo(np.float32).tiny), 1 - 2.0**-25)
"""What float32 rounds to 0 and to 1 is taken to be these probabilities: those have logits."""


def alphas(given: Alphas | None, tasks: Sequence[str]) -> dict[str, float]:
    """Return the alpha of each of these tasks; None is ``PUBLISHED_ALPHA``.

    Raises:
        UserError: not a finite number, negative, of an unknown task, or none for one of the tasks.
    """
    given = PUBLISHED_ALPHA if given is None else given
    by_task = dict(given) if isinstance(given, Mapping) else dict.fromkeys(tasks, given)
    for task, value in by_task.items():
        if task not in TASKS:
            raise UserError(f"postprocess.alpha: there is no task {task!r}; there are {', '.join(TASKS)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            raise UserError(f"postprocess.alpha is {value!r}; give a number, 0 or more")
    if missing := [task for task in tasks if task not in by_task]:
        raise UserError(f"postprocess.alpha: none of {', '.join(missing)}; give one number, or one by task")
    return {task: float(by_task[task]) for task in tasks}


def smooth_exponentially(
    table: Table, alpha: Alphas | None = None, *, max_gap: int = MAX_GAP, missing: str | None = None
) -> Table:
    """Smooth a table; logits are left out of the result.

    Args:
        table: predictions for videos.
        alpha: one number or one by task; a task with 0 stays as it is. None: ``PUBLISHED_ALPHA``.
        max_gap: frames without a prediction after which a video starts anew.
        missing: None, or how null rows are filled first, ``linear`` or ``reversed``; they then count as seen, and
            both look at later frames.

    Raises:
        UserError: an unusable alpha.
        DataError: the list is not of videos; with ``missing``, a video without any prediction, and nothing is known to
            stand in for it.
    """
    by_task = alphas(alpha, table.tasks)
    check_videos(table, table.source)
    own = table if missing is None else fill_nulls(table, missing)[0]
    predictions = {task: own.predictions[task] for task in own.tasks}
    video = video_numbers(own.video)
    known = known_rows(own, video)
    if len(known):
        frame = np.asarray(own.frame, dtype=np.int64)
        distance = _distances(video[known], frame[known])
        anew = (distance == 0) | (distance > max_gap)
        last = _last_seen(video, frame, known, max_gap)
        for task, value in by_task.items():
            if value:
                share = np.where(anew, 0.0, (value / (1 + value)) ** distance)
                smoothed = from_logits(_recur(_raw_scores(own, task)[known], share, anew), task)
                predictions[task] = np.where(last[:, None] < 0, np.nan, smoothed[last]).astype(np.float32)
    note = {"smoothing": "exponential", "alpha": by_task, "max_gap": max_gap, "missing": missing}
    made = {**own.metadata, "smoothed": note}
    return replace(own, predictions=predictions, metadata=made, source=f"{table.source}, smoothed")


class AsTheyCome:
    """Smooths a stream's rows frame by frame, as ``smooth_exponentially`` does each person's of a whole table.

    Args:
        alpha: one number or one by task; None: ``PUBLISHED_ALPHA``.
        max_gap: frames without a person's face after which the person starts anew.
    """

    def __init__(self, alpha: Alphas | None = None, max_gap: int = MAX_GAP) -> None:
        self._alpha, self._max_gap = alpha, max_gap
        self._last: dict[int, tuple[int, dict[str, Array]]] = {}  # by person: frame, and X by task

    def add(self, table: Table) -> Table:
        """Smooth the faces of the next frame.

        Args:
            table: of that frame alone, with ``found``.

        Returns:
            The same rows; logits are left out.
        """
        assert table.found is not None
        predictions = {task: table.predictions[task].copy() for task in table.tasks}
        by_task = alphas(self._alpha, table.tasks)
        for row in np.flatnonzero(table.found.success & ~table.null).tolist():
            face_id, frame = int(table.found.face_id[row]), int(table.frame[row])
            last, before = self._last.get(face_id, (frame, {}))
            smoothed = {}
            for task, value in by_task.items():
                smoothed[task] = raw = _raw_scores(table, task)[row]
                if value and frame != last and frame - last <= self._max_gap:
                    kept = (value / (1 + value)) ** (frame - last)
                    smoothed[task] = kept * before[task] + (1 - kept) * raw
                if value:
                    predictions[task][row] = from_logits(smoothed[task][None], task)[0]
            self._last[face_id] = frame, smoothed
        now = int(table.frame[-1])
        self._last = {one: known for one, known in self._last.items() if now - known[0] <= self._max_gap}
        return replace(table, predictions=predictions)


def _raw_scores(table: Table, task: str) -> Array:
    """Return (N, columns) logits, or valence and arousal."""
    if f"logits_{task}" in table.predictions:
        return table.predictions[f"logits_{task}"].astype(np.float64)
    exact: Array = table.predictions[task].astype(np.float64)
    return to_logits(exact if task == "valence_arousal" else exact.clip(*_EDGES), task)


def _distances(video: IntArray, frame: IntArray) -> IntArray:
    """Return (K,) how many frames after the one before it each is, 0 at the first of a video."""
    before = np.diff(frame, prepend=frame[0])
    before[1:][np.diff(video) != 0] = 0
    return before


def _last_seen(video: IntArray, frame: IntArray, known: NDArray[np.intp], max_gap: int) -> NDArray[np.intp]:
    """Return (N,) the position in ``known`` of the last frame not after each row, −1 where none is near enough."""
    stride = int(frame.max()) + 1
    last = np.searchsorted(video[known] * stride + frame[known], video * stride + frame, side="right") - 1
    of = known[last]
    near: NDArray[np.bool_] = (last >= 0) & (video[of] == video) & (frame - frame[of] <= max_gap)
    return np.where(near, last, -1)


def _recur(values: Array, share: Array, anew: NDArray[np.bool_]) -> Array:
    """Return X of (K, columns): all runs that start anew take their first step, then their second, and so on."""
    smoothed = values.copy()
    starts = np.flatnonzero(anew)
    lengths = np.diff(starts, append=len(values))
    order = np.argsort(-lengths, kind="stable")
    starts, lengths = starts[order], lengths[order]
    for step in range(1, int(lengths[0])):
        rows = starts[: np.searchsorted(-lengths, -step)] + step
        kept = share[rows, None]
        smoothed[rows] = kept * smoothed[rows - 1] + (1 - kept) * values[rows]
    return smoothed
