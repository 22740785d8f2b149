"""How far predictions can be believed: reliability, calibration error, and whether intervals and sets hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from affect.frames import Frames, IntArray
from affect.labels import ACTION_UNITS, AFFECT, AU_NAMES
from evaluators.figures import BLUE, GREY, INK, drawing
from evaluators.postprocess.timeline import video_of_rows
from evaluators.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS: Final = 15
"""As many as Guo et al. draw and score with."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often probabilities come true, in bins of equal width from 0 to 1; the last has 1 in it, too.

    Attributes:
        count: (B,) frames in the bin.
        said: (B,) float64, their mean probability; 0 in an empty bin.
        true: (B,) float64, the share of them for which it came true; 0 in an empty bin.
    """

    count: IntArray
    said: NDArray[np.float64]
    true: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """The expected calibration error, the mean of |true - said| over all frames; in [0, 1].

        Source: Guo, Pleiss, Sun and Weinberger (ICML 2017, arXiv 1706.04599), equation 3.
        """
        return float(np.sum(self.count * np.abs(self.true - self.said)) / self.count.sum())


def reliability_of(probabilities: NDArray[np.floating], true: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """Sort probabilities into bins.

    Args:
        probabilities: (N,) in [0, 1].
        true: (N,) whether what they are of came true.
        bins: how many.
    """
    exact = probabilities.astype(np.float64)
    place = np.minimum((exact * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    said, came_true = (np.bincount(place, weights, bins) / np.maximum(count, 1) for weights in (exact, true))
    return Reliability(count, said, came_true)


def reliability(table: Table, frames: Frames, bins: int = BINS) -> dict[str, Reliability]:
    """Return the reliability of the likeliest expression, and of each action unit; null rows are left out.

    Args:
        table: the predictions.
        frames: the labels of its rows.
        bins: how many.

    Returns:
        By ``expression``, ``au1`` …: those that have labels and predictions. Of an expression, the probability is that
        of the likeliest class (the first of equal ones), which comes true where the label is this class; of an action
        unit, it is the unit's own.
    """
    keep, found = ~table.null, dict[str, Reliability]()
    if "expression" in table.tasks:
        rows = keep & (frames.expression >= 0)
        if rows.any():
            values, labels = table.predictions["expression"][rows], frames.expression[rows]
            found["expression"] = reliability_of(values.max(axis=1), values.argmax(axis=1) == labels, bins)
    for column, name in enumerate(AU_NAMES if "action_units" in table.tasks else ()):
        unit = frames.action_units[:, column]
        rows = keep & ~np.isnan(unit)
        if rows.any():
            values = table.predictions["action_units"][rows, column]
            found[name] = reliability_of(values, unit[rows] == 1, bins)
    return found


def calibration_scores(
    table: Table, frames: Frames, found: Mapping[str, Reliability] | None = None
) -> dict[str, float]:
    """Return how well a table's probabilities, intervals and sets are calibrated; what has no labels is left out.

    Args:
        table: the predictions.
        frames: the labels of its rows.
        found: their reliability, where it is known already.

    Returns:
        ``ECE_EXPR``, ``ECE_AU`` (the mean over the units that have labels) and ``ECE_AU<k>``, over all frames alike, as
        the scores are. Where the table has bounds, by video, every one weighing alike, as they promise: ``COVERAGE_V``,
        ``COVERAGE_A``, ``COVERAGE_EXPR``, the share of labels inside; ``WIDTH_V``, ``WIDTH_A``, the mean width of the
        intervals; ``SIZE_EXPR``, the mean number of expressions in a set.
    """
    found = reliability(table, frames) if found is None else found
    errors = {name: one.ece for name, one in found.items()}
    scores = {"ECE_EXPR": errors["expression"]} if "expression" in errors else {}
    units = {f"ECE_AU{unit}": errors[name] for unit, name in zip(ACTION_UNITS, AU_NAMES, strict=True) if name in errors}
    if units:
        scores |= {"ECE_AU": sum(units.values()) / len(units), **units}
    if table.bounds is None:
        return scores
    video, keep = video_of_rows(table), ~table.null
    for column, name in enumerate(AFFECT):
        labels = frames.valence_arousal[:, column]
        rows = keep & ~np.isnan(labels)
        if name in table.bounds.intervals and rows.any():
            low, high = table.bounds.intervals[name][rows].T
            inside = (low <= labels[rows]) & (labels[rows] <= high)
            scores[f"COVERAGE_{name[0].upper()}"] = video_mean(inside, video[rows])
            scores[f"WIDTH_{name[0].upper()}"] = video_mean(high - low, video[rows])
    rows = keep & (frames.expression >= 0)
    if table.bounds.classes is not None and rows.any():
        classes = table.bounds.classes[rows]
        inside = np.take_along_axis(classes, frames.expression[rows, None], axis=1)[:, 0]
        scores["COVERAGE_EXPR"] = video_mean(inside, video[rows])
        scores["SIZE_EXPR"] = video_mean(classes.sum(axis=1), video[rows])
    return scores


def video_mean(values: NDArray[np.generic], video: IntArray) -> float:
    """Return the mean over videos of the mean within each, of (n,) values of frames and the numbers of their videos."""
    _, place, count = np.unique(video, return_inverse=True, return_counts=True)
    return float((np.bincount(place, values.astype(np.float64)) / count).mean())


def reliability_panels(found: Mapping[str, Reliability]) -> list[str]:
    """Draw what ``reliability`` found, a panel each for expressions and action units, as SVG; none without labels.

    Above, how often probabilities come true, against what they say: on the dashed line they are right. Action
    units are thin lines, and together a thick one. Below, the share of the values that is in each bin.
    """
    groups = (
        ("Expressions", "share where the likeliest is right", ("expression",)),
        ("Action units", "share where the unit is there", AU_NAMES),
    )
    drawn = []
    for title, event, names in groups:
        lines = [found[name] for name in names if name in found]
        if lines:
            with drawing(3.6, 4.2, heights=(3, 1)) as ((above, below), svg):
                _draw(above, below, lines)
                error = sum(one.ece for one in lines) / len(lines)
                above.set(title=f"{title}, ECE {error:.3f}", ylabel=event)
            drawn.append(svg.text)
    return drawn


def _draw(above: Axes, below: Axes, lines: Sequence[Reliability]) -> None:
    whole = pooled(lines)
    above.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle="--")
    for one in lines if len(lines) > 1 else ():
        _line(above, one, {"color": GREY, "linewidth": 0.8})
    _line(above, whole, {"color": BLUE, "linewidth": 1.6, "marker": "o", "markersize": 3.5})
    above.set(ylim=(-0.02, 1.02))
    below.bar(_middles(whole), whole.count / whole.count.sum(), width=0.9 / len(whole.count), color=BLUE)
    below.set(xlabel="predicted probability", ylabel="share")
    for axes in (above, below):
        axes.set(xlim=(-0.02, 1.02), xticks=np.linspace(0, 1, 6))


def pooled(found: Sequence[Reliability]) -> Reliability:
    """Pool the frames of several."""
    count = np.sum([one.count for one in found], axis=0)
    said, true = (
        np.sum([one.count * getattr(one, name) for one in found], axis=0) / np.maximum(count, 1)
        for name in ("said", "true")
    )
    return Reliability(count, said, true)


def _line(axes: Axes, one: Reliability, style: Mapping[str, Any]) -> None:
    there = one.count > 0
    axes.plot(one.said[there], one.true[there], **style)


def _middles(one: Reliability) -> NDArray[np.float64]:
    bins = len(one.count)
    return (np.arange(bins) + 0.5) / bins
