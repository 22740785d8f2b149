"""Fill the predictions of videos of which no image could be read with the means of the training labels.

Checkpoints and tables carry these means. A class gets its share of the labels, so that the most probable expression is
the most frequent one, and an action unit is positive where its share reaches the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import DataError, UserError
from affect.frames import Frames, class_shares, column_means, video_numbers
from affect.labels import EXPRESSION_LISTS, TASKS, label_names
from evaluators.table import Table, some_rows

LabelMeans: TypeAlias = dict[str, list[float]]
"""By task: means of valence and arousal, the share of each expression, the share of positive labels of each unit."""

KNOWN: Final = "label_means"
"""Their key in checkpoints and in the metadata of tables."""

GIVEN: Final = "fallback"
"""Key of the values of ``postprocess.fallback`` in the metadata of a table; these take precedence."""

UNSEEN: Final = "unseen"
"""Key of what was filled in, in the metadata of a table."""

EDGE: Final = 1e-6
"""Shares are kept this far from 0 and 1 where logits are computed from them."""


def label_means(labels: Frames, rows: NDArray[np.int64], expressions: Sequence[str]) -> LabelMeans:
    """Average the valid labels of the rows that are trained on.

    A task without any gets 0 and 0, equal shares, or 0: nothing is learnt of it either.
    """
    shares = class_shares(labels.expression[rows], len(expressions))
    return {
        "valence_arousal": np.nan_to_num(column_means(labels.valence_arousal[rows])).tolist(),
        "expression": np.nan_to_num(shares, nan=1 / len(shares)).tolist(),
        "action_units": np.nan_to_num(column_means(labels.action_units[rows])).tolist(),
    }


def checked_means(means: Any, expressions: Sequence[str]) -> LabelMeans:
    """Check means of any number of tasks that come from a file or a command line.

    Raises:
        ValueError: another task, another number of values than the task has columns, or one out of its range.
    """
    if not isinstance(means, Mapping):
        raise ValueError(f"it is of type {type(means).__name__}, not values by task")
    columns = {task: len(names) for task, names in label_names(expressions).items()}
    for task, values in means.items():
        if task not in columns:
            raise ValueError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
        least = -1 if task == "valence_arousal" else 0
        if not isinstance(values, list) or len(values) != columns[task]:
            raise ValueError(f"{task} is {str(values)[:80]}, not {columns[task]} numbers")
        if not all(type(value) in (int, float) and least <= value <= 1 for value in values):
            raise ValueError(f"{task} has values that are no numbers from {least} to 1: {str(values)[:80]}")
    return {task: [float(value) for value in values] for task, values in means.items()}


def resolve_fallback(given: Any, expressions: Sequence[str]) -> LabelMeans:
    """Return values by task from ``postprocess.fallback``: a list, one number for all columns, or an expression's name.

    Raises:
        UserError: anything else.
    """
    if given is None:
        return {}
    values = dict(given) if isinstance(given, Mapping) else given
    for task, names in label_names(expressions).items() if isinstance(values, dict) else ():
        value = values.get(task)
        if task != "expression" and type(value) in (int, float):
            values[task] = [value] * len(names)
        elif task == "expression" and value in names:
            values[task] = [float(name == value) for name in names]
    try:
        return checked_means(values, expressions)
    except ValueError as error:
        raise UserError(f"postprocess.fallback: {error}. For example {_example(TASKS, expressions)}") from error


def check_fallback(given: Any) -> None:
    """Check ``postprocess.fallback`` before it is known which expressions there are.

    Raises:
        UserError: it fits none of the class lists.
    """
    errors = []
    for expressions in EXPRESSION_LISTS:
        try:
            resolve_fallback(given, expressions)
        except UserError as error:
            errors.append(error)
        else:
            return
    raise errors[0]


def with_fallback(table: Table, given: Any) -> Table:
    """Return the table with the values of ``postprocess.fallback`` in its metadata."""
    return replace(table, metadata={**table.metadata, GIVEN: resolve_fallback(given, table.expressions)})


def mean_of_means(tables: Sequence[Table]) -> dict[str, Any]:
    """Average the label means of the tables that know some, for the metadata of their blend."""
    found = {}
    for key in (KNOWN, GIVEN):
        means = [checked for table in tables if (checked := _means_in(table, key))]
        tasks = [task for task in TASKS if any(task in one for one in means)]
        if tasks:
            found[key] = {task: np.mean([one[task] for one in means if task in one], axis=0).tolist() for task in tasks}
    return found


def fill_unseen(table: Table) -> Table:
    """Fill all rows of the videos without any prediction, and name them in the metadata.

    Returns:
        The same object where there is no such video.

    Raises:
        DataError: the values to fill in are not known.
    """
    if not (null := table.null).any():
        return table
    video = video_numbers(table.video)
    rows = ~np.isin(video, video[~null])
    if not rows.any():
        return table
    known, given = _means_in(table, KNOWN), _means_in(table, GIVEN)
    values = {**known, **given}
    name = table.video[int(np.flatnonzero(rows)[0])]
    if missing := [task for task in table.tasks if task not in values]:
        of_video = np.flatnonzero([one == name for one in table.video])
        what = f"{table.source}: video {name!r} has no prediction at all ({some_rows(of_video)})"
        raise unknown_means(what, missing, table.expressions)
    predictions = {}
    for key, of_key in table.predictions.items():
        predictions[key] = of_key.copy()
        predictions[key][rows] = _answer(values, key)
    videos = list(dict.fromkeys(table.video[row] for row in np.flatnonzero(rows).tolist()))
    source = "postprocess.fallback" if set(table.tasks) <= set(given) else "the means of the training labels"
    said = {"videos": videos, "rows": int(rows.sum()), "filled_with": source}
    return replace(table, predictions=predictions, metadata={**table.metadata, UNSEEN: said})


def unseen_note(table: Table) -> str:
    """Say in a line what ``fill_unseen`` did to a table; empty where it did nothing."""
    said = table.metadata.get(UNSEEN)
    if not isinstance(said, Mapping) or not isinstance(videos := said.get("videos"), list):
        return ""
    more = f" and {len(videos) - 5} more" if len(videos) > 5 else ""
    return (
        f"no image of {', '.join(map(str, videos[:5]))}{more} could be read: all {said.get('rows')} rows of "
        f"{'this video' if len(videos) == 1 else f'these {len(videos)} videos'} have {said.get('filled_with')}"
    )


def _means_in(table: Table, key: str) -> LabelMeans:
    try:
        return checked_means(table.metadata.get(key, {}), table.expressions)
    except ValueError as error:
        raise DataError(f"{table.source}: {key} in its metadata is damaged: {error}; predict again") from error


def _answer(values: LabelMeans, key: str) -> NDArray[np.float64]:
    """Return the (columns,) values of one entry of ``Predictions``."""
    shares = np.array(values[key.removeprefix("logits_")])
    if key in TASKS:
        return shares
    shares = shares.clip(EDGE, 1 - EDGE)
    logits: NDArray[np.float64] = np.log(shares / (1 - shares)) if key == "logits_action_units" else np.log(shares)
    return logits


def unknown_means(what: str, tasks: Sequence[str], expressions: Sequence[str]) -> DataError:
    """Return the error that nothing is known to fill a video with; ``what`` says which video."""
    return DataError(
        f"{what}, and the means of the training labels, which would stand in for it, are not known: the checkpoint is "
        f"of an earlier version, or of no training. Say what stands in: {_example(tasks, expressions)}"
    )


def _example(tasks: Sequence[str], expressions: Sequence[str]) -> str:
    """Write an example of the key, in quotes for a shell."""
    name = "neutral" if "neutral" in expressions else expressions[0]
    values = {"valence_arousal": 0, "expression": name, "action_units": 0}
    return f"'postprocess.fallback={{{', '.join(f'{task}: {values[task]}' for task in tasks)}}}'"
