"""How often 95 % intervals hold the truth: four bootstraps over videos, and over frames, on simulated predictions.

    python -m benchmarks.studies.coverage FOLDER [--sets 1000] [--seed 0]

There are no pictures: ``simulate`` draws labels with the class frequencies of s-Aff-Wild2's validation split, in
episodes that last, of few classes a video; and predictions whose skill differs by video and by training. The truth is
the score over all ``VIDEOS`` of them, from which sets of 200 and of 60 are drawn with replacement.

Prints, for each score and number of videos, how often each way's interval holds the truth; then how often a comparison
of two systems that are equally good finds a difference at .05: of one run each, and of three runs each. The methods
were written after this file. ``FOLDER/coverage.json`` keeps all figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.frames import Frames
from affect.labels import EXPRESSIONS
from evaluators.table import Table

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
        names[video].tolist(), np.arange(rows, dtype=np.int64), [""] * rows,
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
