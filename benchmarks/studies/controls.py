"""What EMMA's scores on rendered faces stand beside: its ceiling, its floor, and the same without a network.

    python -m benchmarks.studies.controls <run folder> [--skip-training]

The folder is that of an EMMA run on ``data=synthetic``, such as ``make demo`` leaves; weights that its configuration
names by a relative path are looked for from the current folder. On the rows of the validation split that the run was
scored on, one column each:

* ``oracle``: who knows the rendered state, but not the annotators' noise;
* ``EMMA``: the run's own scores.json;
* ``frequencies``: who knows only how often each label is in the training split (``evaluators.chance``);
* ``shuffled labels``: the run's own training once more, with whole label rows of the training file dealt out anew
  among its images, in ``<run folder>/controls/``. One that is finished there is not trained again;
* ``linear on pixels``: ridge regression for valence and arousal, logistic regression with balanced classes for the
  expression and each action unit, on standardised pixels at the network's resolution, each from the training rows
  with its label; C by cross-validation over identities (videos) within the training split.

Prints the table and two conditions, and writes both to ``<run folder>/controls.json``. The pixels of the whole training
split are held in memory, so this is for ``scale=tiny``: about 2.6 GB there.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import scipy.linalg  # type: ignore[import-untyped]
import scipy.optimize
import scipy.special
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.progress import track
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from affect.errors import ConfigError
from affect.frames import Frames
from affect.labels import AU_NAMES, EXPRESSIONS
from benchmarks.studies.running import trained
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.base import Split
from evaluators.chance import frequency_baseline
from evaluators.metrics import ConcordanceCorrelation, Scores
from evaluators.predictions import score_rows
from evaluators.report import NO_LABELS, aligned, read_scores
from rendering.oracle import oracle_predictions
from runs.assembly import build_data
from runs.checkpoints import load_module
from runs.config import resolve
from runs.ending import clear_errors

Array = NDArray[Any]
Fit = Callable[[Array, Array, Array, float], Array]
Criterion = Callable[[Array, Array], float]

FOLDS: Final = 3
WORKERS: Final = 2
"""Tasks that are fitted at the same time; each takes about 0.5 GB."""
EXPONENTS: Final = range(-3, 6)
"""C is a power of ten between these."""
START: Final = 1
MARGIN: Final = 0.3
TOLERANCE: Final = 0.1


class Linear(NamedTuple):
    """Linear predictions of the validation rows by task, and the C chosen for each fit."""

    predictions: dict[str, Array]
    chosen: dict[str, float]


def read_pixels(data: MTLDataModule, split: Split) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Load the faces of a split as the network sees them in evaluation.

    Returns:
        (N,) numbers of the rows whose image can be read, and their (N, 3 · size²) pixels, 0 to 255.
    """
    data.predict_split = split
    batches = list(data.predict_dataloader())
    rows = torch.cat([batch["row"] for batch in batches]).numpy()
    return rows, torch.cat([batch["image"].flatten(1) for batch in batches]).numpy().astype(np.float32)


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


def shuffle_labels(source: Path, destination: Path, *, seed: int) -> None:
    """Copy a label file with its label rows, each as a whole, dealt out anew; the images keep their order.

    Every frequency and every relation between labels stays; only what they have to do with the faces is gone.
    """
    header, *lines = source.read_text(encoding="utf-8-sig").rstrip().splitlines()
    images, _, labels = zip(*(line.partition(",") for line in lines), strict=True)
    order = np.random.default_rng([seed, zlib.crc32(b"shuffled labels")]).permutation(len(lines))
    rows = [f"{image},{labels[other]}" for image, other in zip(images, order, strict=True)]
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def train_shuffled(config: DictConfig, data: MTLDataModule, folder: Path) -> Scores:
    """Repeat a run with shuffled training labels; same seed, same weights to start from.

    Args:
        config: the run's own.
        data: what it was trained on.
        folder: gets the label file and the run folder.

    Returns:
        Its scores; those of an earlier call where it finished.
    """
    annotations = folder / "shuffled_labels.txt"
    name = data.annotations["train"] or next(iter(data.frames("train").files))
    shuffle_labels(Path(str(data.root)) / name, annotations, seed=config.seed)
    config = config.copy()
    config.data.root, config.data.train_annotations = data.root, str(annotations.absolute())
    config.render = None  # the faces are there, and nothing else may be read than the file above
    config.logger = {}  # the stored one writes into the folder of the run
    return trained(folder / "shuffled_labels", config)


def conditions(scores: Mapping[str, Scores]) -> dict[str, bool]:
    """Say which of the two conditions on ``SCORE``, which is P_MTL where every task has labels, hold."""
    total = {name: of_one["SCORE"] or 0.0 for name, of_one in scores.items()}
    lead = total["EMMA"] - total["linear on pixels"]
    holds = {f"EMMA - linear on pixels = {lead:.4f} >= {MARGIN}": lead >= MARGIN}
    if "shuffled labels" in total:
        gap = abs(total["shuffled labels"] - total["frequencies"])
        holds[f"|shuffled labels - frequencies| = {gap:.4f} <= {TOLERANCE}"] = gap <= TOLERANCE
    return holds


def format_controls(scores: Mapping[str, Scores]) -> str:
    """Return the table: a line per score, a column per predictor."""
    rows = [["", *scores]]
    for name in next(iter(scores.values())):
        values = [of_one[name] for of_one in scores.values()]
        rows.append([name, *(NO_LABELS if value is None else f"{value:.4f}" for value in values)])
    return aligned(rows)


def run_controls(folder: Path, *, skip_training: bool) -> None:
    """Score all predictors, print and write the result.

    Args:
        folder: of the run.
        skip_training: leave ``shuffled labels`` out.

    Raises:
        CheckpointError: there is no finished run.
        ConfigError: the run is not one of EMMA's.
        FileNotFoundError: its faces were not rendered.
    """
    module = load_module(folder / "checkpoints" / "best.ckpt")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    plain = resolve(config)
    data = build_data(plain, module.preprocessing, module.expressions)
    if not isinstance(data, MTLDataModule):
        raise ConfigError(
            [f"data._target_ is {plain['data']['_target_']}: give the folder of an EMMA run"], str(folder)
        )
    oracle = oracle_predictions(Path(str(data.root)), "validation")
    train_rows, train_pixels = read_pixels(data, "train")
    rows, pixels = read_pixels(data, "val")
    labels, validation = data.frames("train").select(train_rows), data.frames("val").select(rows)
    scores = {
        "oracle": score_rows({task: values[rows] for task, values in oracle.items()}, validation),
        "EMMA": read_scores(folder / "scores.json"),
        "frequencies": frequency_baseline(labels, validation),
    }
    if not skip_training:
        scores["shuffled labels"] = train_shuffled(config, data, folder / "controls")
    start = time.perf_counter()
    linear = linear_predictions(train_pixels, labels, pixels)
    seconds = time.perf_counter() - start
    scores["linear on pixels"] = score_rows(linear.predictions, validation)
    holds = conditions(scores)

    print(format_controls(scores))
    print(f"linear on pixels: {seconds:.0f} s; C " + ", ".join(f"{name} {c:g}" for name, c in linear.chosen.items()))
    edges = [name for name, c in linear.chosen.items() if c in (10.0 ** EXPONENTS[0], 10.0 ** EXPONENTS[-1])]
    if edges:
        print(f"linear on pixels: C is at the edge of what was tried for {', '.join(edges)}")
    for condition, met in holds.items():
        print(f"{condition}: {'holds' if met else 'DOES NOT HOLD'}")
    words = {name: {key: NO_LABELS if v is None else v for key, v in one.items()} for name, one in scores.items()}
    content = {"scores": words, "conditions": holds, "linear_c": linear.chosen, "linear_seconds": seconds}
    (folder / "controls.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="folder of an EMMA run on data=synthetic")
    parser.add_argument("--skip-training", action="store_true", help="leave out the training on shuffled labels")
    options = parser.parse_args()
    run_controls(options.run, skip_training=options.skip_training)


if __name__ == "__main__":
    with clear_errors():
        main()
