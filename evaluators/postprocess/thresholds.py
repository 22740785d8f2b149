"""Decision thresholds of the action units: fixed, published, searched on labels, or stored by a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.labels import ACTION_UNITS, AU_NAMES
from evaluators.postprocess.settings import STORED, read_stored

Array: TypeAlias = NDArray[np.float64]
FloatValues: TypeAlias = NDArray[np.floating]

Thresholds: TypeAlias = float | Sequence[float] | str
"""One number, twelve numbers in the order of ``ACTION_UNITS``, ``"published"``, or a file that a search has stored."""

PUBLISHED: Final = (0.8, 0.8, 0.7, 0.5, 0.5, 0.5, 0.6, 0.8, 0.8, 0.8, 0.3, 0.7)
"""The fixed thresholds in the published EMMA code (github.com/JackYFL/EMMA_CoTEX_ABAW4), which took them from the
author of EmotiEffNet. They belong to those networks; measure whether they suit another one."""

GRID: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""The nine thresholds that the published EmotiEffNet notebook tries (github.com/sb-ai-lab/EmotiEffLib, ABAW5)."""

SEARCHES: Final = ("exact", "grid")
"""The words that ask for a search on labels, as ``search_thresholds`` explains them."""


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
    given = [thresholds] * len(ACTION_UNITS) if isinstance(thresholds, int | float) else thresholds
    values = [float(value) for value in given]
    if len(values) != len(ACTION_UNITS):
        raise UserError(f"AU thresholds: {len(values)} values; give one or 12, for {', '.join(AU_NAMES)}")
    if not all(0.0 <= value <= 1.0 for value in values):  # also catches NaN
        raise UserError(f"AU thresholds: {values} are not all in [0, 1]; they apply to probabilities, not to logits")
    return tuple(values)


def search_thresholds(search: str, probabilities: FloatValues, labels: FloatValues) -> tuple[Array, Array]:
    """Find the threshold of each unit with the highest F1 on these rows.

    A threshold that is chosen and scored on the same rows flatters: use it as a ceiling, or choose it on other videos
    than those that are scored.

    Args:
        search: ``exact``: every distinct probability is tried, so this is the exact maximum. Of the thresholds that
            reach it, the highest is returned, which is the lowest probability that is then called positive. ``grid``:
            those of ``GRID`` are tried; of equal ones the first is returned, as published.
        probabilities: (N, units) in [0, 1]; NaN = no prediction, left out.
        labels: (N, units), 0 or 1, NaN = missing.

    Returns:
        thresholds and F1, (units,) float64; 0.5 and 0 for a unit without a positive label.
    """
    best = _best if search == "exact" else _best_of_grid
    units = probabilities.shape[1]
    thresholds, scores = np.full(units, 0.5), np.zeros(units)
    columns = np.ascontiguousarray(probabilities.T)  # a unit's values then follow one another
    valid, true = np.ascontiguousarray(~np.isnan(labels.T)), np.ascontiguousarray(labels.T == 1)
    for unit in range(units):
        known = valid[unit] & ~np.isnan(columns[unit])
        values, positive = columns[unit][known], true[unit][known]
        if positive.any():
            thresholds[unit], scores[unit] = best(values, positive)
    return thresholds, scores


def _best(values: FloatValues, positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the best threshold of all and its F1, of one unit: (N,) probabilities, and which labels are positive."""
    # The bits of floats >= 0 are in the order of the floats: with the label as the lowest bit, one sort of integers
    # does for both.
    bits = np.uint32 if values.dtype == np.float32 else np.uint64
    floats = np.float32 if bits is np.uint32 else np.float64
    keys: NDArray[Any] = np.maximum(values, 0).astype(floats).view(bits)
    keys = np.sort((keys << bits(1)) | ~positive)[::-1]
    # With the n highest called positive, F1 = 2 tp / (n + positives). It falls with every negative one, and n may only
    # end where the value changes: so it is highest where the last of equal values, sorted last, is positive.
    ends = np.flatnonzero((keys & bits(1)) == 0)
    ranked = keys[ends] >> bits(1)
    last = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))
    f1 = 2 * (last + 1) / (ends[last] + 1 + len(ends))
    best = int(f1.argmax())
    chosen = ranked[last[best] : last[best] + 1]
    return chosen.view(f"f{chosen.itemsize}")[0], f1[best]


def f1_at(steps: Sequence[float] | FloatValues, values: FloatValues, positive: NDArray[np.bool_]) -> Array:
    """Compute the F1 of one unit at some thresholds, from which on a probability counts as positive.

    Args:
        steps: (S,) thresholds, increasing.
        values: (N,) probabilities.
        positive: (N,) which labels are positive.

    Returns:
        (S,) float64; 0 where neither a label nor a prediction is positive.
    """
    limits = np.asarray(steps, dtype=np.float32)  # the metrics compare in float32
    passed = np.searchsorted(limits, values.astype(np.float32), side="right")  # how many thresholds it reaches
    said, hit = (
        np.bincount(ranks, minlength=len(limits) + 1)[::-1].cumsum()[::-1][1:] for ranks in (passed, passed[positive])
    )
    total = said + positive.sum()
    f1: Array = np.divide(2 * hit, total, out=np.zeros(len(limits)), where=total > 0)
    return f1


def _best_of_grid(values: FloatValues, positive: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the best threshold of ``GRID`` and its F1, of one unit as ``_best`` takes it."""
    f1 = f1_at(GRID, values, positive)
    best = int(f1.argmax())
    return GRID[best], f1[best]
