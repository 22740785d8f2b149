"""Intervals of valence and of arousal, and sets of expressions, that hold the label as often as is asked for.

They are split-conformal: fitted on labelled videos that the network has not learnt from, and promised for a frame,
drawn at random, of a new video like them. Frames of a video are alike, so that videos, not frames, are what counts:
each of K videos weighs 1 / (K + 1), which its frames share, and the rest stands for the new video, of which nothing is
known. The limit is the smallest score with ``share`` of the weight at or below it. Such pooling of the videos'
distributions, every one weighing alike, is that of Dunn, Wasserman and Ramdas, Distribution-Free Prediction Sets for
Two-Layer Hierarchical Models (JASA 2022, arXiv 1809.07441), which holds for many videos; with the 1 / (K + 1) of the
new one it is the hierarchical conformal prediction of Lee, Barber and Willett, Distribution-free inference with
hierarchical data (arXiv 2306.06342), which holds for any number of exchangeable videos. In lists of single pictures,
each picture is taken for a video.

The score of valence and of arousal is the distance of the label from the prediction. That of an expression is
randomised APS, of Romano, Sesia and Candes, Classification with Valid and Adaptive Coverage (NeurIPS 2020, arXiv
2006.02544): the probabilities of all classes that are likelier than it, plus a random part of its own. The likeliest
class has the score 0 and so is in every set, which is then never empty; this is known to the fit, so that it does not
raise the coverage, unless the likeliest class alone is right more often than is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import BoolArray, FloatArray, Frames, IntArray
from affect.labels import AFFECT
from evaluators.bounds import Bounds
from evaluators.postprocess.settings import check_classes, read_stored
from evaluators.postprocess.timeline import video_of_rows
from evaluators.table import Table

Array: TypeAlias = NDArray[np.float64]

Coverage: TypeAlias = float | Mapping[str, float] | str
"""The share that is asked for; or with the seed of the draws, ``{share: 0.9, seed: 1}``; or the file of a fit."""

Rule: TypeAlias = dict[str, Any]
"""What is fitted: ``share``, ``seed``, and the limits of the scores by ``valence``, ``arousal`` and ``expression``."""

FITTING: Final = 0
SAYING: Final = 1
"""Streams of draws: a new list's are not those that the limit was fitted with."""


def asked_for(given: Coverage) -> tuple[float, int]:
    """Return share and seed from a number or a mapping.

    Raises:
        UserError: a share that is not between 0 and 1, a seed that is no whole number >= 0, or another key.
    """
    asked = dict(given) if isinstance(given, Mapping) else {"share": given}
    if "share" not in asked or set(asked) - {"share", "seed"}:
        raise UserError(f"postprocess.coverage is {given!r}; give a share, or {{share: 0.9, seed: 1}}")
    share, seed = asked["share"], asked.get("seed", 0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise UserError(f"postprocess.coverage is {share!r}; give a share between 0 and 1, or the file of a fit")
    if type(seed) is not int or seed < 0:
        raise UserError(f"postprocess.coverage: the seed is {seed!r}; give a whole number, 0 or more")
    return float(share), seed


def check_coverage(given: Coverage | None) -> None:
    """Check the key before there is a table.

    Raises:
        UserError: none of the accepted forms, or a file without a fit.
    """
    if isinstance(given, str):
        read_stored(given, "coverage")
    elif given is not None:
        asked_for(given)


def rule_of(path: str, table: Table) -> Rule:
    """Read a fit for a table.

    Raises:
        UserError: no such file, no fit in it, or one of other tasks or expressions than the table has.
    """
    rule: Rule = read_stored(path, "coverage")
    fitted = [name for name in (*AFFECT, "expression") if name in rule]
    if not any(_task(name) in table.tasks for name in fitted):
        raise UserError(
            f"postprocess.coverage={path}: it was fitted for {', '.join(fitted)}, and {table.source} has "
            f"{', '.join(table.tasks)}; leave it out"
        )
    if "expression" in fitted and "expression" in table.tasks:
        check_classes(path, table.expressions, table.source)
    return rule


def fit_coverage(table: Table, frames: Frames, given: Coverage) -> Rule:
    """Fit the limits of valence, of arousal and of the expression on a list, for those that have labels.

    Args:
        table: the predictions, after everything else was done to them; null rows are left out.
        frames: their labels.
        given: the share of frames whose label shall be inside, and the seed.

    Raises:
        UserError: no label of what the table predicts, or in fewer videos than the share needs.
    """
    share, seed = asked_for(given)
    rule: Rule = {"share": share, "seed": seed}
    keep, video = ~table.null, video_of_rows(table)
    for name in (*AFFECT, "expression"):
        if _task(name) not in table.tasks:
            continue
        if name == "expression":
            rows = np.flatnonzero(keep & (frames.expression >= 0))
            scores = expression_scores(table.predictions[name][rows], draws(seed, len(table), FITTING)[rows])
            scores = scores[np.arange(len(rows)), frames.expression[rows]]
        else:
            column = AFFECT.index(name)
            labels = frames.valence_arousal[:, column].astype(np.float64)
            rows = np.flatnonzero(keep & ~np.isnan(labels))
            scores = np.abs(labels[rows] - table.predictions["valence_arousal"][rows, column])
        if len(rows):
            rule[name] = video_quantile(scores, video[rows], share, name)
    if set(rule) == {"share", "seed"}:
        raise _no_labels(share, f" that {table.source} predicts")
    return rule


def check_fit(frames: Frames, given: Coverage) -> None:
    """Refuse a list on which nothing can be fitted, whatever is predicted.

    Raises:
        UserError: no label of valence and arousal or of an expression, or in fewer videos than the share needs.
    """
    share, _ = asked_for(given)
    labelled = (frames.expression >= 0) | ~np.isnan(frames.valence_arousal).all(axis=1)
    if not labelled.any():
        raise _no_labels(share)
    _check_enough(len(np.unique(video_of_rows(frames)[labelled])), share, "this list")


def _no_labels(share: float, which: str = "") -> UserError:
    return UserError(
        f"postprocess.coverage={share:g}: this list has no label of valence and arousal or of expressions{which}; fit "
        "on a split with labels and give the file that it stores"
    )


def _check_enough(videos: int, share: float, what: str) -> None:
    """Refuse so few videos that all of them together weigh less than the share."""
    needed = math.ceil(share / (1 - share) - 1e-9)
    if videos < needed:
        raise UserError(
            f"postprocess.coverage={share:g}: {what} has labels in {videos} video{'s' * (videos != 1)}, and this share "
            f"needs {needed}: give a list with more, or at most {math.floor(1000 * videos / (videos + 1)) / 1000:g}"
        )


def video_quantile(scores: Array, video: IntArray, share: float, what: str) -> float:
    """Return the smallest score with ``share`` of the weight at or below it: every video weighs 1 / (videos + 1).

    Args:
        scores: (n,) of frames, at least one.
        video: (n,) numbers of their videos.
        share: between 0 and 1.
        what: for the message.

    Raises:
        UserError: there are too few videos: all of them together weigh less than the share.
    """
    _, video, frames = np.unique(video, return_inverse=True, return_counts=True)
    _check_enough(len(frames), share, what)
    order = np.argsort(scores)
    weight = np.cumsum(1 / frames[video[order]]) / (len(frames) + 1)
    place = min(int(np.searchsorted(weight, share - 1e-9)), len(order) - 1)  # a sum of a million weights is rounded
    return float(scores[order[place]])


def draws(seed: int, rows: int, stream: int) -> Array:
    """Return (rows,) numbers in [0, 1), each a function of seed, stream and its row."""
    return np.random.default_rng([seed, stream]).random(rows)


def expression_scores(probabilities: FloatArray, draw: Array) -> Array:
    """Return the score of each class: what is likelier than it, and ``draw`` of its own; 0 for the likeliest.

    Of equal probabilities the first is the likeliest, as in the metrics.

    Args:
        probabilities: (N, C).
        draw: (N,) in [0, 1).

    Returns:
        (N, C), never falling from a class to the next likely one.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities.astype(np.float64), order, axis=1)
    ranked = np.cumsum(ranked, axis=1) - ranked + draw[:, None] * ranked
    ranked[:, 0] = 0
    scores = np.empty_like(ranked)
    np.put_along_axis(scores, order, ranked, axis=1)
    return scores


def with_bounds(table: Table, rule: Rule) -> Table:
    """Give a table the intervals and sets of a fit, of the tasks that it has; null rows get none."""
    intervals: dict[str, FloatArray] = {}
    for column, name in enumerate(AFFECT):
        if name in rule and "valence_arousal" in table.tasks:
            values = table.predictions["valence_arousal"][:, column].astype(np.float64)
            both = np.stack([values - rule[name], values + rule[name]], axis=1)
            intervals[name] = both.clip(-1, 1).astype(np.float32)
    classes: BoolArray | None = None
    if "expression" in rule and "expression" in table.tasks:
        draw = draws(rule["seed"], len(table), SAYING)
        classes = expression_scores(table.predictions["expression"], draw) <= rule["expression"]
        classes[table.null] = False
    made = {**table.metadata, "coverage": rule}
    return replace(table, metadata=made, bounds=Bounds(intervals, classes))


def _task(name: str) -> str:
    return "valence_arousal" if name in AFFECT else name
