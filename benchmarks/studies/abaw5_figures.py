"""Figures 2 to 5 of the EmotiEffNet paper: scores against the half-width of the smoothing, a line for each system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from affect.files import whole_file
from affect.labels import UniTask
from evaluators.curve import write_csv
from evaluators.names import Scores

FIGURES: Final[Mapping[UniTask, Mapping[str, str]]] = {
    "va": {"valence": "CCC_V", "arousal": "CCC_A"},
    "expr": {"expression": "P_EXPR"},
    "au": {"action_units": "P_AU"},
}
"""Name of each figure's file, and its score."""


def draw_curves(folder: Path, task: UniTask, ks: Sequence[int], scores: Mapping[str, Sequence[Scores]]) -> None:
    """Write ``<task>.csv`` (all scores) and, of each figure, an SVG and a PNG.

    Args:
        folder: made where missing.
        task: whose figures.
        ks: half-widths in frames.
        scores: of each system, for each half-width.
    """
    write_csv(folder / f"{task}.csv", "system", ks, scores)
    for name, score in FIGURES[task].items():
        figure = Figure(figsize=(4.8, 3.2), layout="constrained")
        axes = figure.subplots()
        for system, of_system in scores.items():
            axes.plot(ks, [of_k[score] or 0.0 for of_k in of_system], marker="o", markersize=3, label=system)
        axes.set_xscale("symlog", linthresh=1)  # k = 0 has its place beside 1, 10, 100
        axes.set_xlim(0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(title=name.replace("_", " "), xlabel="k of the box window [i − k, i + k], frames", ylabel=score)
        axes.grid(color="0.85", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        for ending in ("svg", "png"):
            with whole_file(folder / f"{name}.{ending}") as beside:
                figure.savefig(beside, format=ending, dpi=150)
