"""Scores against the half-width of the smoothing: Figures 2 to 5 of the EmotiEffNet paper for any table."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from affect.files import whole_file, write_whole
from affect.frames import Frames
from evaluators import figures
from evaluators.names import MAIN, Scores
from evaluators.postprocess.biases import with_biases
from evaluators.postprocess.chain import Processed
from evaluators.postprocess.gating import expression_of, take_confident
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.smoothing import smooth_many
from evaluators.postprocess.temperature import with_temperatures
from evaluators.predictions import score_table
from evaluators.report import NO_LABELS


def curve(done: Processed, frames: Frames, ks: Sequence[int], settings: PostProcess) -> dict[str, list[Scores]]:
    """Score a blend for each half-width, reading and laying it out only once.

    Args:
        done: the blend, before missing frames are filled, its tables, the temperatures, the biases, and the
            thresholds of the action units.
        frames: the list with labels.
        ks: half-widths in frames, the same for all tasks; 0 means no smoothing.
        settings: how missing frames are filled first, the kind of smoothing (``box`` where it has none), and the gate:
            the two tables of ``confidence`` are smoothed in the same way.

    Returns:
        Scores in the order of ``ks`` over ``all`` rows with a prediction; where rows were filled, also over those
        ``with an image`` alone, which is what published validation scores count.
    """
    image = ~done.blended.null
    over = {"all": None} if settings.missing is None or image.all() else {"all": None, "with an image": image}
    scores: dict[str, list[Scores]] = {name: [] for name in over}
    pair = [expression_of(one) for one in done.tables] if settings.gate == "confidence" else []
    smoothings = [
        smooth_many(one, ks, settings.smoothing or "box", missing=settings.missing, sigma=settings.sigma)
        for one in (done.blended, *pair)
    ]
    for smoothed, *both in zip(*smoothings, strict=True):
        if both:
            smoothed = take_confident(smoothed, both, settings.confidence)
        smoothed = with_biases(with_temperatures(smoothed, done.temperatures), done.biases)
        for name, rows in over.items():
            scores[name].append(score_table(smoothed, frames, au_thresholds=done.au_thresholds, only=rows))
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
    write_csv(folder / "curve.csv", "rows", ks, scores)
    if panels := figures.smoothing_curves(ks, scores["all"], kind):
        write_whole(folder / "curve.svg", figures.together(panels))
    lines = []
    for name in (name for name in MAIN if name in scores["all"][0]):
        values = {k: value for k, of_k in zip(ks, scores["all"], strict=True) if (value := of_k[name]) is not None}
        if values:
            best = max(sorted(values), key=values.__getitem__)
            lines.append(f"curve: {name} is highest at k={best}: {values[best]:.4f}")
    return "\n".join(lines)


def write_csv(path: Path, first: str, ks: Sequence[int], scores: Mapping[str, Sequence[Scores]]) -> None:
    """Write all scores of curves, a line for each half-width of each; the column ``first`` has the curves' names."""
    names = list(next(iter(scores.values()))[0])
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([first, "k", *names])
        for curve_name, of_curve in scores.items():
            for k, of_k in zip(ks, of_curve, strict=True):
                writer.writerow([curve_name, k, *(NO_LABELS if of_k[name] is None else of_k[name] for name in names)])
