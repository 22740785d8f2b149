"""Decision thresholds of the action units: one for all, one per unit, or the published fixed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datamodules.labels import ACTION_UNITS, AU_NAMES

Thresholds: TypeAlias = float | Sequence[float] | str
"""One number, twelve numbers in the order of ``ACTION_UNITS``, or ``"published"``."""

PUBLISHED: Final = (0.8, 0.8, 0.7, 0.5, 0.5, 0.5, 0.6, 0.8, 0.8, 0.8, 0.3, 0.7)
"""The fixed thresholds in the published EMMA code (github.com/JackYFL/EMMA_CoTEX_ABAW4), which took them over from
the EmotiEffNet author. They belong to those networks; whether they suit another one is to be measured."""


def resolve_thresholds(thresholds: Thresholds) -> tuple[float, ...]:
    """Twelve thresholds on the sigmoid from any of the accepted forms.

    Raises:
        ValueError: an unknown name, a wrong count, or a value outside [0, 1].
    """
    if isinstance(thresholds, str):
        if thresholds != "published":
            raise ValueError(f"AU thresholds: unknown name {thresholds!r}; give a number, 12 numbers or 'published'")
        return PUBLISHED
    values = (
        [float(thresholds)] * len(ACTION_UNITS)
        if isinstance(thresholds, int | float)
        else [float(value) for value in thresholds]
    )
    if len(values) != len(ACTION_UNITS):
        raise ValueError(f"AU thresholds: {len(values)} values; give one or 12, for {', '.join(AU_NAMES)}")
    if not all(0.0 <= value <= 1.0 for value in values):  # also catches NaN
        raise ValueError(f"AU thresholds: {values} are not all in [0, 1]; they apply to probabilities, not to logits")
    return tuple(values)


def best_f1(
    probabilities: NDArray[np.floating], labels: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The highest F1 that any threshold reaches on these rows, per unit, and that threshold.

    Every distinct probability is tried, so this is the exact maximum. A threshold chosen and scored on the same rows
    flatters: use it as a ceiling, or choose on other videos than those that are scored.

    Args:
        probabilities: (N, 12) in [0, 1].
        labels: (N, 12), 0 or 1, NaN = missing.

    Returns:
        thresholds (12,) and F1 (12,), float64; 0.5 and 0 for a unit without a positive label.
    """
    units = probabilities.shape[1]
    thresholds, scores = np.full(units, 0.5), np.zeros(units)
    for unit in range(units):
        valid = ~np.isnan(labels[:, unit])
        order = np.argsort(-probabilities[valid, unit], kind="stable")
        ranked = probabilities[valid, unit][order].astype(np.float64)
        positive = labels[valid, unit][order] == 1
        if not positive.any():
            continue
        # With the k highest called positive, F1 = 2 tp / (k + positives); k may only end where the value changes.
        ends = np.flatnonzero(np.append(ranked[:-1] != ranked[1:], True))
        f1 = 2 * np.cumsum(positive)[ends] / (ends + 1 + positive.sum())
        best = int(f1.argmax())
        thresholds[unit], scores[unit] = ranked[ends[best]], f1[best]
    return thresholds, scores
