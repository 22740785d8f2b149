"""Biases of the expressions: numbers that are added to a row's logits before the largest one gives its class.

They are added to the logarithms of the probabilities, which are the logits up to a constant of the row, so they need no
logits. A table with biases shows softmax(log p + bias): its largest probability is the class that the row is given.
Adding one number to all biases changes nothing, so the first class keeps 0.

``search`` is exact along each coordinate: macro F1 is a step function of one bias, and all its steps are tried, class
by class, until a pass gains nothing. ``grid`` tries 41 values from -2 to 2 in three passes (the published one). Both
climb by one coordinate at a time and may stop at a local optimum; neither ends below where it starts, at no biases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import Frames
from evaluators.postprocess.blending import from_logits
from evaluators.postprocess.settings import check_classes, read_stored
from evaluators.table import Table

Array: TypeAlias = NDArray[np.float64]

Biases: TypeAlias = Sequence[float] | Mapping[str, float] | str
"""One number for each expression, numbers by name (0 for the others), a word of ``SEARCHES``, or a stored file."""

SEARCHES: Final = ("search", "grid")
"""The words that ask for a search on labels."""

GRID: Final = np.linspace(-2, 2, 41)
PASSES: Final = 3
MARGIN: Final = 1e-6
"""Least width of a step of F1 that is tried; within a narrower one, float32 cannot tell the classes apart."""

_LEAST: Final = 1e-30
_GAIN: Final = 1e-12  # a rounding error is no gain


def is_search(given: Any) -> bool:
    """Return whether a search is asked for."""
    return isinstance(given, str) and given in SEARCHES


def check_biases(given: Biases | None) -> None:
    """Refuse what is none of the forms, without knowing the expressions.

    Raises:
        UserError: not finite numbers, or a file without them.
    """
    if given is None or is_search(given):
        return
    if isinstance(given, str):
        read_stored(given, "expression_biases")
        return
    values = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(values, Sequence) or not all(
        type(value) in (int, float) and math.isfinite(value) for value in values
    ):
        raise UserError(
            f"postprocess.expression_biases is {given!r}; give a finite number for each expression, or by name, "
            "search, grid, or a postprocess.json"
        )


def biases_of(given: Biases | None, table: Table) -> dict[str, float]:
    """Return the biases of a table's expressions by name; none for None.

    Raises:
        UserError: as ``check_biases``; the table has no expressions, or others than those that are given.
    """
    if given is None:
        return {}
    _check_expressions(given, table)
    check_biases(given)
    if isinstance(given, str):
        check_classes(given, table.expressions, table.source)
        given = dict(read_stored(given, "expression_biases"))
    names = table.expressions
    if isinstance(given, Mapping):
        if unknown := [name for name in given if name not in names]:
            raise UserError(
                f"postprocess.expression_biases: no expression {unknown[0]!r}; there are {', '.join(names)}"
            )
        return {name: float(given.get(name, 0)) for name in names}
    if len(given) != len(names):
        raise UserError(
            f"postprocess.expression_biases: {len(given)} numbers; give {len(names)}, for {', '.join(names)}"
        )
    return dict(zip(names, map(float, given), strict=True))


def search_table(search: str, table: Table, frames: Frames) -> dict[str, float]:
    """Search the biases of a table on its labels; null rows and rows without a label are left out.

    Raises:
        UserError: no expressions, no label of one, or labels of one expression only.
    """
    _check_expressions(search, table)
    check_labels(search, frames)
    valid = ~table.null & (frames.expression >= 0)
    values = search_biases(search, table.predictions["expression"][valid], frames.expression[valid])
    return dict(zip(table.expressions, values.tolist(), strict=True))


def check_labels(search: str, frames: Frames) -> None:
    """Refuse a list on which no biases can be searched.

    Raises:
        UserError: no label of an expression, or the same label throughout.
    """
    kinds = np.unique(frames.expression[frames.expression >= 0])
    if len(kinds) < 2:
        what = "labels of one expression only" if len(kinds) else "no label of an expression"
        raise UserError(
            f"postprocess.expression_biases={search}: this list has {what}; search on a split with more, and give the "
            "file that it stores"
        )


def _check_expressions(given: Biases, table: Table) -> None:
    if "expression" not in table.predictions:
        raise UserError(f"postprocess.expression_biases={given}: {table.source} has no expressions; leave it out")


def with_biases(table: Table, biases: Mapping[str, float]) -> Table:
    """Add biases to a table's logits; the same object comes back where there are none."""
    if not biases:
        return table
    added = np.array([biases[name] for name in table.expressions])
    predictions = dict(table.predictions)
    predictions["expression"] = from_logits(_logs(predictions["expression"]) + added, "expression").astype(np.float32)
    if "logits_expression" in predictions:
        predictions["logits_expression"] = (predictions["logits_expression"] + added).astype(np.float32)
    made = {**table.metadata, "expression_biases": dict(biases)}
    return replace(table, predictions=predictions, metadata=made, source=f"{table.source}, with biases")


def search_biases(search: str, probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Array:
    """Find biases with a high macro F1 on these rows: a local optimum along the coordinates.

    Args:
        search: ``search`` or ``grid``.
        probabilities: (N, C), without NaN.
        labels: (N,) from 0 to C - 1.

    Returns:
        (C,) float64, the first of them 0.
    """
    logs = _logs(probabilities)
    biases = np.zeros(logs.shape[1])
    highest = macro_f1(logs, labels)
    done = 0
    while True:
        before, done = highest, done + 1
        for index in range(1, len(biases)):
            others = biases.copy()
            others[index] = 0
            change, scores = _changes(logs + others, labels, index)
            if search == "grid":
                tried, scores = GRID, scores[np.searchsorted(change, GRID)]
            else:
                tried, scores = _wide(change, scores)
            best = float(scores.max(initial=-1.0))
            if best > highest + _GAIN:
                equal = tried[scores >= best - _GAIN]
                others[index] = equal[np.argmin(np.abs(equal))]
                # as the rows are decided: a value of the grid may hit a change itself
                if (reached := macro_f1(logs + others, labels)) > highest + _GAIN:
                    biases, highest = others, reached
        if highest <= before + _GAIN or (search == "grid" and done == PASSES):
            return biases


def steps(logs: Array, labels: NDArray[np.int64], index: int) -> tuple[Array, Array]:
    """Return every step of macro F1 as a function of one bias: a value on it, and the score.

    Args:
        logs: (N, C) with the other biases added.
        labels: (N,) the classes.
        index: whose bias it is.

    Returns:
        (S,) values: 0 where the step holds it, else its middle, or 1 beyond the last change; and (S,) macro F1.
    """
    return _wide(*_changes(logs, labels, index))


def _changes(logs: Array, labels: NDArray[np.int64], index: int) -> tuple[Array, Array]:
    """Return the biases at which a row changes to the class, sorted (N,), and macro F1 between them (N + 1,).

    A row changes where its bias passes the distance to the largest of the others. Sorted, counts of predictions and of
    hits follow by cumulative sums. Of another class, only the rows that leave it are counted.
    """
    rows, classes = logs.shape
    rest = logs.copy()
    rest[:, index] = -np.inf
    rival = rest.argmax(axis=1).astype(np.int32)
    change = rest[np.arange(rows), rival] - logs[:, index]
    order = np.argsort(change)
    change, rival, label = change[order], rival[order], labels[order]
    hit = label == rival
    positives = np.bincount(labels, minlength=classes)
    said = np.arange(rows + 1, dtype=np.int32)
    total = _f1(np.append(0, np.cumsum(label == index, dtype=np.int32)), said, int(positives[index]))
    for one in range(classes):
        if one == index:
            continue
        at = np.flatnonzero(rival == one)
        hits = np.append(0, np.cumsum(hit[at], dtype=np.int32))
        of_class = _f1(hits[-1] - hits, len(at) - said[: len(at) + 1], int(positives[one]))
        total += np.repeat(of_class, np.diff(np.concatenate([[-1], at, [rows]])))
    return change, total / classes


def _f1(hits: NDArray[np.int32], said: NDArray[np.int32], positives: int) -> Array:
    under = said + positives
    scores: Array = np.divide(2 * hits, under, out=np.zeros(len(hits)), where=under > 0)
    return scores


def _wide(change: Array, scores: Array) -> tuple[Array, Array]:
    """Return the steps that are wide enough: a value on each, and its score."""
    low, high = np.append(-np.inf, change), np.append(change, np.inf)
    wide = high - low > MARGIN
    low, high, scores = low[wide], high[wide], scores[wide]
    with np.errstate(invalid="ignore"):
        values = (low + high) / 2
    values = np.where(np.isinf(low), high - 1, np.where(np.isinf(high), low + 1, values))
    values = np.where((low < -MARGIN / 2) & (high > MARGIN / 2), 0.0, values)
    return values, scores


def macro_f1(logs: Array, labels: NDArray[np.int64]) -> float:
    """Return the mean F1 over all columns of the largest of each row; a class without any counts 0."""
    classes, said = logs.shape[1], logs.argmax(axis=1)
    hits = np.bincount(labels[said == labels], minlength=classes)
    under = np.bincount(said, minlength=classes) + np.bincount(labels, minlength=classes)
    return float(np.divide(2 * hits, under, out=np.zeros(classes), where=under > 0).mean())


def _logs(probabilities: NDArray[np.floating]) -> Array:
    logs: Array = np.log(np.maximum(probabilities.astype(np.float64), _LEAST))
    return logs
