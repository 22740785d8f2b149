"""What every score of a table is a function of: sums over rows, kept for each video (or other unit of resampling).

A resample of videos is then one product of matrices, and so is what each video contributes to a score's error. Every
score here is a CCC, a ratio of two sums (F1, accuracy, recall), or a mean or sum of such parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.computed import Names
from affect.frames import Frames
from affect.labels import ACTION_UNITS
from evaluators.names import expression_score
from evaluators.postprocess.thresholds import Thresholds, resolve_thresholds
from evaluators.postprocess.timeline import lists_pictures
from evaluators.table import Table

Array = NDArray[np.float64]

_MOMENTS: Final = 6  # n, Σx, Σy, Σx², Σy², Σxy
_CONSTANT: Final = 1e-15  # a spread below it is rounding noise


@dataclass(frozen=True)
class Sums:
    """Sums of U units, and the scores that they give.

    Attributes:
        names: of the S scores, as ``AffectScores`` has them; those without a valid label are left out.
        units: U names.
        moments: (U, 6, M) n, Σx, Σy, Σx², Σy², Σxy of predictions x and labels y; M is 2 (valence, arousal), or 0.
        top: (U, K) numerators of the ratios.
        bottom: (U, K) denominators.
        mix: (M + K, S) how much each part counts in each score: CCCs first, then ratios.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    moments: Array
    top: Array
    bottom: Array
    mix: Array

    def __len__(self) -> int:
        return len(self.units)

    def select(self, units: NDArray[np.bool_] | NDArray[np.int64]) -> Sums:
        """Return the sums of some units."""
        chosen = np.asarray(self.units, dtype=object)[units]
        return Sums(self.names, tuple(chosen), self.moments[units], self.top[units], self.bottom[units], self.mix)

    def only(self, names: Sequence[str]) -> Sums:
        """Return the same sums for some of the scores."""
        columns = [self.names.index(name) for name in names]
        return Sums(tuple(names), self.units, self.moments, self.top, self.bottom, self.mix[:, columns])

    def named(self) -> dict[str, float]:
        """Return the scores over all units by their names."""
        return dict(zip(self.names, self.scores()[0].tolist(), strict=True))

    def support(self) -> dict[str, int]:
        """Return how many units each score is of; a sum of scores, as many as the one of them that is of the fewest."""
        there = np.concatenate([self.moments[:, 0] > 0, self.bottom > 0], axis=1)
        found = {
            name: int(there[:, share > 0].any(axis=1).sum()) for name, share in zip(self.names, self.mix.T, strict=True)
        }
        if "P_MTL" in found:
            found["P_MTL"] = min(found.get(name, found["P_MTL"]) for name in ("P_VA", "P_EXPR", "P_AU"))
        return found

    def scores(self, weights: Array | None = None) -> Array:
        """Return the scores of R weighted samples, (R, S).

        Args:
            weights: (R, U) how often each unit counts; None: each once, R = 1.
        """
        values, _ = self._parts(np.ones((1, len(self))) if weights is None else weights)
        result: Array = values @ self.mix
        return result

    def influences(self, weights: Array | None = None) -> tuple[Array, Array]:
        """Return the scores of R weighted samples, (R, S), and what each unit adds to each, (R, S, U).

        The second is the derivative of a score with respect to the unit's weight (the infinitesimal jackknife, Efron
        1982); weighted by the sample it sums to 0, for doubling all sums changes no score.

        Args:
            weights: as in ``scores``.
        """
        values, slopes = self._parts(np.ones((1, len(self))) if weights is None else weights)
        scores, added = values @ self.mix, np.zeros((len(values), self.mix.shape[1], len(self)))
        pairs = self.moments.shape[2]
        for pair in range(pairs):
            one = slopes[0][:, :, pair] @ self.moments[:, :, pair].T  # (R, U)
            added += self.mix[pair][None, :, None] * one[:, None, :]
        if self.top.shape[1]:
            share = self.mix[pairs:].T[None] * slopes[1][:, None, :]  # (R, S, K)
            added += share @ self.top.T - (share * values[:, None, pairs:]) @ self.bottom.T
        return scores, added

    def _parts(self, weights: Array) -> tuple[Array, tuple[Array, Array]]:
        """Return the parts (R, M + K), the slopes of the CCCs (R, 6, M), and one over the ratios' denominators."""
        n, x, y, xx, yy, xy = np.moveaxis(np.einsum("ru,ufm->rfm", weights, self.moments), 1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean_x, mean_y = x / n, y / n
            gap = mean_x - mean_y
            spread = xx / n - mean_x**2 + yy / n - mean_y**2 + gap**2
            known = (n > 0) & (spread > _CONSTANT)
            ccc = np.where(known, 2 * (xy / n - mean_x * mean_y) / spread, 0.0)
            # of 2 (n Σxy - Σx Σy) / (n Σx² + n Σy² - 2 Σx Σy), the same multiplied by n²
            low = spread * n**2
            slopes = np.stack([
                (2 * xy - ccc * (xx + yy)) / low, 2 * y * (ccc - 1) / low, 2 * x * (ccc - 1) / low,
                -ccc * n / low, -ccc * n / low, 2 * n / low,
            ], axis=1)  # fmt: skip
            slopes = np.where(known[:, None], slopes, 0.0)
            under = weights @ self.bottom
            inverse = np.where(under > 0, 1 / under, 0.0)
        return np.concatenate([ccc, (weights @ self.top) * inverse], axis=1), (slopes, inverse)


def sums(
    table: Table,
    labels: Frames,
    *,
    by: Sequence[str] | None = None,
    au_thresholds: Thresholds = 0.5,
) -> Sums:
    """Sum a table and its labels for each unit.

    Args:
        table: predictions of the rows of ``labels``; those that are null are not counted.
        labels: the truth; tasks without one valid label are left out.
        by: unit of each row; None: the rows' videos, or the rows themselves where they are single pictures.
        au_thresholds: from which probability on a unit is positive.
    """
    if by is None:
        by = table.image if lists_pictures(table) else table.video
    listed = Names.of(by)
    used, unit = np.unique(listed.numbers[0], return_inverse=True)
    order = sorted(range(len(used)), key=lambda code: listed.names[used[code]])
    names, unit = [listed.names[used[code]] for code in order], np.argsort(order)[unit]
    seen = ~table.null

    def summed(values: NDArray[np.generic]) -> Array:
        columns = values.reshape(len(values), -1).T
        if values.dtype == bool:
            of_columns = [np.bincount(unit[column], minlength=len(names)) for column in columns]
        else:
            of_columns = [np.bincount(unit, column.astype(np.float64), len(names)) for column in columns]
        total: Array = np.stack(of_columns, axis=1).astype(np.float64)
        return total.reshape(len(names), *values.shape[1:])

    moments, parts = np.zeros((len(names), _MOMENTS, 0)), _Parts(len(names))
    if "valence_arousal" in table.predictions and not np.isnan(labels.valence_arousal).all():
        valid = (seen & ~np.isnan(labels.valence_arousal).any(axis=1))[:, None]
        x, y = (np.where(valid, one, 0.0).astype(np.float64) for one in (
            table.predictions["valence_arousal"], labels.valence_arousal))  # fmt: skip
        moments = summed(np.stack([np.broadcast_to(valid, x.shape), x, y, x * x, y * y, x * y], axis=1))
        parts.scores |= {"P_VA": {0: 0.5, 1: 0.5}, "CCC_V": {0: 1.0}, "CCC_A": {1: 1.0}}
        parts.count = 2
    if "expression" in table.predictions and (labels.expression >= 0).any():
        valid, classes = (seen & (labels.expression >= 0))[:, None], np.arange(len(table.expressions))
        said = (table.predictions["expression"].argmax(axis=1)[:, None] == classes) & valid
        parts.add_expression(summed(said & (labels.expression[:, None] == classes)), summed(said),
                             summed((labels.expression[:, None] == classes) & valid), table.expressions)  # fmt: skip
    if "action_units" in table.predictions and not np.isnan(labels.action_units).all():
        known = ~np.isnan(labels.action_units) & seen[:, None]
        limits = np.array(resolve_thresholds(au_thresholds), dtype=np.float32)
        said, true = (table.predictions["action_units"] >= limits) & known, (labels.action_units == 1) & known
        parts.add_units(summed(said & true), summed(said), summed(true), summed(known))
    scores = parts.with_total()
    mix = np.zeros((parts.count, len(scores)))
    for column, shares in enumerate(scores.values()):
        for part, share in shares.items():
            mix[part, column] = share
    return Sums(tuple(scores), tuple(names), moments, parts.stacked(parts.top), parts.stacked(parts.bottom), mix)


def means(values: Mapping[str, NDArray[np.generic]], units: Sequence[str]) -> Sums:
    """Return what is not a score of a table, but a mean over units, as sums: it gets its intervals in the same way.

    Args:
        values: by name, (U,) of the units.
        units: U names.
    """
    columns = np.stack([np.asarray(one, np.float64) for one in values.values()], axis=1)
    nothing = np.zeros((len(units), _MOMENTS, 0))
    return Sums(tuple(values), tuple(units), nothing, columns, np.ones_like(columns), np.eye(len(values)))


class _Parts:
    """Collects the ratios, and which score is made of which parts."""

    def __init__(self, units: int) -> None:
        self.units, self.count = units, 0
        self.top: list[Array] = []
        self.bottom: list[Array] = []
        self.scores: dict[str, dict[int, float]] = {}

    def add(self, top: Array, bottom: Array) -> list[int]:
        """Add ratios, (U, k) each; return their numbers."""
        self.top.append(top)
        self.bottom.append(bottom)
        self.count += top.shape[1]
        return list(range(self.count - top.shape[1], self.count))

    def add_expression(self, hits: Array, said: Array, true: Array, names: Sequence[str]) -> None:
        """Add F1, accuracy and recall of the expressions from counts (U, classes)."""
        f1 = self.add(2 * hits, said + true)
        self.scores[expression_score(names)] = dict.fromkeys(f1, 1 / len(f1))
        self.scores |= {f"F1_EXPR_{name}": {part: 1.0} for name, part in zip(names, f1, strict=True)}
        (accuracy,) = self.add(hits.sum(axis=1, keepdims=True), true.sum(axis=1, keepdims=True))
        recall = self.add(hits, true)
        self.scores |= {"ACC_EXPR": {accuracy: 1.0}, "MACRO_ACC_EXPR": dict.fromkeys(recall, 1 / len(recall))}

    def add_units(self, hits: Array, said: Array, true: Array, known: Array) -> None:
        """Add F1 and accuracy of the action units from counts (U, 12)."""
        f1 = self.add(2 * hits, said + true)
        self.scores["P_AU"] = dict.fromkeys(f1, 1 / len(f1))
        valid = known.sum(axis=0) > 0
        self.scores |= {
            f"F1_AU{unit}": {part: 1.0} for unit, part, there in zip(ACTION_UNITS, f1, valid, strict=True) if there
        }
        right = known - said - true + 2 * hits
        (accuracy,) = self.add(right.sum(axis=1, keepdims=True), known.sum(axis=1, keepdims=True))
        self.scores["ACC_AU"] = {accuracy: 1.0}

    def with_total(self) -> Mapping[str, Mapping[int, float]]:
        """Return the scores, with P_MTL before them where all three tasks have theirs."""
        main = [self.scores[name] for name in ("P_VA", "P_EXPR", "P_AU") if name in self.scores]
        if len(main) < 3:
            return self.scores
        return {"P_MTL": {part: share for one in main for part, share in one.items()}, **self.scores}

    def stacked(self, columns: Sequence[Array]) -> Array:
        """Put the columns of the ratios beside one another."""
        return np.concatenate(columns, axis=1) if columns else np.zeros((self.units, 0))
