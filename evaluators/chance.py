"""The scores of predictors that never look at a face: a model must be better than these.

They know label frequencies only. Valence and arousal are then constant, with a CCC of 0. Guessing a class with
frequency q where its true frequency is p gives an expected F1 of about 2 p q / (p + q). Over the expressions the mean
is largest for q = p ("random draws"; it is 1 / classes); for an action unit, F1 is largest for q = 1 ("always
positive"; 2 p / (1 + p)): no other use of the frequencies does better in P_MTL.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affect.frames import Frames, class_shares, column_means
from affect.labels import ACTION_UNITS, EXPRESSIONS
from evaluators.names import Scores, expression_score, joined
from evaluators.predictions import score_rows

VARIANTS: Final = ("majority", "random draws", "always positive")
DRAWS: Final = 20
"""Random predictors are scored this many times and averaged, so that no lucky draw becomes the reference."""


def frequency_baselines(train: Frames, validation: Frames, *, seed: int = 0) -> dict[str, Scores]:
    """Score on ``validation`` predictors that know only the label frequencies of ``train``.

    All of them predict the training mean of valence and of arousal. The variants differ in the rest:

    * ``majority``: the most frequent expression; a unit is positive where at least half of its training labels are.
    * ``random draws``: expression and units drawn by their training frequencies.
    * ``always positive``: expression drawn by its training frequencies; every unit positive. The strongest in P_MTL.

    Without any training label, valence and arousal are predicted as 0, expressions as equally frequent, units at 0.5.

    Args:
        train: labels whose frequencies the predictors know.
        validation: labels to predict.
        seed: seed of the random draws; scores are means over ``DRAWS`` of them.

    Returns:
        Scores by variant, in the order of ``VARIANTS``.
    """
    frequencies = class_shares(train.expression, len(EXPRESSIONS))
    if np.isnan(frequencies).any():
        frequencies = np.full(len(EXPRESSIONS), 1 / len(EXPRESSIONS))
    positive = np.nan_to_num(column_means(train.action_units), nan=0.5)
    affect = np.nan_to_num(column_means(train.valence_arousal), nan=0.0)
    # A stream of its own: labels drawn elsewhere from the same bare seed would be guessed right.
    random = np.random.default_rng([seed, zlib.crc32(b"chance")])
    rows = len(validation.expression)
    units = (rows, len(ACTION_UNITS))
    runs: dict[str, list[Scores]] = {variant: [] for variant in VARIANTS}
    majority = np.full(rows, frequencies.argmax())
    always = np.broadcast_to(positive >= 0.5, units)
    runs["majority"].append(_score(affect, majority, always, validation, EXPRESSIONS))
    for _ in range(DRAWS):
        drawn = random.choice(len(frequencies), size=rows, p=frequencies)
        runs["random draws"].append(_score(affect, drawn, random.random(units) < positive, validation, EXPRESSIONS))
        runs["always positive"].append(_score(affect, drawn, np.ones(units, dtype=bool), validation, EXPRESSIONS))
    return {variant: _mean_scores(scores) for variant, scores in runs.items()}


def frequency_baseline(train: Frames, validation: Frames, *, seed: int = 0) -> Scores:
    """Return the scores of the ``frequency_baselines`` with the highest ``SCORE``."""
    return max(frequency_baselines(train, validation, seed=seed).values(), key=lambda scores: scores["SCORE"] or 0.0)


def chance(labels: Frames, expressions: Sequence[str] = EXPRESSIONS) -> Scores:
    """Return, in closed form, the highest scores that frequencies alone can be expected to give on these labels.

    The frequencies are those of the same labels, so this is slightly above any ``frequency_baseline``. Accuracies are
    those of the majority class (macro accuracy is 1 / classes for every guess); F1 rows are those of the predictor that
    is best for their mean: random draws for expressions, always positive for units.

    Args:
        labels: labels whose frequencies are used.
        expressions: class names, in label order.
    """
    frequencies, positive = class_shares(labels.expression, len(expressions)), column_means(labels.action_units)
    valid = (~np.isnan(labels.action_units)).sum(axis=0)
    affect = None if np.isnan(column_means(labels.valence_arousal)).any() else 0.0
    expression = _known(frequencies.mean())
    f1_units = 2 * positive / (1 + positive)
    hits = np.nan_to_num(np.maximum(positive, 1 - positive)) * valid
    of_expression = {
        expression_score(expressions): expression,
        **{f"F1_EXPR_{name}": _known(value) for name, value in zip(expressions, frequencies, strict=True)},
        "ACC_EXPR": _known(frequencies.max()),
        "MACRO_ACC_EXPR": None if expression is None else 1 / len(expressions),
    }
    of_units = {
        "P_AU": float(np.nan_to_num(f1_units).mean()) if valid.any() else None,
        **{f"F1_AU{unit}": _known(value) for unit, value in zip(ACTION_UNITS, f1_units, strict=True)},
        "ACC_AU": float(hits.sum() / valid.sum()) if valid.any() else None,
    }
    return joined([dict.fromkeys(("P_VA", "CCC_V", "CCC_A"), affect), of_expression, of_units])


def majority(labels: Frames, expressions: Sequence[str] = EXPRESSIONS) -> Scores:
    """Score the predictor that always gives the most frequent expression, and the most frequent answer for each unit.

    Args:
        labels: labels whose frequencies are used.
        expressions: class names, in label order.
    """
    frequencies, positive = class_shares(labels.expression, len(expressions)), column_means(labels.action_units)
    most = np.full(len(labels.expression), frequencies.argmax())
    units = np.broadcast_to(positive >= 0.5, labels.action_units.shape)
    return _score(np.zeros(2), most, units, labels, expressions)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _score(
    affect: NDArray[Any], expression: NDArray[Any], units: NDArray[Any], labels: Frames, expressions: Sequence[str]
) -> Scores:
    predictions = {
        "valence_arousal": np.tile(affect.astype(np.float32), (len(expression), 1)),
        "expression": np.eye(len(expressions), dtype=np.float32)[expression],
        "action_units": units.astype(np.float32),
    }
    return score_rows(predictions, labels, expressions=expressions)


def _mean_scores(runs: list[Scores]) -> Scores:
    """Average each score over runs on the same labels, so that a score is None in all of them or in none."""
    means: Scores = {}
    for name in runs[0]:
        values = [value for run in runs if (value := run[name]) is not None]
        means[name] = float(np.mean(values)) if values else None
    return means
