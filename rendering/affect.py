"""Compute what faces show and mean: action units from expressions, and annotations from the rendered state.

Expressions to action units. The prototypes are those of Ekman and Friesen (EMFACS, 1983) as counted by Du, Tao and
Martinez (Compound facial expressions of emotion, PNAS 111(15), 2014, table 1): happiness 12, 25 [6]; sadness 4, 15
[1, 6]; fear 1, 4, 20, 25 [2, 5, 26]; anger 4, 7, 24 [10, 23]; surprise 1, 2, 25, 26 [5]; disgust 9, 10 [4, 24];
contempt 14 [12] on one side. ``TAKES_PART`` keeps their shape, but its numbers are chosen so that the positive rates
come near those of the Aff-Wild2 training rows, where far more faces speak, squint and lift the lip than pose.

Annotators. Nothing that they write is a closed formula of the rendered state: valence and arousal get a bias per
video, a slow drift and a jitter; the expression is confused with its neighbours; an action unit is judged with
jitter around a threshold, sometimes overlooked, seldom imagined.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.labels import ACTION_UNITS, EXPRESSIONS
from rendering.sketch import Array
from rendering.units import COLUMN

Generator = np.random.Generator

CONTEMPT: Final = "contempt"

TAKES_PART: Final = {
    #             1    2    4    6    7    10   12   15   23   24   25   26   5    9    14   20
    "neutral":   (.02, .01, .03, .02, .10, .10, .02, .00, .01, .03, .61, .03, .02, .00, .03, .00),
    "anger":     (.02, .04, .92, .08, .90, .50, .02, .03, .28, .27, .58, .08, .35, .10, .02, .03),
    "disgust":   (.04, .02, .50, .25, .60, .95, .05, .06, .05, .06, .60, .05, .02, .92, .03, .03),
    "fear":      (.92, .36, .76, .04, .45, .12, .03, .03, .02, .02, .90, .42, .80, .03, .02, .80),
    "happiness": (.04, .03, .02, .90, .68, .62, .97, .00, .00, .01, .95, .11, .04, .02, .08, .02),
    "sadness":   (.62, .04, .73, .22, .35, .25, .02, .14, .02, .05, .56, .04, .01, .02, .04, .05),
    "surprise":  (.88, .86, .03, .03, .05, .12, .08, .01, .00, .00, .97, .80, .75, .00, .01, .02),
    "other":     (.08, .03, .14, .32, .54, .54, .20, .01, .03, .05, .93, .07, .08, .06, .15, .08),
    "contempt":  (.02, .10, .10, .06, .20, .05, .55, .02, .02, .05, .15, .02, .02, .02, 1.0, .02),
}  # fmt: skip
"""Probability that a unit takes part in an episode of an expression; columns as in ``RENDERED_UNITS``."""

# centre of each expression on the circumplex (valence, arousal), after Russell (1980)
_CIRCUMPLEX: Final = {
    "neutral": (0.0, -0.05), "anger": (-0.5, 0.5), "disgust": (-0.55, 0.3), "fear": (-0.5, 0.6),
    "happiness": (0.65, 0.35), "sadness": (-0.55, -0.25), "surprise": (0.12, 0.65), "other": (0.02, 0.18),
    "contempt": (-0.35, 0.1),
}  # fmt: skip

# (true expression, what it is mistaken for, how often)
_CONFUSIONS: Final = (
    ("neutral", "other", 0.08), ("neutral", "sadness", 0.02),
    ("anger", "disgust", 0.07), ("anger", "other", 0.08), ("anger", "neutral", 0.04),
    ("disgust", "anger", 0.08), ("disgust", "other", 0.09),
    ("fear", "surprise", 0.08), ("fear", "other", 0.07), ("fear", "sadness", 0.03),
    ("happiness", "other", 0.07), ("happiness", "neutral", 0.03),
    ("sadness", "neutral", 0.08), ("sadness", "other", 0.08), ("sadness", "fear", 0.02),
    ("surprise", "fear", 0.06), ("surprise", "other", 0.08),
    ("other", "neutral", 0.08), ("other", "happiness", 0.03), ("other", "anger", 0.015),
)  # fmt: skip

AU_THRESHOLD: Final = 0.3
"""Intensity from which an annotator calls a unit present (about FACS level B)."""

_AU_JITTER: Final = 0.04
_AU_OVERLOOKED: Final = 0.07
_AU_IMAGINED: Final = 0.007
_DECISION: Final = 6.0  # how sharply an annotator decides between two expressions that blend into one another
_VA_BIAS: Final = 0.12
_VA_DRIFT: Final = 0.14
_VA_JITTER: Final = 0.07


def confusion() -> Array:
    """Return (8, 8) probabilities that an expression (row) is annotated as another (column)."""
    matrix = np.eye(len(EXPRESSIONS))
    for true, taken, share in _CONFUSIONS:
        row = EXPRESSIONS.index(true)
        matrix[row, EXPRESSIONS.index(taken)] += share
        matrix[row, row] -= share
    return matrix


def draw_apex(rng: Generator, expression: str, *, least: float = 0.42) -> Array:
    """Draw how one person shows an expression once.

    Args:
        rng: the episode's generator.
        expression: one of ``EXPRESSIONS``, or ``CONTEMPT``.
        least: intensity of the faintest unit that takes part.

    Returns:
        (2, 16) intensities 0..1 at the apex, left and right half of the face, columns as in ``RENDERED_UNITS``.
    """
    chance = np.array(TAKES_PART[expression])
    part = rng.random(len(chance)) < chance
    level = least + (1.0 - least) * rng.beta(1.6, 1.3, len(chance))
    faint = rng.uniform(0.0, 0.18, len(chance)) * (rng.random(len(chance)) < 0.25)
    apex = np.where(part, level, faint)
    at = COLUMN
    if part[at[24]] or part[at[23]]:  # pressed or tightened lips do not part
        apex[[at[25], at[26]]] = 0.0
    elif part[at[26]]:  # a dropped jaw parts the lips
        apex[at[25]] = max(apex[at[25]], 0.6 * apex[at[26]])
    if part[at[12]]:
        apex[at[15]] = 0.0
    lean = rng.normal(0.0, 0.07, len(chance))
    sides = np.stack([apex * (1 + lean), apex * (1 - lean)])
    if expression == CONTEMPT:  # one corner of the mouth only
        weak = int(rng.integers(2))
        sides[weak, [at[12], at[14]]] *= 0.1
    return np.clip(sides, 0.0, 1.0)


def valence_arousal(units: Array, expression: Array) -> Array:
    """Compute the affect that a face shows, a smooth function of its action units and expression state.

    Args:
        units: (N, 16) intensities, columns as in ``RENDERED_UNITS``.
        expression: (N, 8) weights of the expressions, each row summing to 1.

    Returns:
        (N, 2) valence and arousal inside (-1, 1).
    """
    return _affect(units, expression @ np.array([_CIRCUMPLEX[name] for name in EXPRESSIONS]))


def _affect(units: Array, state: Array) -> Array:
    """Compute valence and arousal from action units and the expression state's place on the circumplex, (N, 2)."""
    a = {unit: units[:, column] for unit, column in COLUMN.items()}
    frown = np.maximum(a[4], a[9])
    valence = (
        0.62 * a[12] + 0.25 * a[6] * a[12] - 0.42 * frown * (1 - 0.6 * a[12]) - 0.45 * a[15] - 0.2 * a[10] * (1 - a[12])
        - 0.35 * a[20] - 0.25 * a[23] - 0.2 * a[24] - 0.15 * a[14] * (1 - a[12]) - 0.1 * a[1] * a[4]
    )  # fmt: skip
    arousal = (
        -0.2 + 0.34 * a[25] + 0.55 * a[26] + 0.6 * a[5] + 0.3 * a[20] + 0.24 * a[12] + 0.3 * a[4] * a[7]
        + 0.2 * a[2] + 0.22 * a[9] + 0.12 * a[10] + 0.2 * a[23] - 0.35 * a[15] - 0.22 * a[1] * (1 - a[2]) * (1 - a[5])
    )  # fmt: skip
    return np.asarray(np.tanh(np.stack([valence, arousal], axis=1) + 0.45 * state))


def expression_probabilities(expression: Array) -> Array:
    """Return the distribution of the annotated expression.

    Args:
        expression: (N, 8) weights of the rendered expressions, each row summing to 1.

    Returns:
        (N, 8) probabilities.
    """
    decided = expression**_DECISION
    return np.asarray(decided / decided.sum(axis=1, keepdims=True) @ confusion())


def action_unit_probabilities(units: Array) -> Array:
    """Return the probability that each scored unit is annotated as present.

    Args:
        units: (N, 16) rendered intensities of the stronger half of the face.

    Returns:
        (N, 12) probabilities.
    """
    seen = 1.0 / (1.0 + np.exp((AU_THRESHOLD - units[:, : len(ACTION_UNITS)]) / _AU_JITTER))
    return np.asarray(seen * (1 - _AU_OVERLOOKED) + (1 - seen) * _AU_IMAGINED)


def annotate(rng: Generator, units: Array, expression: Array, frames: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Let annotators label one video.

    Args:
        rng: the video's annotators.
        units: (T, 16) rendered intensities of the stronger half of the face.
        expression: (T, 8) weights of the rendered expressions.
        frames: (T,) frame numbers, increasing.

    Returns:
        valence and arousal (T, 2) in [-1, 1], expression (T,) as integers, action units (T, 12) of 0 and 1.
    """
    count = len(frames)
    drift = np.zeros((count, 2))
    step = rng.normal(size=(count, 2))
    for t in range(count):
        keep = float(np.exp(-(frames[t] - frames[t - 1]) / 30.0)) if t else 0.0
        drift[t] = keep * drift[t - 1] + _VA_DRIFT * sqrt(1 - keep**2) * step[t]
    noise = rng.normal(0, _VA_BIAS, 2) + drift + rng.normal(0, _VA_JITTER, (count, 2))
    affect = np.clip(valence_arousal(units, expression) + noise, -1.0, 1.0)
    cumulative = np.cumsum(expression_probabilities(expression), axis=1)
    chosen = np.minimum((rng.random((count, 1)) > cumulative).sum(axis=1), len(EXPRESSIONS) - 1)
    present = rng.random((count, len(ACTION_UNITS))) < action_unit_probabilities(units)
    return affect, chosen.astype(np.int64), present.astype(np.int64)


def annotate_portrait(rng: Generator, units: Array, expression: str) -> tuple[Array, Array]:
    """Let annotators rate valence and arousal of one photograph, with as much noise as in a frame of a video.

    Args:
        rng: the photograph's annotators.
        units: (16,) rendered intensities of the stronger half of the face.
        expression: the expression shown, one of ``EXPRESSIONS`` or ``CONTEMPT``.

    Returns:
        Valence and arousal as shown, (2,), and as annotated, (2,), both in [-1, 1].
    """
    truth = _affect(units[None], np.array([_CIRCUMPLEX[expression]]))[0]
    noise = rng.normal(0, sqrt(_VA_BIAS**2 + _VA_DRIFT**2 + _VA_JITTER**2), 2)
    return truth, np.clip(truth + noise, -1.0, 1.0)
