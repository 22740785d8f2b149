"""Half-widths of the smoothing that are searched on labels, one for each task."""

from __future__ import annotations

from typing import Final

import numpy as np

from affect.errors import UserError
from affect.frames import Frames
from affect.labels import TASKS
from evaluators.names import expression_score
from evaluators.postprocess.smoothing import smooth_many
from evaluators.postprocess.thresholds import SEARCHES, Thresholds, search_thresholds
from evaluators.table import Table

GRID: Final = (0, 1, 2, 3, 5, 7, 10, 15, 25, 50, 100, 200)
"""The half-widths that are tried; none, and the published ones, are among them."""


def search_half_widths(
    table: Table,
    frames: Frames,
    kind: str,
    *,
    missing: str | None = None,
    sigma: float | None = None,
    au_thresholds: Thresholds = 0.5,
) -> dict[str, int]:
    """Find the half-width of ``GRID`` with the highest ``P_VA``, ``P_EXPR`` (or ``P_LSD``) and ``P_AU`` on these rows.

    No score ends below that without smoothing, for that is tried, too. Biases that are searched later are not known
    here; thresholds that will be searched are searched for each half-width, as they will be.

    Args:
        table: predictions for videos; null rows count where ``missing`` fills them.
        frames: the list with labels.
        kind: of the window, ``box``, ``median`` or ``gaussian``.
        missing: how frames without a prediction are filled first, as ``smooth_many`` takes it.
        sigma: of a Gaussian.
        au_thresholds: of the action units, or a word that searches them.

    Returns:
        By task with labels; of equally good ones, the smallest.

    Raises:
        DataError: the list is not of videos.
        UserError: no label of what the table predicts.
    """
    from evaluators.predictions import score_table  # with torch, which predict.py may be without

    searched = isinstance(au_thresholds, str) and au_thresholds in SEARCHES
    names = {
        "valence_arousal": "P_VA", "expression": expression_score(table.expressions), "action_units": "P_AU"
    }  # fmt: skip
    best: dict[str, tuple[float, int]] = {}
    for k, smoothed in zip(GRID, smooth_many(table, GRID, kind, missing=missing, sigma=sigma), strict=True):
        scores = score_table(smoothed, frames, au_thresholds=0.5 if searched else au_thresholds)
        for task in table.tasks:
            score = scores[names[task]]
            if task == "action_units" and searched and score is not None:
                score = float(
                    search_thresholds(str(au_thresholds), smoothed.predictions[task], frames.action_units)[1].mean()
                )
            if score is not None and (task not in best or score > best[task][0]):
                best[task] = (score, k)
    if not best:
        raise UserError(f"postprocess.k=search: the list has no label of what {table.source} predicts")
    return {task: k for task, (_, k) in best.items()}


def check_labels(frames: Frames) -> None:
    """Refuse a list on which no half-width can be searched.

    Raises:
        UserError: it has no label at all.
    """
    if not any(np.any(frames.labelled(task)) for task in TASKS):
        raise UserError(
            "postprocess.k=search: this list has no label to search on; search on a split with labels, and give the "
            "file that it stores"
        )
