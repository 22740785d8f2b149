"""Scores against the half-width of the smoothing: Figures 2 to 5 of the EmotiEffNet paper for any table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from affect.files import whole_file, write_whole
from affect.frames import Frames
from evaluators import figures
from evaluators.metrics import MAIN, Scores
from evaluators.postprocess.gating import CONFIDENCE, expression_of, take_confident
from evaluators.postprocess.smoothing import smooth_many
from evaluators.postprocess.thresholds import Thresholds
from evaluators.predictions import score_table
from evaluators.report import NO_LABELS
from evaluators.table import Table


def curve(
    table: Table,
    frames: Frames,
    ks: Sequence[int],
    kind: str = "box",
    *,
    missing: str | None = None,
    sigma: float | None = None,
    au_thresholds: Thresholds = 0.5,
    pair: Sequence[Table] = (),
    confidence: float = CONFIDENCE,
) -> dict[str, list[Scores]]:
    """Score a table for each half-width, reading and laying it out only once.

    Args:
        table: predictions, before missing frames are filled.
        frames: the list with labels.
        ks: half-widths in frames, the same for all tasks; 0 means no smoothing.
        kind: kind of smoothing: ``box``, ``median`` or ``gaussian``.
        missing: how missing frames are filled first: None (not at all), ``linear`` or ``reversed``.
        sigma: standard deviation of the Gaussian in frames; None for k / 2.
        au_thresholds: thresholds of the action units, the same for all half-widths.
        pair: the two tables of the gate ``confidence``, which are smoothed in the same way.
        confidence: probability above which that gate takes the second table's expression.

    Returns:
        Scores in the order of ``ks`` over ``all`` rows with a prediction; where rows were filled, also over those
        ``with an image`` alone, which is what published validation scores count.
    """
    image = ~table.null
    over = {"all": None} if missing is None or image.all() else {"all": None, "with an image": image}
    scores: dict[str, list[Scores]] = {name: [] for name in over}
    smoothings = [
        smooth_many(one, ks, kind, missing=missing, sigma=sigma) for one in (table, *map(expression_of, pair))
    ]
    for smoothed, *both in zip(*smoothings, strict=True):
        if both:
            smoothed = take_confident(smoothed, both, confidence)
        for name, rows in over.items():
            scores[name].append(score_table(smoothed, frames, au_thresholds=au_thresholds, only=rows))
    return scores


def write_curve(folder: Path, ks: Sequence[int], scores: Mapping[str, Sequence[Scores]], kind: str) -> str:
    """Write ``curve.csv`` (a line for each k and each set of rows, all scores) and ``curve.svg``.

    Args:
        folder: folder to write to.
        ks: the half-widths.
        scores: from ``curve``.
        kind: kind of smoothing, for the axis.

    Returns:
        Lines to print: the best k of each main score over all rows, the smallest of equal ones.
    """
    names = list(next(iter(scores.values()))[0])
    with whole_file(folder / "curve.csv") as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["rows", "k", *names])
        for rows, of_rows in scores.items():
            for k, of_k in zip(ks, of_rows, strict=True):
                writer.writerow([rows, k, *(NO_LABELS if of_k[name] is None else of_k[name] for name in names)])
    drawn = figures.smoothing_curve(ks, scores["all"], kind)
    if drawn is not None:
        write_whole(folder / "curve.svg", drawn)
    lines = []
    for name in (name for name in MAIN if name in names):
        values = {k: value for k, of_k in zip(ks, scores["all"], strict=True) if (value := of_k[name]) is not None}
        if values:
            best = max(sorted(values), key=values.__getitem__)
            lines.append(f"curve: {name} is highest at k={best}: {values[best]:.4f}")
    return "\n".join(lines)
