"""A linear model of pixels: what a network's score stands beside.

Ridge regression for valence and arousal, logistic regression with balanced classes for the expression and each action
unit, each from the training rows with its label; C by cross-validation over identities (videos) within them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import scipy.linalg  # type: ignore[import-untyped]
import scipy.optimize  # type: ignore[import-untyped]
import scipy.special  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from rich.progress import track
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from affect.frames import Frames
from affect.labels import AU_NAMES, EXPRESSIONS
from evaluators.metrics import ConcordanceCorrelation

Array = NDArray[Any]
Fit = Callable[[Array, Array, Array, float], Array]
Criterion = Callable[[Array, Array], float]

FOLDS: Final = 3
WORKERS: Final = 2
"""Tasks that are fitted at the same time; each takes about 0.5 GB."""
EXPONENTS: Final = range(-3, 6)
"""C is a power of ten between these."""
START: Final = 1


class Linear(NamedTuple):
    """Linear predictions of the validation rows by task, and the C chosen for each fit."""

    predictions: dict[str, Array]
    chosen: dict[str, float]


def rotate(train: Array, validation: Array) -> tuple[Array, Array]:
    """Standardise pixels by the training rows, and give them along these rows' principal axes.

    The weights of a linear model with an L2 penalty lie in the span of its training rows, and no axis is better than
    another: every fit is the one on the pixels themselves, in fewer numbers where there are fewer faces than pixels.
    All are divided by the root of the number of pixels, so that a row's squared length is about 1 and C means the same
    at every resolution.

    Args:
        train: (N, P) pixels.
        validation: (M, P) pixels.

    Returns:
        (N, R) and (M, R) coordinates, R <= min(N, P).
    """
    scaler = StandardScaler().fit(train)
    train, validation = (
        scaler.transform(pixels) / np.float32(pixels.shape[1] ** 0.5) for pixels in (train, validation)
    )
    doubles = train.astype(np.float64)
    few = len(train) < train.shape[1]
    products = doubles @ doubles.T if few else doubles.T @ doubles
    squares, axes = scipy.linalg.eigh(products, overwrite_a=True, check_finite=False, driver="evd")
    seen = squares > 1e-10 * squares[-1]
    basis = doubles.T @ (axes[:, seen] / np.sqrt(squares[seen])) if few else axes[:, seen]
    return (doubles @ basis).astype(np.float32), validation @ basis.astype(np.float32)


def ridge(train: Array, target: Array, test: Array, c: float) -> Array:
    """Return (M, 2) valence and arousal of ``test`` from ridge regression with penalty 1 / C."""
    predicted: Array = Ridge(alpha=1 / c).fit(train, target).predict(test).clip(-1, 1)
    return predicted


def logistic(train: Array, target: Array, test: Array, c: float, *, classes: int) -> Array:
    """Return (M, classes) probabilities of ``test`` from logistic regression, multinomial for several classes.

    Classes are balanced, as in EMMA's training at ``scale=tiny``. A class without a training row is never predicted.
    """
    present, target = np.unique(target.astype(np.int64), return_inverse=True)
    probabilities = np.zeros((len(test), classes), dtype=np.float32)
    if len(present) == 1:
        probabilities[:, present] = 1
    else:
        weights, offset = fit_logistic(train, target, c)
        probabilities[:, present] = scipy.special.softmax(test @ weights + offset, axis=1)
    return probabilities


def fit_logistic(train: Array, target: Array, c: float) -> tuple[Array, Array]:
    """Fit what scikit-learn's ``LogisticRegression(C=c, class_weight="balanced")`` fits, along principal axes.

    The curvature differs a million times between the first and the last axis, for which L-BFGS takes thousands of
    steps. In units of each axis' own curvature, which is about known, it takes some dozens.

    Args:
        train: (N, D) coordinates.
        target: (N,) classes, each of 0 … K − 1 at least once.
        c: inverse of the penalty.

    Returns:
        (D, K) weights and (K,) offsets; of two classes, those of the first are 0.
    """
    classes = int(target.max()) + 1
    free = classes if classes > 2 else 1  # columns
    truth = np.eye(classes, dtype=np.float32)[target]
    importance = (len(target) / (classes * truth.sum(axis=0)))[target].astype(np.float32)[:, None] * np.float32(c)
    unit = 1 / np.sqrt(1 + c / 4 * np.square(train).sum(axis=0, dtype=np.float64))[:, None]
    offset_unit = 1 / np.sqrt(1 + c / 4 * len(target))
    total = c * len(target)

    def parts(flat: Array) -> tuple[Array, Array]:
        given = flat.reshape(-1, free)
        weights, offset = np.zeros((train.shape[1], classes)), np.zeros(classes)
        weights[:, -free:], offset[-free:] = unit * given[:-1], offset_unit * given[-1]
        return weights, offset

    def objective(flat: Array) -> tuple[float, Array]:
        weights, offset = parts(flat)
        scores = train @ weights.astype(np.float32) + offset.astype(np.float32)
        logs = scipy.special.log_softmax(scores, axis=1)
        loss = -float((importance * truth * logs).sum(dtype=np.float64)) + 0.5 * float(np.square(weights).sum())
        slope = (importance * (np.exp(logs) - truth))[:, -free:]
        gradient = np.vstack([
            unit * (train.T @ slope + weights[:, -free:]), offset_unit * slope.sum(axis=0, dtype=np.float64)[None]
        ])  # fmt: skip
        return loss / total, gradient.ravel() / total

    start = np.zeros((train.shape[1] + 1) * free)
    found = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-10, "gtol": 1e-7}
    )
    return parts(found.x)


def mean_ccc(predicted: Array, target: Array) -> float:
    """Return P_VA of (N, 2) predictions."""
    metric = ConcordanceCorrelation()
    metric.update(torch.from_numpy(predicted), torch.from_numpy(target))
    return metric.compute().mean().item()


def mean_f1(predicted: Array, target: Array) -> float:
    """Return P_EXPR of (N, 8) probabilities."""
    classes = range(len(EXPRESSIONS))
    return float(f1_score(target, predicted.argmax(axis=1), labels=classes, average="macro", zero_division=0))


def unit_f1(predicted: Array, target: Array) -> float:
    """Return F1 of an action unit from (N, 2) probabilities."""
    return float(f1_score(target, predicted[:, 1] >= 0.5, zero_division=0))


def choose_c(fit: Fit, criterion: Criterion, features: Array, target: Array, videos: Array) -> float:
    """Find the C whose neighbours, ten times smaller and larger, both score worse in cross-validation.

    Args:
        fit: predicts the rows left out from the others.
        criterion: scores the predictions of all rows, of which each is made without the row's own video.
        features: (N, D) coordinates.
        target: (N, …) labels.
        videos: (N,) video of each row; no video is in two folds.

    Returns:
        C, the first or last of ``EXPONENTS`` only where the scores rise to there.
    """
    folds = list(GroupKFold(FOLDS).split(features, groups=videos))
    held_out = np.concatenate([test for _, test in folds])
    scores: dict[int, float] = {}
    best, untried = START, [START]
    while untried:
        for exponent in untried:
            parts = [fit(features[rest], target[rest], features[test], 10.0**exponent) for rest, test in folds]
            scores[exponent] = criterion(np.concatenate(parts), target[held_out])
        best = max(scores, key=lambda exponent: scores[exponent])
        untried = [near for near in (best - 1, best + 1) if near in EXPONENTS and near not in scores]
    return 10.0**best


def linear_predictions(train: Array, labels: Frames, validation: Array) -> Linear:
    """Fit one linear model per task on the training rows that have its label.

    Args:
        train: (N, P) pixels.
        labels: of the N training rows.
        validation: (M, P) pixels.
    """
    with threadpool_limits(1, user_api="blas"):  # BLAS threads that wait for a busy core make it ten times slower
        features, unseen = rotate(train, validation)
        return _fit_tasks(features, labels, unseen)


def _fit_tasks(features: Array, labels: Frames, unseen: Array) -> Linear:
    """Fit and predict each task, from coordinates."""
    videos = np.unique(labels.video, return_inverse=True)[1]
    affect = labels.valence_arousal
    tasks: dict[str, tuple[Fit, Criterion, Array, Array]] = {
        "valence_arousal": (ridge, mean_ccc, affect, ~np.isnan(affect[:, 0])),
        "expression": (
            partial(logistic, classes=len(EXPRESSIONS)), mean_f1, labels.expression, labels.expression >= 0
        ),
        **{
            name: (partial(logistic, classes=2), unit_f1, unit, ~np.isnan(unit))
            for name, unit in zip(AU_NAMES, labels.action_units.T, strict=True)
        },
    }  # fmt: skip

    def predict(name: str) -> tuple[float, Array]:
        fit, criterion, target, labelled = tasks[name]
        known, target = features[labelled], target[labelled]
        c = choose_c(fit, criterion, known, target, videos[labelled])
        return c, fit(known, target, unseen, c)

    with ThreadPoolExecutor(WORKERS) as pool:
        fitted = track(pool.map(predict, tasks), description="linear models", total=len(tasks))
        done = dict(zip(tasks, fitted, strict=True))
    units = np.stack([done[name][1][:, 1] for name in AU_NAMES], axis=1)
    by_task = {name: done[name][1] for name in ("valence_arousal", "expression")}
    return Linear({**by_task, "action_units": units}, {name: c for name, (c, _) in done.items()})
