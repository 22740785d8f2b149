"""Scores of resampled people: the intervals of a comparison whose people are nested in its seeds.

Every score here is a function of sums over rows, so the sums of each person are kept, and a resample of people is one
product of matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from affect.frames import Frames
from affect.labels import TASKS
from affect.preprocessing import IMAGENET
from evaluators.metrics import expression_score
from evaluators.table import Table
from runs.assembly import build_data
from runs.config import resolve

Array = NDArray[np.float64]

RESAMPLES: Final = 10_000


class Interval(NamedTuple):
    """A mean over seeds, and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Sums:
    """What the scores of a table need, summed for each unit (a person, or a photograph).

    Attributes:
        of: (U, F) sums by the names of the tasks; F is 12 for valence and arousal (n, Σx, Σy, Σx², Σy², Σxy of both),
            24 (18 for six classes) for expressions and 36 for action units: hits, said, true of each.
        expression: name of the score of the expressions.
    """

    of: Mapping[str, Array]
    expression: str = "P_EXPR"

    @property
    def units(self) -> int:
        """How many people or photographs there are."""
        return len(next(iter(self.of.values())))

    def scores(self, weights: Array | None = None) -> dict[str, Array]:
        """Return P_VA, P_EXPR (P_LSD) and P_AU where they exist, (R,) each, and P_MTL if all do.

        Args:
            weights: (R, U) how often each unit counts, one resample a row; None: once, R = 1.
        """
        counts = np.ones((1, self.units)) if weights is None else weights
        found = {}
        for task, sums in self.of.items():
            total = counts @ sums
            name = {"valence_arousal": "P_VA", "expression": self.expression, "action_units": "P_AU"}[task]
            found[name] = _ccc(total) if task == "valence_arousal" else _f1(total)
        if len(found) == len(TASKS):
            found["P_MTL"] = sum(found.values(), np.zeros(1))
        return found


def _ccc(total: Array) -> Array:
    n, x, y, xx, yy, xy = np.moveaxis(total.reshape(len(total), 6, 2), 1, 0)
    x, y = x / n, y / n
    spread = (xx / n - x**2) + (yy / n - y**2) + (x - y) ** 2
    ccc = np.divide(2 * (xy / n - x * y), spread, out=np.zeros_like(x), where=spread > 1e-15)
    mean: Array = ccc.mean(axis=1)
    return mean


def _f1(total: Array) -> Array:
    hits, said, true = np.moveaxis(total.reshape(len(total), 3, -1), 1, 0)
    f1 = np.divide(2 * hits, said + true, out=np.zeros_like(hits), where=said + true > 0)
    mean: Array = f1.mean(axis=1)
    return mean


def labels_of(folder: Path) -> Frames:
    """Return the rows of the validation split that a run was scored on."""
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    return build_data(resolve(config), IMAGENET).frames("val")


def sums(table: Table, labels: Frames, *, by: Sequence[str] | None = None) -> Sums:
    """Sum a table and its labels for each unit.

    Args:
        table: predictions of the rows of ``labels``.
        labels: the truth; tasks without one valid label are left out.
        by: unit of each row; None: the rows' videos.
    """
    names, unit = np.unique(np.asarray(table.video if by is None else by), return_inverse=True)

    def summed(columns: Sequence[NDArray[Any]], valid: NDArray[Any]) -> Array:
        counted = valid & ~table.null  # a row without a picture is not scored
        values = np.concatenate(columns, axis=1).astype(np.float64)
        total = np.zeros((len(names), values.shape[1]))
        np.add.at(total, unit[counted], values[counted])
        return total

    found = {}
    if "valence_arousal" in table.predictions and not np.isnan(labels.valence_arousal).all():
        x = table.predictions["valence_arousal"].astype(np.float64)
        y = labels.valence_arousal.astype(np.float64)
        columns = [np.ones_like(x), x, y, x * x, y * y, x * y]
        found["valence_arousal"] = summed(columns, ~np.isnan(y[:, 0]))
    if "expression" in table.predictions and (labels.expression >= 0).any():
        classes = np.arange(len(table.expressions))
        said = np.equal(table.predictions["expression"].argmax(axis=1)[:, None], classes)
        true = np.equal(labels.expression[:, None], classes)
        found["expression"] = summed([said & true, said, true], labels.expression >= 0)
    if "action_units" in table.predictions and not np.isnan(labels.action_units).all():
        known = ~np.isnan(labels.action_units)
        said = (table.predictions["action_units"] >= 0.5) & known
        true = (labels.action_units == 1) & known
        found["action_units"] = summed([said & true, said, true], np.asarray(known.any(axis=1)))
    return Sums(found, expression_score(table.expressions))


def difference(ours: Sequence[Sums], others: Sequence[Sums] | None, score: str, *, crossed: bool = False) -> Interval:
    """Compare two systems: the mean over seeds of the difference in a score, with a paired 95 % interval.

    Seeds are drawn with replacement, and within each of them its units: a percentile bootstrap in two stages. Both
    systems are scored on the same draw. With few seeds it is too narrow, for it has seen few trainings.

    Args:
        ours: sums of each seed.
        others: sums of the same seeds of the system to compare with; None: with nothing, for the score itself.
        score: name of the score.
        crossed: every seed has the same units, which are then drawn once for all seeds.
    """
    compared: Sequence[Sums | None] = [None] * len(ours) if others is None else others
    pairs = list(zip(ours, compared, strict=True))
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))

    def draw(units: int, times: int) -> Array:
        return rng.multinomial(units, np.full(units, 1 / units), size=times).astype(np.float64)

    def gained(pair: tuple[Sums, Sums | None], weights: Array | None) -> Array:
        own = pair[0].scores(weights)[score]
        return own if pair[1] is None else own - pair[1].scores(weights)[score]

    same = draw(pairs[0][0].units, RESAMPLES) if crossed else None
    differences = np.zeros((RESAMPLES, len(pairs)))
    for slot in range(len(pairs)):
        for seed, pair in enumerate(pairs):
            chosen = drawn[:, slot] == seed
            weights = draw(pair[0].units, int(chosen.sum())) if same is None else same[chosen]
            differences[chosen, slot] = gained(pair, weights)
    low, high = np.percentile(differences.mean(axis=1), [2.5, 97.5])
    mean = np.mean([gained(pair, None)[0] for pair in pairs])
    return Interval(float(mean), float(low), float(high))
