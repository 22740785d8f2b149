"""Smoothing, thresholds and scores as they are usually written, with loops and scikit-learn.

Kept as it is: the README's figures are ratios to this file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

BIASES = np.linspace(-2, 2, 41)
GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def smooth(videos: Sequence[NDArray[np.float64]], k: int) -> list[NDArray[np.float64]]:
    """Return the mean over [i - k, i + k] of every frame of every video, frame by frame.

    Args:
        videos: (frames, columns) each, a frame after the other without holes.
        k: half-width; windows are cut off at the ends of a video.
    """
    smoothed = []
    for series in videos:
        result = np.empty_like(series)
        for frame in range(len(series)):
            result[frame] = np.mean(series[max(0, frame - k) : frame + k + 1], axis=0)
        smoothed.append(result)
    return smoothed


def thresholds(probabilities: NDArray[np.float32], labels: NDArray[np.float32]) -> tuple[list[float], list[float]]:
    """Return the best of nine thresholds and its F1 for each column of (N, units)."""
    chosen, scores = [], []
    for unit in range(probabilities.shape[1]):
        f1 = [f1_score(labels[:, unit], probabilities[:, unit] >= threshold, zero_division=0) for threshold in GRID]
        chosen.append(GRID[int(np.argmax(f1))])
        scores.append(float(max(f1)))
    return chosen, scores


def biases(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], float]:
    """Return biases of (N, classes), the first of them 0, and their macro F1: 41 values of each, three passes."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
    classes = list(range(logs.shape[1]))

    def score(tried: NDArray[np.float64]) -> float:
        said = (logs + tried).argmax(axis=1)
        return float(f1_score(labels, said, labels=classes, average="macro", zero_division=0))

    chosen = np.zeros(len(classes))
    highest = score(chosen)
    for _ in range(3):
        before = highest
        for index in classes[1:]:
            for value in sorted(BIASES, key=abs):
                tried = chosen.copy()
                tried[index] = value
                if (reached := score(tried)) > highest + 1e-12:
                    chosen, highest = tried, reached
        if highest == before:
            break
    return chosen, highest


def concordance(prediction: NDArray[np.floating], label: NDArray[np.floating]) -> float:
    """Return CCC of one column with population moments."""
    x, y = prediction.astype(np.float64), label.astype(np.float64)
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def valence_arousal_score(prediction: NDArray[np.float32], label: NDArray[np.float32]) -> float:
    """Return P_VA of (N, 2)."""
    return (concordance(prediction[:, 0], label[:, 0]) + concordance(prediction[:, 1], label[:, 1])) / 2


def expression_score(probabilities: NDArray[np.float32], label: NDArray[np.int64]) -> float:
    """Return P_EXPR of (N, 8)."""
    classes = list(range(probabilities.shape[1]))
    return float(f1_score(label, probabilities.argmax(axis=1), labels=classes, average="macro", zero_division=0))


def action_unit_score(probabilities: NDArray[np.float32], labels: NDArray[np.float32]) -> float:
    """Return P_AU of (N, 12) at 0.5."""
    units = range(probabilities.shape[1])
    return float(np.mean([f1_score(labels[:, u], probabilities[:, u] >= 0.5, zero_division=0) for u in units]))
