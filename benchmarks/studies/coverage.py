"""How often 95 % intervals hold the truth: four bootstraps over videos, and over frames, on simulated predictions.

    python -m benchmarks.studies.coverage FOLDER [--sets 1000] [--seed 0]

There are no pictures: ``simulate`` draws labels with the class frequencies of s-Aff-Wild2's validation split, in
episodes that last, of few classes a video; and predictions whose skill differs by video and by training. The truth is
the score over all ``VIDEOS`` of them, from which sets of 200, 60 and 30 are drawn with replacement.

Prints, for each score and number of videos, how often each way's interval holds the truth; then how often a comparison
of two systems that are equally good finds a difference at .05: of one run each, and of three runs each. The simulation
stood in the repository before the methods did. ``FOLDER/coverage.json`` keeps all figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

from affect.files import write_whole
from affect.frames import Frames
from affect.labels import EXPRESSIONS
from benchmarks.studies.running import study_parser
from evaluators.intervals import Resampled, estimate, resample
from evaluators.report import aligned
from evaluators.sums import Sums, sums
from evaluators.table import Table
from runs.ending import clear_errors

Floats = NDArray[np.float64]

VIDEOS: Final = 24_000
LENGTH: Final = 60
"""Median number of labelled frames of a video."""

EPISODE: Final = 20
"""Mean number of frames of an episode, which has one expression and one set of action units."""

EXPRESSION_COUNTS: Final = (1886, 487, 565, 1254, 3751, 1893, 1003, 4601)
"""Labels of s-Aff-Wild2's validation split (../shared/formats.md, from notebooks of participants)."""

UNIT_COUNTS: Final = (5531, 2554, 5442, 8818, 13224, 11421, 8319, 782, 757, 808, 20427, 2934)
UNIT_ROWS: Final = 26_876


@dataclass(frozen=True)
class World:
    """What is the same for every system: videos with their labels, and how hard each video is.

    Attributes:
        frames: the labels.
        video: (N,) number of each row's video.
        episode: (N,) number of each row's episode.
        hardness: (V,) standard normal: what makes a video hard for every system.
    """

    frames: Frames
    video: NDArray[np.int64]
    episode: NDArray[np.int64]
    hardness: Floats


def world(rng: np.random.Generator, videos: int = VIDEOS) -> World:
    """Draw labels: each video has few classes, and an episode keeps its class."""
    length = np.clip(rng.lognormal(np.log(LENGTH), 0.7, videos), 10, 400).astype(int)
    video = np.repeat(np.arange(videos), length)
    rows = len(video)
    begins = rng.random(rows) < 1 / EPISODE
    begins[np.cumsum(length) - length] = True
    episode = np.cumsum(begins) - 1
    of_episode = video[begins]
    share = np.array(EXPRESSION_COUNTS) / sum(EXPRESSION_COUNTS)
    mine = rng.gamma(1.5 * share, size=(videos, len(share))) + 1e-12  # a Dirichlet: few classes in a video
    edges = np.cumsum(mine / mine.sum(axis=1, keepdims=True), axis=1)
    expression = (rng.random(len(of_episode))[:, None] > edges[of_episode]).sum(axis=1).clip(max=len(share) - 1)
    prevalence = np.array(UNIT_COUNTS) / UNIT_ROWS
    often = rng.beta(1.5 * prevalence, 1.5 * (1 - prevalence), size=(videos, len(prevalence)))
    units = rng.random((len(of_episode), len(prevalence))) < often[of_episode]
    mean = rng.normal((0.2, 0.25), 0.3, (videos, 2))
    affect = mean[of_episode] + rng.normal(0, 0.2, (len(of_episode), 2))
    names = np.array([f"video{number:05d}" for number in range(videos)])
    frames = Frames(
        names[video].tolist(), np.arange(1, rows + 1, dtype=np.int64), [""] * rows,
        np.clip(affect[episode] + rng.normal(0, 0.05, (rows, 2)), -1, 1).astype(np.float32),
        expression[episode].astype(np.int64), units[episode].astype(np.float32), {},
    )  # fmt: skip
    return World(frames, video, episode, rng.normal(size=videos))


def simulate(rng: np.random.Generator, of: World, runs: int = 1) -> list[Table]:
    """Draw the predictions of runs of one system.

    Half of what makes a video hard is the same for all systems; the system and each of its trainings have their own
    part. An error lasts for half an episode on average. A training is as good as another but for its luck.

    Args:
        rng: of the system.
        of: videos and labels.
        runs: how many trainings of it there are.
    """
    videos, rows, labels = len(of.hardness), len(of.video), of.frames
    system = 0.7 * of.hardness + 0.5 * rng.normal(size=videos)
    errors = np.cumsum(np.diff(of.episode, prepend=-1).astype(bool) | (rng.random(rows) < 1 / EPISODE)) - 1
    first = np.flatnonzero(np.diff(errors, prepend=-1))
    share = np.cumsum(np.array(EXPRESSION_COUNTS) / sum(EXPRESSION_COUNTS))
    rare = np.log(np.array(EXPRESSION_COUNTS) / max(EXPRESSION_COUNTS)) / 3  # rare classes are found less often
    seldom = np.log(np.array(UNIT_COUNTS) / max(UNIT_COUNTS)) / 3
    tables = []
    for _ in range(runs):
        own = system + 0.4 * rng.normal(size=videos) + 0.15 * rng.normal()
        skill = own[of.video[first]]
        right = rng.random(len(first)) < _logistic(0.9 + skill + rare[labels.expression[first]])
        guess = (rng.random(len(first))[:, None] > share).sum(axis=1).clip(max=len(EXPRESSIONS) - 1)
        said = np.where(right, labels.expression[first], guess)
        true = labels.action_units[first] == 1
        found = rng.random(true.shape) < _logistic(1.2 + skill[:, None] + seldom)
        false = rng.random(true.shape) < np.exp(seldom) * _logistic(-1.5 - skill[:, None])
        slope = _logistic(0.5 + own)[:, None] * np.array((1.0, 0.8))
        off = 0.15 * rng.normal(size=(videos, 2))
        affect = slope[of.video] * labels.valence_arousal + off[of.video]
        affect += (0.15 * rng.normal(size=(len(first), 2)))[errors] + 0.05 * rng.normal(size=(rows, 2))
        predictions = {
            "valence_arousal": np.clip(affect, -1, 1).astype(np.float32),
            "expression": np.eye(len(EXPRESSIONS), dtype=np.float32)[said[errors]],
            "action_units": np.where(true, found, false)[errors].astype(np.float32),
        }
        table = Table(labels.video, labels.frame, labels.image, predictions, EXPRESSIONS, {}, "simulated")
        tables.append(table)
    return tables


def _logistic(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result


SCORES: Final = ("P_VA", "P_EXPR", "P_AU", "P_MTL")
SIZES: Final = (200, 60, 30)
DRAWS: Final = 1000
RUNS: Final = 12
"""How many trainings there are of which three and three are compared."""

_ENDS: Final = np.array([0.025, 0.975])


def candidates(sample: Resampled) -> Iterator[tuple[str, Floats, Floats]]:
    """Yield name, low and high (S,) of each way to make an interval of a resampled score (Efron & Tibshirani 1993)."""
    low, high = np.quantile(sample.drawn, _ENDS, axis=0)
    yield "percentile", low, high
    yield "basic", 2 * sample.value - high, 2 * sample.value - low
    below = ((sample.drawn < sample.value).mean(axis=0) + (sample.drawn <= sample.value).mean(axis=0)) / 2
    cubes, squares = (sample.influence**3).sum(axis=1), (sample.influence**2).sum(axis=1)
    bias, skew = ndtri(below.clip(1e-4, 1 - 1e-4)), cubes / (6 * squares**1.5)
    shifted = bias + ndtri(_ENDS)[:, None]
    share = ndtr(bias + shifted / (1 - skew * shifted))
    columns = zip(sample.drawn.T, share.T, strict=True)
    low, high = np.array([np.quantile(column, ends) for column, ends in columns]).T
    yield "BCa", low, high
    least, most = np.nanquantile(sample.ratios(), _ENDS, axis=0)
    yield "studentised", sample.value - most * sample.error, sample.value - least * sample.error


def coverage(of: World, table: Table, sets: int) -> dict[str, dict[str, list[float]]]:
    """Return how often each way's interval holds the truth, by number of videos and way, for each of ``SCORES``."""
    whole = sums(table, of.frames).only(SCORES)
    truth, rows = whole.scores()[0], np.searchsorted(of.video, np.arange(len(of.hardness) + 1))
    found = {}
    for size in SIZES:
        held: dict[str, list[NDArray[np.bool_]]] = {}
        for number in range(sets):
            chosen = np.random.default_rng([size, number]).integers(len(whole), size=size)
            sample = resample([(1.0, whole.select(chosen))], draws=DRAWS, seed=number)
            ways = [*candidates(sample), ("frames as units", *_by_frames(of, table, rows, chosen))]
            for name, low, high in ways:
                held.setdefault(name, []).append((low <= truth) & (truth <= high))
        found[f"{size} videos"] = {name: np.mean(of_way, axis=0).tolist() for name, of_way in held.items()}
    return found


def _by_frames(of: World, table: Table, rows: NDArray[np.int64], chosen: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return low and high of the normal interval that takes the frames of the chosen videos for independent."""
    picked = np.concatenate([np.arange(rows[video], rows[video + 1]) for video in chosen])
    said = {task: values[picked] for task, values in table.predictions.items()}
    names = [str(number) for number in range(len(picked))]
    labels = replace(of.frames.select(picked), video=names)
    units = sums(replace(table, video=names, frame=labels.frame, image=names, predictions=said), labels).only(SCORES)
    value, added = units.influences()
    half = 1.96 * np.sqrt((added[0] ** 2).sum(axis=1))
    return value[0] - half, value[0] + half


def errors_of_comparisons(of: World, rng: np.random.Generator, sets: int) -> dict[str, list[float]]:
    """Return how often equally good systems differ by p < .05, for each of ``SCORES``.

    One run each: in each video of a set it is drawn whose predictions are whose, so that no system is ahead. Three
    runs each: drawn from the same dozen, without replacement.
    """
    pair = [sums(simulate(rng, of)[0], of.frames).only(SCORES) for _ in range(2)]
    dozen = [sums(table, of.frames).only(SCORES) for table in simulate(rng, of, RUNS)]
    found: dict[str, list[float]] = {}
    for size in SIZES:
        one, three = [], []
        for number in range(sets):
            draw = np.random.default_rng([size, number, 1])
            chosen, swap = draw.integers(len(of.hardness), size=size), draw.random(size) < 0.5
            mine, yours = (one_of.select(chosen) for one_of in pair)
            p = estimate([_mixed(mine, yours, swap)], [_mixed(yours, mine, swap)], draws=DRAWS, seed=number).p
            one.append([p[name] < 0.05 for name in SCORES])
            drawn = [dozen[run].select(chosen) for run in draw.permutation(RUNS)[:6]]
            p = estimate(drawn[:3], drawn[3:]).p
            three.append([p[name] < 0.05 for name in SCORES])
        found[f"one run each, {size} videos"] = np.mean(one, axis=0).tolist()
        found[f"three runs each, {size} videos"] = np.mean(three, axis=0).tolist()
    return found


def _mixed(first: Sums, second: Sums, swap: NDArray[np.bool_]) -> Sums:
    """Return the first system's sums, with the second's where ``swap`` says so."""
    return replace(
        first,
        moments=np.where(swap[:, None, None], second.moments, first.moments),
        top=np.where(swap[:, None], second.top, first.top),
        bottom=np.where(swap[:, None], second.bottom, first.bottom),
    )


def study(sets: int, seed: int) -> dict[str, Mapping[str, object]]:
    """Simulate, and return all figures: ``coverage`` by videos and way, ``type-I error`` by comparison."""
    rng = np.random.default_rng(seed)
    of = world(rng)
    (table,) = simulate(rng, of)
    return {"coverage": coverage(of, table, sets), "type-I error": errors_of_comparisons(of, rng, sets)}


def _lines(found: Mapping[str, Mapping[str, object]]) -> list[list[str]]:
    lines = [["", *SCORES]]
    for size, ways in found["coverage"].items():
        assert isinstance(ways, Mapping)
        lines += [[f"coverage, {size}, {way}", *_cells(values)] for way, values in ways.items()]
    for which, values in found["type-I error"].items():
        assert isinstance(values, list)
        lines.append([f"type-I error, {which}", *_cells(values)])
    return lines


def _cells(values: Sequence[float]) -> list[str]:
    return [f"{value:.3f}" for value in values]


def main() -> None:
    """Read the command line, simulate, print the table and write the figures."""
    parser = study_parser(__doc__)
    parser.add_argument("--sets", type=int, default=1000, help="of videos, of which each has its intervals")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = study(options.sets, options.seed)
    print(aligned(_lines(found)))
    options.folder.mkdir(parents=True, exist_ok=True)
    write_whole(options.folder / "coverage.json", json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    with clear_errors():
        main()
