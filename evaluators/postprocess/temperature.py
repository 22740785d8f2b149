"""Temperatures: the numbers by which a task's logits are divided, so that its probabilities come true as often as said.

Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks (ICML 2017, arXiv 1706.04599), section
4.2: the temperature with the lowest negative log-likelihood of the labels. The action units have one for all twelve, of
their sigmoids. No temperature changes which expression is the most probable, or which units reach 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import Frames
from evaluators.postprocess.blending import EDGE, from_logits, to_logits
from evaluators.postprocess.settings import LEAST, MOST, TEMPERED, check_classes, read_stored
from evaluators.table import Table

Array: TypeAlias = NDArray[np.float64]

Temperatures: TypeAlias = float | Mapping[str, float] | str
"""One number, one by task, or a file that a search has stored."""

CHUNK: Final = 65536
"""Rows at a time, so that what is computed of them stays small."""


def resolve_temperatures(given: Temperatures | None) -> dict[str, float]:
    """Return temperatures by task from any of the accepted forms; none for None.

    Raises:
        UserError: not a number from ``LEAST`` to ``MOST``, a task that has no logits, or a file without them.
    """
    if isinstance(given, str):
        stored: dict[str, float] = read_stored(given, "temperature")
        return stored
    given = {} if given is None else given
    by_task = dict(given) if isinstance(given, Mapping) else dict.fromkeys(TEMPERED, given)
    for task, value in by_task.items():
        if task not in TEMPERED:
            raise UserError(f"postprocess.temperature: no task {task!r} has logits; {' and '.join(TEMPERED)} have")
        if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST <= value <= MOST:
            raise UserError(f"postprocess.temperature is {value!r}; give a number from {LEAST:g} to {MOST:g}")
    return {task: float(value) for task, value in by_task.items()}


def temperatures_of(given: Temperatures | None, table: Table) -> dict[str, float]:
    """Return the temperatures that a table gets, by task; a task that is not among those given keeps its probabilities.

    Raises:
        UserError: as ``resolve_temperatures``; or the table has none of these tasks, or other expressions than those
            that a stored temperature was searched on.
    """
    by_task = {task: value for task, value in resolve_temperatures(given).items() if task in table.tasks}
    if given is not None and not by_task:
        raise UserError(
            f"postprocess.temperature={given}: nothing in it is for {table.source}, which has "
            f"{', '.join(table.tasks)}: leave it out"
        )
    if isinstance(given, str) and "expression" in by_task:
        check_classes(given, table.expressions, table.source)
    return by_task


def search_temperatures(table: Table, frames: Frames) -> dict[str, float]:
    """Find the temperature of each task that has labels, over all frames alike; null rows are left out.

    Args:
        table: the predictions.
        frames: their labels.

    Raises:
        UserError: the table has neither expressions nor action units, or the list no label of those that it has.
    """
    tasks = [task for task in TEMPERED if task in table.tasks]
    if not tasks:
        raise UserError(f"postprocess.temperature=search: {table.source} has no expressions and no action units")
    keep, found = ~table.null, dict[str, float]()
    for task in tasks:
        values, labels = table.predictions[task][keep], getattr(frames, task)[keep]
        valid = labels >= 0  # neither -1 nor NaN
        if task == "action_units":
            values, labels = values[valid][:, None], labels[valid]  # one value a row: the units are alike here
        else:
            values, labels = values[valid], labels[valid]
        if len(labels):
            found[task] = fit_temperature(values, labels.astype(np.int64), task)
    if not found:
        raise _no_labels(tasks)
    return found


def check_search(frames: Frames) -> None:
    """Refuse a list on which no temperature can be searched, whatever is predicted.

    Raises:
        UserError: no label of an expression or an action unit.
    """
    if (frames.expression < 0).all() and np.isnan(frames.action_units).all():
        raise _no_labels(TEMPERED)


def _no_labels(tasks: Sequence[str]) -> UserError:
    return UserError(
        f"postprocess.temperature=search: this list has no label of {' or '.join(tasks)}; search on a split with "
        "labels and give the file that it stores"
    )


def fit_temperature(probabilities: NDArray[np.floating], labels: NDArray[np.int64], task: str) -> float:
    """Return the temperature with the lowest negative log-likelihood, which is convex in 1 / temperature.

    Newton's steps within a bracket. Labels that agree with every prediction are likeliest without any doubt, labels
    that contradict them with nothing but doubt: then it is ``LEAST``, or ``MOST``.

    Args:
        probabilities: (N, C) of expressions; (N, 1) of action units.
        labels: (N,) the class; 0 or 1 of an action unit.
        task: ``expression`` or ``action_units``.
    """
    low, high, beta = 1 / MOST, 1 / LEAST, 1.0
    if _slopes(probabilities, labels, task, low)[0] >= 0:
        return MOST
    if _slopes(probabilities, labels, task, high)[0] <= 0:
        return LEAST
    for _ in range(200):  # halving alone needs fewer
        slope, curvature = _slopes(probabilities, labels, task, beta)
        low, high = (low, beta) if slope > 0 else (beta, high)
        step = beta - slope / curvature if curvature > 0 else low
        step = step if low < step < high else math.sqrt(low * high)
        if abs(step - beta) <= 1e-12 * beta:
            break
        beta = step
    return 1 / step


def _slopes(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], task: str, beta: float
) -> tuple[float, float]:
    """Return first and second derivative of the negative log-likelihood of all rows, by 1 / temperature."""
    first = second = 0.0
    for start in range(0, len(labels), CHUNK):
        logits = _logits(probabilities[start : start + CHUNK], task)
        label = labels[start : start + CHUNK]
        likely = from_logits(logits * beta, task)
        if task == "expression":
            expected = (likely * logits).sum(axis=1)
            first += float((expected - logits[np.arange(len(label)), label]).sum())
            second += float(((likely * logits**2).sum(axis=1) - expected**2).sum())
        else:
            first += float(((likely[:, 0] - label) * logits[:, 0]).sum())
            second += float((likely * (1 - likely) * logits**2).sum())
    return first, second


def with_temperatures(table: Table, temperatures: Mapping[str, float]) -> Table:
    """Divide a table's logits; the same object comes back where there is no temperature."""
    if not temperatures:
        return table
    predictions = dict(table.predictions)
    for task, value in temperatures.items():
        logits = _logits(predictions[task], task)
        predictions[task] = from_logits(logits / value, task).astype(np.float32)
        if (key := f"logits_{task}") in predictions:
            predictions[key] = (predictions[key] / value).astype(np.float32)
    made = {**table.metadata, "temperature": dict(temperatures)}
    return replace(table, predictions=predictions, metadata=made, source=f"{table.source}, with temperatures")


def _logits(probabilities: NDArray[np.floating], task: str) -> Array:
    return to_logits(probabilities.astype(np.float64).clip(EDGE, 1 - EDGE), task)
