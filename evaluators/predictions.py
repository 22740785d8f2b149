"""Merge the predictions of one or many processes into one table, and score a table.

Every process writes its rows with ``PredictionWriter``; on rank 0, ``merge_parts`` makes the table.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from torch import Tensor

from affect.batch import Predictions
from affect.errors import DataError
from affect.frames import FloatArray, Frames, IntArray
from affect.labels import EXPRESSIONS
from evaluators.metrics import AffectScores
from evaluators.names import Scores
from evaluators.parquet import open_parquet, write_parquet
from evaluators.postprocess.thresholds import Thresholds
from evaluators.table import (
    Table,
    check_range,
    check_same_list,
    column_names,
    from_columns,
    known_columns,
    some_rows,
    table_of_rows,
    to_columns,
    write_table,
)

CHUNK: Final = 16384
"""Rows that are scored at a time: what is computed of them then stays in a core's cache."""


class PredictionWriter:
    """Collects the predictions of one process and writes them as its part of a table.

    Args:
        folder: where the table will be; parts go to ``<folder>/.parts``.
        rank: number of this process.
        expressions: class names of the expression scores, in label order.
    """

    def __init__(self, folder: str | Path, rank: int = 0, *, expressions: Sequence[str] = EXPRESSIONS) -> None:
        self.path = _part_path(folder, rank)
        self.expressions = tuple(expressions)
        self._rows: list[IntArray] = []
        self._values: dict[str, list[FloatArray]] = {}
        self._unreadable: list[IntArray] = []

    def add(self, rows: Tensor, predictions: Predictions, unreadable: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            rows: row numbers in the split's list, (B,) where the predictions do not say by ``row`` of which they are.
            predictions: predictions of these rows, of at least one task.
            unreadable: (U,) numbers of further rows, whose image could not be read.

        Raises:
            DataError: a prediction is not finite or out of range, has other columns, or the tasks change.
        """
        if unreadable is not None:
            self._unreadable.append(_array(unreadable, np.int64))
        numbers = _array(predictions.get("row", rows), np.int64)
        if not len(numbers):
            return
        values = {
            key: _array(value, np.float32)
            for key, value in predictions.items()
            if isinstance(value, Tensor) and key != "row"
        }
        if self._values and set(values) != set(self._values):
            raise DataError(f"predictions change from {sorted(self._values)} to {sorted(values)} between batches")
        for key, value in values.items():
            expected = (len(numbers), len(column_names(key, self.expressions)))
            if value.shape != expected:
                raise DataError(f"{key}: predictions have shape {value.shape}, expected {expected}")
            bad = ~np.isfinite(value).all(axis=1)
            if bad.any():
                raise DataError(f"{key}: not finite in {some_rows(numbers[bad])}; the network has diverged")
            check_range(key, value, self.path.name)
            self._values.setdefault(key, []).append(value)
        self._rows.append(numbers)

    def finish(self) -> Path:
        """Write the part, beside its name first: a part that exists is complete. Every process must call this."""
        rows, unreadable = _concatenate(self._rows), _concatenate(self._unreadable)
        columns = {"row": pa.array(np.concatenate([rows, unreadable]))}
        for key, batches in self._values.items():
            values = np.concatenate(batches)
            nulls = np.full((len(unreadable), values.shape[1]), np.nan, dtype=np.float32)
            columns |= to_columns(key, np.concatenate([values, nulls]), self.expressions)
        write_parquet(pa.table(columns), self.path)
        return self.path


def merge_parts(
    folder: str | Path,
    frames: Frames,
    destination: str | Path,
    metadata: Mapping[str, Any],
    *,
    world_size: int | None = None,
) -> Path:
    """Put the parts of all processes together into one table; call it on rank 0, after all have finished.

    Args:
        folder: the folder that the part writers were given.
        frames: the split's list, whose rows 0..N-1 must each be there once.
        destination: the table to write, which is replaced as a whole or not at all.
        metadata: what made the table (experiment, checkpoint_sha256, split, renderer_version ...), JSON values. Schema
            version and label-file hashes are added here.
        world_size: how many processes wrote. Parts of other ranks, left by an earlier run that was killed, are then
            ignored; without it, every part in the folder counts.

    Returns:
        ``destination``.

    Raises:
        DataError: a part is missing, a row is missing, there twice or not in the list, or parts hold different tasks.
    """
    parts = _parts_folder(folder)
    paths = sorted(parts.glob("part-*.parquet"))
    if world_size is not None:
        paths = [_part_path(folder, rank) for rank in range(world_size)]
    tables = {path: open_parquet(path) for path in paths}
    if not tables:
        raise DataError(f"{parts}: no part to merge; run the prediction first")
    rows = np.concatenate([table["row"].to_numpy() for table in tables.values()])
    _check_rows(rows, len(frames.frame), parts)
    # A process that met only unreadable images does not know the columns: its rows become nulls.
    having = {path: set(table.column_names) for path, table in tables.items() if len(table.column_names) > 1}
    if not having:
        raise DataError(f"{parts}: none of the {len(rows)} images could be read; check the data root")
    names = dict.fromkeys(name for path in having for name in tables[path].column_names)
    expressions, keys = known_columns(list(names), str(parts))
    predictions = {}
    for key in keys:
        wanted = column_names(key, expressions)
        for path, present in having.items():
            if not present.issuperset(wanted):
                raise DataError(f"{path}: no {key}, which other parts have; delete {parts} and predict again")
        predictions[key] = np.concatenate([from_columns(table, wanted, str(path)) for path, table in tables.items()])
    write_table(table_of_rows(frames, rows, predictions, metadata, str(destination), expressions), destination)
    shutil.rmtree(parts)
    return Path(destination)


def score_table(
    table: Table, frames: Frames, *, au_thresholds: Thresholds = 0.5, only: NDArray[np.bool_] | None = None
) -> Scores:
    """Score a table with the same metrics that training uses; null rows are left out.

    To score every listed frame, fill the table first (``evaluators.postprocess.filling.fill_nulls``).

    Args:
        table: the predictions.
        frames: the labels.
        au_thresholds: one number, twelve, ``published``, or the file of a search.
        only: (N,) the rows to score, by default all.

    Raises:
        DataError: the table is not of this list.
    """
    check_same_list([table, frames])
    keep = ~table.null if only is None else ~table.null & only
    predictions = {task: table.predictions[task][keep] for task in table.tasks}
    return score_rows(predictions, frames, keep, expressions=table.expressions, au_thresholds=au_thresholds)


def score_rows(
    predictions: Mapping[str, NDArray[np.floating]],
    frames: Frames,
    keep: NDArray[np.bool_] | None = None,
    *,
    expressions: Sequence[str] = EXPRESSIONS,
    au_thresholds: Thresholds = 0.5,
) -> Scores:
    """Score the predictions of some rows of a list.

    Args:
        predictions: by task, arrays (rows, columns) without NaN.
        frames: the labels of all rows.
        keep: (N,) true for the rows that have a prediction; None: all have one.
        expressions: class names, in label order.
        au_thresholds: one number, twelve, ``published``, or the file of a search.
    """
    scores = AffectScores(
        tuple(predictions),
        expressions=expressions,
        au_thresholds=au_thresholds,
        sync_on_compute=False,  # the table is whole, and only rank 0 scores it
    )
    rows = None if keep is None or keep.all() else np.flatnonzero(keep)
    for start in range(0, len(frames.frame) if rows is None else len(rows), CHUNK):
        chunk = slice(start, start + CHUNK)
        index = chunk if rows is None else rows[chunk]
        part: Any = {task: torch.from_numpy(values[chunk]) for task, values in predictions.items()}
        labels: Any = {task: torch.from_numpy(getattr(frames, task)[index]) for task in predictions}
        scores.update(part, labels)
    return scores.compute()


def _parts_folder(folder: str | Path) -> Path:
    return Path(folder) / ".parts"


def _part_path(folder: str | Path, rank: int) -> Path:
    return _parts_folder(folder) / f"part-{rank:05d}.parquet"


def _array(values: Tensor, dtype: type[Any]) -> NDArray[Any]:
    # float() first: NumPy has no bfloat16.
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy().astype(dtype)


def _concatenate(arrays: list[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *arrays])


def _check_rows(rows: IntArray, length: int, folder: Path) -> None:
    fix = f"delete {folder} and predict again"
    outside = rows[(rows < 0) | (rows >= length)]
    if len(outside):
        raise DataError(f"{folder}: {some_rows(outside)} not in the list of {length} rows; {fix}")
    counts = np.bincount(rows, minlength=length)
    for problem, wrong in (("missing", counts == 0), ("there more than once", counts > 1)):
        if wrong.any():
            raise DataError(f"{folder}: {problem}: {some_rows(np.flatnonzero(wrong))} of {length}; {fix}")
