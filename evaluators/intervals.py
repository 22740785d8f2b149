"""Intervals and tests of scores and of their differences, by resampling videos.

A frame is no independent observation: neighbours look alike, and a network that fails on a person fails on all of that
person's frames. So whole videos are drawn, and a score is that of all drawn frames together, as on the real list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from evaluators.sums import Array, Sums

RESAMPLES: Final = 10_000
LEVEL: Final = 0.95
MANY: Final = 1000
"""From so many units on, the quantiles of a studentised bootstrap are those of Student's t, which take no time."""

_NOTHING: Final = 1e-9  # an error below it is rounding noise: a resample of one unit alone
_RANGES: Final = {"P_MTL": (-1.0, 3.0), "P_VA": (-1.0, 1.0), "CCC_": (-1.0, 1.0), "F1_": (0.0, 1.0), "ACC_": (0.0, 1.0),
                  "MACRO_": (0.0, 1.0), "P_": (0.0, 1.0)}  # fmt: skip
_CHUNK: Final = 2**21  # numbers of one array in memory at a time

Contrast: TypeAlias = Sequence[tuple[float, Sums]]
"""A sum of scores of tables on the same units, each with its factor: ``[(1, a)]`` is a score, ``[(1, a), (-1, b)]`` a
difference, ``[(1/3, a), (1/3, b), (1/3, c)]`` the mean of three runs."""


class Interval(NamedTuple):
    """A value and the ends of its interval; both NaN where there is none, with fewer than two units."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f}" + ("" if np.isnan(self.low) else f" [{self.low:+.3f}, {self.high:+.3f}]")


class Estimate(NamedTuple):
    """Scores, or differences of scores, by name, with their intervals and p (NaN: there is none).

    Attributes:
        intervals: by the names of the scores.
        p: two-sided, of the hypothesis that the value is 0.
        units: how many videos they are of.
        runs: how many trainings the value is a mean of; a difference has that of each side.
    """

    intervals: dict[str, Interval]
    p: dict[str, float]
    units: int
    runs: tuple[int, ...]


@dataclass(frozen=True)
class Resampled:
    """S scores, or differences of scores, over the units as they are and over R resamples of them.

    Attributes:
        value: (S,) as they are.
        error: (S,) its standard error, by the infinitesimal jackknife.
        drawn: (R, S) over the resamples.
        errors: (R, S) the standard error within each.
        influence: (S, U) what each unit adds.
    """

    value: Array
    error: Array
    drawn: Array
    errors: Array
    influence: Array

    def ratios(self) -> Array:
        """Return (R, S) how many standard errors a resample is off; NaN where it has none."""
        return np.divide(self.drawn - self.value, self.errors, out=np.full_like(self.drawn, np.nan),
                         where=self.errors > _NOTHING)  # fmt: skip


def estimate(ours: Sequence[Sums], others: Sequence[Sums] = (), *, draws: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Estimate the scores of a system, or how far it is ahead of another one on the same videos.

    Of one run of each, the interval is that of a studentised bootstrap (Efron & Tibshirani 1993, chapter 12.5), which
    holds the truth more often than others on simulated predictions (``benchmarks.studies.coverage``); p inverts it. It
    says nothing of other trainings. Of ``MANY`` units it is that of Student's t; likewise where a resample often has no
    error of its own, because few units tell the score, as of a class that two videos have. Of several runs, the value
    is the mean score of a run; its variance is that over videos and that of the runs' scores (``_of_runs``), added,
    with Satterthwaite's degrees of freedom.

    Args:
        ours: sums of each run of the system.
        others: sums of each run of the system that is compared with; empty: nothing is.
        draws: number of resamples.
        seed: of the draws.
    """
    contrast = [(1 / len(ours), one) for one in ours] + [(-1 / len(others), one) for one in others]
    names, units = ours[0].names, len(ours[0])
    sides = [np.concatenate([one.scores() for one in side]) for side in (ours, others) if side]
    runs = tuple(len(side) for side in sides)
    if units < 2:
        value = sides[0].mean(axis=0) - (sides[1].mean(axis=0) if others else 0)
        low = high = p = np.full(len(names), np.nan)
    elif max(runs) == 1 and units < MANY:
        sample = resample(contrast, draws=draws, seed=seed)
        value, (low, high), p = sample.value, _studentised(sample), _inverted(sample)
        rare = np.isnan(sample.ratios()).mean(axis=0) > (1 - LEVEL) / 2
        if rare.any():
            students = _satterthwaite(value, [(sample.error**2, sample.error**2, units - 1)])
            low, high, p = (np.where(rare, own, one) for own, one in zip(students, (low, high, p), strict=True))
    else:
        value, added = _summed(contrast, np.ones((1, units)))
        value, of_videos = value[0], _error(added, np.ones((1, units)))[0] ** 2
        parts = [(of_videos, of_videos, units - 1)]
        parts += [(*_of_runs(side), len(side) - 1) for side in (ours, others) if len(side) > 1]
        low, high, p = _satterthwaite(value, parts)
    least, most = np.array([_range(name) for name in names]).T  # few videos allow for much, but for no F1 above 1
    if others:
        least, most = least - most, most - least
    low, high = (np.clip(end, least, most) for end in (low, high))
    ends = zip(names, value.tolist(), low.tolist(), high.tolist(), strict=True)
    return Estimate({name: Interval(*three) for name, *three in ends}, dict(zip(names, p.tolist(), strict=True)),
                    units, runs)  # fmt: skip


def _range(name: str) -> tuple[float, float]:
    """Return the least and the greatest value that a score can have; the first name in ``_RANGES`` that fits counts."""
    return next((ends for begin, ends in _RANGES.items() if name.startswith(begin)), (-np.inf, np.inf))


def apart(ours: Sums, others: Sums, *, draws: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Estimate how far one group's scores are above another's, whose videos are drawn by themselves.

    p is that of a permutation test: the videos are dealt out to the groups anew, and gaps are compared in standard
    errors (Chung & Romano 2013, "Exact and asymptotically robust permutation tests"). An inverted bootstrap finds a gap
    where none is in .09 of the simulated audits of four attributes (``tests/evaluators/test_audit.py``).

    Args:
        ours: sums of the videos of one group.
        others: of another group; the same scores, of the same parts.
        draws: number of resamples; half as many are the permutations.
        seed: of the draws.
    """
    one, other = (resample([(1.0, group)], draws=draws, seed=seed + at) for at, group in enumerate((ours, others)))
    both = Resampled(
        one.value - other.value, np.hypot(one.error, other.error), one.drawn - other.drawn,
        np.hypot(one.errors, other.errors), np.concatenate([one.influence, -other.influence], axis=1),
    )  # fmt: skip
    low, high = _studentised(both)
    ends = zip(ours.names, both.value.tolist(), low.tolist(), high.tolist(), strict=True)
    p = dict(zip(ours.names, _exchanged(ours, others, both, draws // 2, seed).tolist(), strict=True))
    return Estimate({name: Interval(*three) for name, *three in ends}, p, len(ours) + len(others), (1, 1))


def _exchanged(ours: Sums, others: Sums, both: Resampled, draws: int, seed: int) -> Array:
    """Return p (S,) of gaps: how often one as large, in standard errors, comes from dealing out the videos anew."""
    size, units = len(ours), len(ours) + len(others)
    pooled = Sums(
        ours.names, ours.units + others.units, np.concatenate([ours.moments, others.moments]),
        np.concatenate([ours.top, others.top]), np.concatenate([ours.bottom, others.bottom]), ours.mix,
    )  # fmt: skip
    observed = np.divide(both.value, both.error, out=np.zeros_like(both.value), where=both.error > _NOTHING)
    rng, as_large = np.random.default_rng(seed), np.ones(len(observed))
    step = max(1, _CHUNK // (max(len(observed), pooled.mix.shape[0]) * units))
    for begin in range(0, draws, step):
        dealt = rng.random((min(step, draws - begin), units)).argsort(axis=1) < size
        parts = [(*pooled.influences(side), side) for side in (dealt.astype(np.float64), (~dealt).astype(np.float64))]
        error = np.hypot(*(_error(added, side) for _, added, side in parts))
        gap = parts[0][0] - parts[1][0]
        ratio = np.divide(gap, error, out=np.zeros_like(gap), where=error > _NOTHING)
        as_large += (np.abs(ratio) >= np.abs(observed) - _NOTHING).sum(axis=0)
    p: Array = as_large / (draws + 1)
    return p


def nested(ours: Sequence[Sums], others: Sequence[Sums], score: str, *, seed: int = 0) -> Interval:
    """Estimate a score, or its lead over another system, over trainings that each have videos of their own.

    So it is where each seed draws its own people. Seeds are drawn with replacement, and within each of them its units,
    the same for both systems: a percentile bootstrap in two stages. With few seeds it is too narrow, for it has seen
    few trainings.

    Args:
        ours: sums of each run of the system.
        others: sums of the same seeds of the system that is compared with; empty: nothing is.
        score: name of the score.
        seed: of the draws.
    """
    pairs = [[one.only([score]) for one in pair] for pair in (zip(ours, others, strict=True) if others else zip(ours))]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(pairs), size=(RESAMPLES, len(pairs)))

    def gained(pair: Sequence[Sums], weights: Array | None) -> Array:
        own = pair[0].scores(weights)[:, 0]
        return own if len(pair) == 1 else own - pair[1].scores(weights)[:, 0]

    values = np.zeros((RESAMPLES, len(pairs)))
    for slot in range(len(pairs)):
        for run, pair in enumerate(pairs):
            chosen, units = drawn[:, slot] == run, len(pair[0])
            weights = rng.multinomial(units, np.full(units, 1 / units), size=int(chosen.sum())).astype(np.float64)
            values[chosen, slot] = gained(pair, weights)
    low, high = np.quantile(values.mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(np.mean([gained(pair, None)[0] for pair in pairs])), float(low), float(high))


def resample(contrast: Contrast, *, draws: int = RESAMPLES, seed: int = 0) -> Resampled:
    """Resample the units of a contrast.

    Args:
        contrast: of tables with the same units and scores.
        draws: number of resamples, R.
        seed: of the draws.
    """
    first = contrast[0][1]
    units, scores = len(first), len(first.names)
    rng, once = np.random.default_rng(seed), np.ones((1, units))
    value, influence = _summed(contrast, once)
    drawn, errors = np.empty((draws, scores)), np.empty((draws, scores))
    step = max(1, _CHUNK // (max(scores, first.mix.shape[0]) * units))
    for begin in range(0, draws, step):
        rows = slice(begin, min(begin + step, draws))
        weights = rng.multinomial(units, np.full(units, 1 / units), size=rows.stop - begin).astype(np.float64)
        drawn[rows], added = _summed(contrast, weights)
        errors[rows] = _error(added, weights)
    return Resampled(value[0], _error(influence, once)[0], drawn, errors, influence[0])


def _summed(contrast: Contrast, weights: Array) -> tuple[Array, Array]:
    """Return values (R, S) and influences (R, S, U) of a contrast."""
    parts = [(factor, *one.influences(weights)) for factor, one in contrast]
    value = sum((factor * scores for factor, scores, _ in parts), np.zeros(1))
    return value, sum((factor * added for factor, _, added in parts), np.zeros(1))


def _error(influence: Array, weights: Array) -> Array:
    """Return the standard errors (R, S) that influences (R, S, U) of weighted samples (R, U) give."""
    units = weights.sum(axis=1, keepdims=True)
    square = np.einsum("rsu,rsu,ru->rs", influence, influence, weights)
    error: Array = np.sqrt(square * units / (units - 1))
    return error


def _studentised(sample: Resampled) -> tuple[Array, Array]:
    ratios = sample.ratios()
    ratios[:, np.isnan(ratios).all(axis=0)] = 0.0  # no resample differs: neither does the interval
    least, most = np.nanquantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return sample.value - most * sample.error, sample.value - least * sample.error


def _inverted(sample: Resampled) -> Array:
    """Return 2 min(over both sides), each with one added: p is never 0, and at most 1."""
    ratio = np.divide(sample.value, sample.error, out=np.zeros_like(sample.value), where=sample.error > 0)
    ratios = np.nan_to_num(sample.ratios())
    above, below = ((ratios >= ratio).sum(axis=0) + 1, (ratios <= ratio).sum(axis=0) + 1)
    p: Array = np.minimum(2 * np.minimum(above, below) / (len(ratios) + 1), 1.0)
    return p


def _of_runs(runs: Sequence[Sums]) -> tuple[Array, Array]:
    """Return the variance (S,) of a mean over n runs that stems from the runs themselves, and s²/n.

    The first is s²/n without what differs between runs on single videos, which the variance over videos has counted.
    """
    once, units = np.ones((1, len(runs[0]))), len(runs[0])
    scores, added = zip(*(one.influences(once) for one in runs), strict=True)
    between = np.concatenate(scores).var(axis=0, ddof=1)
    within = np.concatenate(added).var(axis=0, ddof=1).sum(axis=1) * units / (units - 1)
    own = np.maximum(between - within, 0.0)
    return own / len(runs), np.where(own > 0, between, 0.0) / len(runs)


def _satterthwaite(value: Array, parts: Sequence[tuple[Array, Array, int]]) -> tuple[Array, Array, Array]:
    """Return low, high and p of a value whose variance is a sum of estimates.

    Args:
        value: (S,) of each score.
        parts: variances (S,), what was squared and summed for each, and its degrees of freedom.
    """
    total = sum((variance for variance, _, _ in parts), np.zeros(1))
    shares = sum((squares**2 / freedom for _, squares, freedom in parts), np.zeros(1))
    freedom = np.divide(total**2, shares, out=np.full_like(total, 1e9), where=shares > 0)
    freedom = np.maximum(freedom, min(least for *_, least in parts))  # no sum has fewer than the poorest of its parts
    half = stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(total)
    ratio = np.divide(value, np.sqrt(total), out=np.zeros_like(value), where=total > 0)
    return value - half, value + half, 2 * stdtr(freedom, -np.abs(ratio))
