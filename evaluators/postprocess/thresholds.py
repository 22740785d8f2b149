"""Decision thresholds of the action units: fixed, published, searched on labels, or stored by a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.labels import ACTION_UNITS, AU_NAMES
from evaluators.postprocess.settings import STORED, read_stored

Thresholds: TypeAlias = float | Sequence[float] | str
"""One number, twelve numbers in the order of ``ACTION_UNITS``, ``"published"``, or a file that a search has stored."""

PUBLISHED: Final = (0.8, 0.8, 0.7, 0.5, 0.5, 0.5, 0.6, 0.8, 0.8, 0.8, 0.3, 0.7)
"""The fixed thresholds in the published EMMA code (github.com/JackYFL/EMMA_CoTEX_ABAW4), which took them from the
author of EmotiEffNet. They belong to those networks; measure whether they suit another one."""

GRID: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The nine thresholds that the published EmotiEffNet notebook tries (github.com/sb-ai-lab/EmotiEffLib, ABAW5)."""

SEARCHES: Final = ("exact", "grid")
"""The words that ask for a search on labels: ``best_f1`` and ``grid_f1``."""


def resolve_thresholds(thresholds: Thresholds) -> tuple[float, ...]:
    """Return twelve thresholds on the sigmoid from any of the accepted forms.

    Raises:
        UserError: an unknown name, a file without them, a wrong count, or a value outside [0, 1].
    """
    if isinstance(thresholds, str):
        if thresholds == "published":
            return PUBLISHED
        if thresholds in SEARCHES:
            raise UserError(f"AU thresholds: {thresholds!r} is a search and needs labels; give numbers or a file")
        if not Path(thresholds).is_file():
            raise UserError(
                f"AU thresholds: unknown name {thresholds!r}, and no such file; give a number, 12 numbers, "
                f"'published', or the {STORED} of a run that searched"
            )
        by_name = read_stored(thresholds, "au_thresholds")
        return tuple(float(by_name[name]) for name in AU_NAMES)
    values = (
        [float(thresholds)] * len(ACTION_UNITS)
        if isinstance(thresholds, int | float)
        else [float(value) for value in thresholds]
    )
    if len(values) != len(ACTION_UNITS):
        raise UserError(f"AU thresholds: {len(values)} values; give one or 12, for {', '.join(AU_NAMES)}")
    if not all(0.0 <= value <= 1.0 for value in values):  # also catches NaN
        raise UserError(f"AU thresholds: {values} are not all in [0, 1]; they apply to probabilities, not to logits")
    return tuple(values)


def search_thresholds(
    search: str, probabilities: NDArray[np.floating], labels: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Search thresholds, and return them and their F1: ``exact`` is ``best_f1``, ``grid`` is ``grid_f1``."""
    return (best_f1 if search == "exact" else grid_f1)(probabilities, labels)


def best_f1(
    probabilities: NDArray[np.floating], labels: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the threshold of each unit with the highest F1 that any threshold reaches on these rows.

    Every distinct probability is tried, so this is the exact maximum. Of the thresholds that reach it, the highest is
    returned, which is the lowest probability that is then called positive. A threshold that is chosen and scored on
    the same rows flatters: use it as a ceiling, or choose it on other videos than those that are scored.

    Args:
        probabilities: (N, units) in [0, 1]; NaN = no prediction, left out.
        labels: (N, units), 0 or 1, NaN = missing.

    Returns:
        thresholds and F1, (units,) float64; 0.5 and 0 for a unit without a positive label.
    """
    units = probabilities.shape[1]
    thresholds, scores = np.full(units, 0.5), np.zeros(units)
    for unit in range(units):
        values, positive = _valid(probabilities[:, unit], labels[:, unit])
        positives = int(positive.sum())
        if not positives:
            continue
        # The bits of floats >= 0 are in the order of the floats: with the label as the lowest bit, one sort of integers
        # does for both.
        bits = np.uint32 if values.dtype == np.float32 else np.uint64
        keys = np.maximum(values, 0).astype(np.float32 if bits is np.uint32 else np.float64).view(bits)
        keys = np.sort((keys << bits(1)) | positive)[::-1]
        ranked = keys >> bits(1)
        # With the n highest called positive, F1 = 2 tp / (n + positives); n may only end where the value changes.
        ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))
        f1 = 2 * np.cumsum(keys & bits(1), dtype=np.int64)[ends] / (ends + 1 + positives)
        best = int(f1.argmax())
        chosen = ranked[ends[best] : ends[best] + 1]
        thresholds[unit], scores[unit] = chosen.view(f"f{chosen.itemsize}")[0], f1[best]
    return thresholds, scores


def grid_f1(
    probabilities: NDArray[np.floating], labels: NDArray[np.floating], grid: Sequence[float] = GRID
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find the threshold of each unit with the highest F1 of a few; of equal ones the first, as published.

    Args:
        probabilities: (N, units) in [0, 1]; NaN = no prediction, left out.
        labels: (N, units), 0 or 1, NaN = missing.
        grid: the thresholds, ascending.

    Returns:
        thresholds and F1, (units,) float64; 0.5 and 0 for a unit without a positive label.
    """
    units = probabilities.shape[1]
    thresholds, scores = np.full(units, 0.5), np.zeros(units)
    steps = np.asarray(grid, dtype=np.float32)  # the metrics compare in float32
    for unit in range(units):
        values, positive = _valid(probabilities[:, unit], labels[:, unit])
        if not positive.any():
            continue
        passed = np.searchsorted(steps, values.astype(np.float32), side="right")  # how many thresholds it reaches
        said, hit = (
            np.bincount(ranks, minlength=len(steps) + 1)[::-1].cumsum()[::-1][1:]
            for ranks in (passed, passed[positive])
        )
        f1 = 2 * hit / (said + positive.sum())
        best = int(f1.argmax())
        thresholds[unit], scores[unit] = grid[best], f1[best]
    return thresholds, scores


def _valid(
    probabilities: NDArray[np.floating], labels: NDArray[np.floating]
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return the values of one unit that have a prediction and a label, and whether that label is positive."""
    valid = ~(np.isnan(labels) | np.isnan(probabilities))
    return probabilities[valid], labels[valid] == 1
