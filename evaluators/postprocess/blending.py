"""Blend several prediction tables of one list: a weighted mean, with given or searched weights, through a gate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import DataError, UserError
from affect.frames import FloatArray, Frames
from affect.labels import TASKS
from evaluators.postprocess.gating import CONFIDENCE, Array, averaged, check_gate, pass_gate, take_confident
from evaluators.postprocess.settings import one_of, read_stored
from evaluators.postprocess.thresholds import SEARCHES, Thresholds, search_thresholds
from evaluators.postprocess.unseen import mean_of_means
from evaluators.table import Table, check_same_list

Weights: TypeAlias = Sequence[float] | Mapping[str, Sequence[float]] | str | None
"""One weight per table, or such a list for each task, or the file of a search, or None for equal weights."""

SPACES: Final = ("probabilities", "logits", "raw")
"""What is averaged; valence and arousal are always averaged as they are."""

STEPS: Final = 10
"""The search tries weights of 0, 0.1, … 1, as the published EmotiEffNet notebook does."""

EDGE: Final = 1e-7
"""Probabilities are kept this far from 0 and 1 where logits are computed from them."""

CHUNK: Final = 2048
"""Rows at a time: twelve columns of float64 then stay in a core's cache."""

Blending: TypeAlias = Callable[[Sequence[float]], FloatArray]
"""Takes the weights of the tables and returns the blend of one task."""


def blend(
    tables: Sequence[Table],
    weights: Weights = None,
    *,
    space: str = "probabilities",
    gate: str | None = None,
    confidence: float = CONFIDENCE,
) -> Table:
    """Average tables row by row, with weights; equal weights give the ensembles of EMMA's Table 5.

    A row that is null in some tables is the mean of the others, by their weights, and null only where it is null in all
    that have a weight. Logits are left out: those of a mean are not the mean of the logits.

    Args:
        tables: at least one; a single one is returned as it is.
        weights: not negative; they are divided by their sum.
        space: ``probabilities``; or ``logits``: expressions and action units become the softmax and the sigmoid of the
            mean of their logits, which are computed from the probabilities (so that any table has them). ``raw`` is
            EmotiEffNet's sum of scales that do not match: tables with logits of the expressions enter with these, the
            others with their probabilities. One shift and one scale for all rows then bring the table from its smallest
            and largest sum to [0, 1]: rows do not add up to 1, but up to rounding their argmax is that of the sums,
            also after a smoothing, since means and medians move along. All else is as in ``probabilities``.
        gate: None, or a rule of ``evaluators.postprocess.gating``; expressions have no weights under ``confidence``.
        confidence: probability above which the rule ``confidence`` takes the second table's expression.

    Raises:
        DataError: no table, tables of different lists, or with predictions of different tasks or expressions.
        UserError: weights or a gate that do not fit the tables, an unknown space, or no logits for ``raw``.
    """
    check_tables(tables, space, gate)
    first = tables[0]
    tasks = averaged(first.tasks, gate)
    if weights is not None and not tasks:
        raise UserError("postprocess.weights: gate=confidence has none of expressions, all there is; leave it out")
    shares = resolve_weights(weights, len(tables), tasks)
    if len(tables) == 1:
        return first
    equal = all(len(set(of_task)) == 1 for of_task in shares.values())
    blended = Table(
        video=first.video,
        frame=first.frame,
        image=first.image,
        predictions={task: np.ascontiguousarray(_blending(tables, task, space, gate)(shares[task])) for task in tasks},
        expressions=first.expressions,
        metadata={
            "label_files": dict(first.files),
            "mean_of": [dict(table.metadata) for table in tables],
            **mean_of_means(tables),
            **({} if equal else {"weights": {task: list(of_task) for task, of_task in shares.items()}}),
            **({} if space == "probabilities" else {"mean_in": space}),
            **({} if gate is None else {"gate": gate}),
        },
        source=f"the mean of {', '.join(table.source for table in tables)}",
        found=first.found,
    )
    return take_confident(blended, tables, confidence) if gate == "confidence" else blended


def resolve_weights(weights: Weights, tables: int, tasks: Sequence[str] | None = None) -> dict[str, tuple[float, ...]]:
    """Return weights by task that add up to 1, from any of the accepted forms.

    Args:
        weights: in any of the accepted forms.
        tables: how many tables there are.
        tasks: the tasks that need weights; None for those that have some.

    Raises:
        UserError: another number of weights than of tables, a negative one, only zeros, or a task without any.
    """
    where = "postprocess.weights"
    if isinstance(weights, str):
        where, weights = weights, read_stored(weights, "weights")
    if tasks is None:
        tasks = list(weights) if isinstance(weights, Mapping) else TASKS
    if weights is None:
        return {task: (1 / tables,) * tables for task in tasks}
    by_task = dict(weights) if isinstance(weights, Mapping) else dict.fromkeys(tasks, weights)
    unknown = [task for task in by_task if task not in TASKS]
    missing = [task for task in tasks if task not in by_task]
    if unknown or missing:
        problem = f"there is no task {unknown[0]!r}" if unknown else f"no weights of {', '.join(missing)}"
        raise UserError(f"{where}: {problem}; give one list for all tasks, or one for each")
    shares = {}
    for task in tasks:
        given = np.asarray(by_task[task], dtype=np.float64)
        if given.shape != (tables,):
            raise UserError(f"{where}: {given.size} weights of {tables} tables; give one a table")
        if not (given >= 0).all() or not 0 < given.sum() < np.inf:  # also catches NaN
            raise UserError(f"{where}: {given.tolist()}; give numbers >= 0 that are not all 0")
        shares[task] = tuple((given / given.sum()).tolist())
    return shares


def search_weights(
    tables: Sequence[Table],
    frames: Frames,
    *,
    space: str = "probabilities",
    au_thresholds: Thresholds = 0.5,
    gate: str | None = None,
) -> dict[str, tuple[float, ...]]:
    """Find the weights with which each task's blend scores highest on these labels, in P_VA, P_EXPR or P_LSD, P_AU.

    With two or three tables, all weights in steps of 0.1 are tried. With more, starting from equal weights, the weight
    of one table after the other is set to the best of 0, 0.1, … 1, while the others share the rest as before, until
    nothing gets better. Of equal scores the most even weights win. Scores on the same rows flatter.

    Args:
        tables: two or more.
        frames: the list with labels.
        space: what is averaged: ``probabilities``, ``logits`` or ``raw``, as ``blend`` does it.
        au_thresholds: thresholds of the action units; ``exact`` or ``grid`` searches them for every blend.
        gate: None, or the rule through which expressions pass before they are scored; they have no weights under
            ``confidence``.

    Raises:
        DataError: no table, tables of different lists, or with predictions of different tasks or expressions.
        UserError: settings that do not fit the tables; only one table; or a task of the tables without a label.
    """
    check_tables(tables, space, gate)
    check_same_list([*tables, frames])
    if len(tables) < 2:
        raise UserError("postprocess.weights=search needs two tables or more: predictions=[a.parquet,b.parquet]")
    found = {}
    frames = replace(frames, action_units=np.asfortranarray(frames.action_units))  # as thresholds are searched
    for task in averaged(tables[0].tasks, gate):
        of_weights = _blending(tables, task, space, gate)

        def score(shares: tuple[float, ...], task: str = task, of_weights: Blending = of_weights) -> float:
            return _score(of_weights(shares), task, frames, tables[0].expressions, au_thresholds)

        if len(tables) <= 3:
            found[task] = max(_simplex(len(tables)), key=score)  # the first of equals
        else:
            found[task] = _search_coordinates(score, len(tables))
    return found


def check_tables(tables: Sequence[Table], space: str = "probabilities", gate: str | None = None) -> None:
    """Refuse tables and settings that cannot be blended, before anything is computed.

    Raises:
        DataError: no table, tables of different lists, or with predictions of different tasks or expressions.
        UserError: an unknown space, no logits for ``raw``, or what a gate cannot be applied to.
    """
    one_of("blend", space, SPACES)
    if not tables:
        raise DataError("nothing to average: give at least one prediction table")
    check_same_list(tables)
    first = tables[0]
    for other in tables[1:]:
        if (first.tasks, first.expressions) != (other.tasks, other.expressions):
            raise DataError(
                f"{first.source} has {', '.join(first.tasks)}, {other.source} has {', '.join(other.tasks)}, or their "
                "expression classes differ; average tables with the same columns"
            )
    if space == "raw" and not any("logits_expression" in table.predictions for table in tables):
        raise UserError(
            "postprocess.blend=raw: none of the tables has logits of expressions (logit_expr_<name>): use probabilities"
        )
    if gate is not None:
        check_gate(gate, tables)


def _blending(tables: Sequence[Table], task: str, space: str, gate: str | None) -> Blending:
    """Return the function from weights to the blend of a task; what does not depend on them is computed once."""
    arrays, raw = [_enter(table, task, space) for table in tables], space == "raw"
    holes = np.flatnonzero(np.any([np.isnan(array).any(axis=1) for array in arrays], axis=0))
    changed = space == "logits" or (task == "expression" and (raw or gate is not None))
    if task == "action_units":
        arrays = [np.asfortranarray(array) for array in arrays]  # as thresholds are searched: unit by unit

    def blending(weights: Sequence[float]) -> FloatArray:
        values: Any = _mean(arrays, weights, holes, np.float64 if changed else np.float32)
        values = from_logits(values, task) if space == "logits" else values
        if task == "expression":
            if gate is not None:
                head = tables[0].predictions[task]
                values = pass_gate(gate, values, head, arrays[0] if raw else head, raw=raw)
            values = _into_range(values) if raw else values
        blended: FloatArray = values.astype(np.float32, copy=False)
        return blended

    return blending


def _enter(table: Table, task: str, space: str) -> NDArray[np.floating]:
    """Transform a table's predictions of a task into the space in which they are averaged."""
    if space == "raw" and task == "expression" and "logits_expression" in table.predictions:
        task = "logits_expression"
    values = table.predictions[task]
    if space != "logits" or task == "valence_arousal":
        return values
    return to_logits(values.astype(np.float64).clip(EDGE, 1 - EDGE), task)


def to_logits(values: Array, task: str) -> Array:
    """Return the logits of (N, columns) probabilities between 0 and 1; valence and arousal as they are."""
    if task == "valence_arousal":
        return values
    # logarithms of a softmax are its logits up to a constant per row, which the next softmax removes
    logits: Array = np.log(values) if task == "expression" else np.log(values / (1 - values))
    return logits


def from_logits(values: Array, task: str) -> Array:
    """Return the probabilities of (N, columns) logits; valence and arousal as they are."""
    if task == "expression":
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    elif task == "action_units":
        with np.errstate(over="ignore"):  # to infinity, whose inverse is 0
            values = 1 / (1 + np.exp(-values))
    return values


def _mean(
    arrays: Sequence[NDArray[np.floating]], weights: Sequence[float], holes: NDArray[np.intp], kind: type[np.floating]
) -> NDArray[np.floating]:
    """Average the arrays that have a value, with weights, in float64; NaN where none has one.

    Args:
        arrays: (N, columns) each.
        weights: of the arrays.
        holes: rows in which one of them may have none.
        kind: of what is returned.
    """
    mean, whole = np.empty_like(arrays[0], dtype=kind), sum(weights)
    used = [(array, weight) for array, weight in zip(arrays, weights, strict=True) if weight]
    for start in range(0, len(mean), CHUNK):
        total = np.zeros_like(mean[start : start + CHUNK], dtype=np.float64)
        for array, weight in used:
            part = array[start : start + CHUNK].astype(np.float64)
            part *= weight
            total += part
        mean[start : start + CHUNK] = total if whole == 1 else total / whole
    total, weight_sum = np.zeros((len(holes), mean.shape[1])), np.zeros((len(holes), mean.shape[1]))
    for array, weight in zip(arrays, weights, strict=True):
        total += weight * np.nan_to_num(array[holes].astype(np.float64), nan=0.0)
        weight_sum += weight * ~np.isnan(array[holes])
    mean[holes] = np.divide(total, weight_sum, out=np.full(total.shape, np.nan), where=weight_sum > 0)
    return mean


def _into_range(sums: Array) -> Array:
    """Shift and scale all sums alike to [0, 1], the range of tables; all become 0 where they are the same."""
    known = sums[~np.isnan(sums)]
    low, high = float(known.min(initial=np.inf)), float(known.max(initial=-np.inf))
    return (sums - low) / (high - low if high > low else 1)


def _score(
    values: FloatArray,
    task: str,
    frames: Frames,
    expressions: Sequence[str],
    au_thresholds: Thresholds,
) -> float:
    keep: NDArray[np.bool_] | None = ~np.isnan(values @ np.ones(values.shape[1], dtype=values.dtype))
    if np.all(keep):
        keep = None
    if task == "action_units" and isinstance(au_thresholds, str) and au_thresholds in SEARCHES:
        units = frames.action_units if keep is None else np.where(keep[:, None], frames.action_units, np.float32("nan"))
        found = float(search_thresholds(au_thresholds, values, units)[1].mean())
        score = found if found or (~np.isnan(units)).any() else None
    else:
        from evaluators.predictions import score_rows  # with torch, which predict.py may be without

        thresholds = au_thresholds if task == "action_units" else 0.5
        predicted = {task: values if keep is None else values[keep]}
        score = score_rows(predicted, frames, keep, expressions=expressions, au_thresholds=thresholds)["SCORE"]
    if score is None:
        raise UserError(f"postprocess.weights=search: this list has no label of {task}; give the weights")
    return score


def _simplex(tables: int) -> Iterator[tuple[float, ...]]:
    """Yield all weights on a grid of steps that add up to 1, the most even first."""
    grid = [counts for counts in product(range(STEPS + 1), repeat=tables) if sum(counts) == STEPS]
    for counts in sorted(grid, key=lambda counts: (sum(count**2 for count in counts), counts)):
        yield tuple(count / STEPS for count in counts)


def _search_coordinates(score: Callable[[tuple[float, ...]], float], tables: int) -> tuple[float, ...]:
    best = (1 / tables,) * tables
    highest, before = score(best), -np.inf
    while highest > before:
        before = highest
        for index in range(tables):
            for step in range(STEPS + 1):
                tried = _with_weight(best, index, step / STEPS)
                # a rounding error is no improvement, and could go on for ever
                if (reached := score(tried)) > highest + 1e-12:
                    best, highest = tried, reached
    return best


def _with_weight(weights: tuple[float, ...], index: int, weight: float) -> tuple[float, ...]:
    """Set one of the weights; the others share the rest as before, or evenly where they had none."""
    others = sum(weights) - weights[index]
    rest = [value / others if others > 1e-12 else 1 / (len(weights) - 1) for value in weights]
    return tuple(weight if at == index else (1 - weight) * value for at, value in enumerate(rest))
