"""Several prediction tables of one list into one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evaluators.metrics import TASKS
from evaluators.table import FloatArray, Table, TableError, check_same_list


def average(tables: Sequence[Table]) -> Table:
    """The mean of probabilities and of valence/arousal, row by row: the ensembles of EMMA's Table 5.

    A row that is null in some tables is the mean of the others, and null only where it is null in all. Logits are left
    out: those of a mean are not the mean of the logits.

    Raises:
        TableError: no table, tables of different lists, or with predictions of different tasks or expressions.
    """
    if not tables:
        raise TableError("nothing to average: give at least one prediction table")
    check_same_list(tables)
    first = tables[0]
    for other in tables[1:]:
        if (first.tasks, first.expressions) != (other.tasks, other.expressions):
            raise TableError(
                f"{first.source} has {', '.join(first.tasks)}, {other.source} has {', '.join(other.tasks)}, or their "
                "expression classes differ; average tables with the same columns"
            )
    if len(tables) == 1:
        return first
    return Table(
        video=first.video,
        frame=first.frame,
        image=first.image,
        predictions={
            task: _mean([table.predictions[task] for table in tables]) for task in TASKS if task in first.tasks
        },
        expressions=first.expressions,
        metadata={"label_files": dict(first.files), "mean_of": [dict(table.metadata) for table in tables]},
        source=f"the mean of {', '.join(table.source for table in tables)}",
    )


def _mean(arrays: Sequence[FloatArray]) -> FloatArray:
    """Mean over the arrays that have a value; NaN where none has."""
    total = np.zeros(arrays[0].shape)
    count = np.zeros(arrays[0].shape)
    for array in arrays:
        total += np.nan_to_num(array, nan=0.0)
        count += ~np.isnan(array)
    mean: FloatArray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(np.float32)
    return mean
