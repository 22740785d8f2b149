"""The columns that say how sure a prediction is: intervals of valence and of arousal, and sets of expressions.

``evaluators.postprocess.coverage`` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

from affect.errors import DataError
from affect.frames import BoolArray, FloatArray
from affect.labels import AFFECT

SET = "set_"
"""What the names of the sets' columns begin with, before the expression."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """Intervals and sets of the N rows of a table.

    Attributes:
        intervals: by ``valence`` and ``arousal``, (N, 2) float32: low and high, in [-1, 1]; NaN for null rows.
        classes: (N, C) whether an expression is in the set: at least one is, but for null rows; None: no sets.
    """

    intervals: Mapping[str, FloatArray]
    classes: BoolArray | None

    def columns(self, expressions: Sequence[str]) -> dict[str, Any]:
        """Return the Arrow columns.

        Args:
            expressions: class names, in label order.
        """
        made = {}
        for name, values in self.intervals.items():
            for column, limit in zip(values.T, _limits(name), strict=True):
                made[limit] = pa.array(column, mask=np.isnan(column))
        if self.classes is not None:
            null = ~self.classes.any(axis=1)
            for column, expression in zip(self.classes.T, expressions, strict=True):
                made[SET + expression] = pa.array(column, mask=null)
        return made

    @classmethod
    def of(cls, content: Any, expressions: Sequence[str], source: str) -> Bounds | None:
        """Read them from an Arrow table; None if it has none of them.

        Raises:
            DataError: one of a pair or of the expressions is missing, of another type, or has impossible values.
        """
        there = set(content.column_names)
        intervals = {name: _interval(content, name, source) for name in AFFECT if there & set(_limits(name))}
        classes = None
        if any(name.startswith(SET) for name in there):
            names = [SET + expression for expression in expressions]
            _check(content, names, pa.types.is_boolean, source)
            columns = [content[name].to_numpy(zero_copy_only=False) for name in names]
            known = np.stack([content[name].is_valid().to_numpy() for name in names], axis=1)
            classes = np.stack(columns, axis=1) == True  # noqa: E712 - null is an object
            if (known != classes.any(axis=1, keepdims=True)).any():
                raise DataError(f"{source}: a set of expressions is empty, or null in part; predict again")
        return cls(intervals, classes) if intervals or classes is not None else None


def _limits(name: str) -> tuple[str, str]:
    return f"{name}_low", f"{name}_high"


def _interval(content: Any, name: str, source: str) -> FloatArray:
    _check(content, _limits(name), pa.types.is_floating, source)
    columns = [content[limit].to_numpy(zero_copy_only=False) for limit in _limits(name)]
    values = np.stack(columns, axis=1).astype(np.float32)
    known = np.stack([content[limit].is_valid().to_numpy() for limit in _limits(name)], axis=1)
    low, high = values[known.all(axis=1)].T
    if (known.any(axis=1) != known.all(axis=1)).any() or not ((low >= -1) & (low <= high) & (high <= 1)).all():
        raise DataError(f"{source}: an interval of {name} is not within [-1, 1], or null in part; predict again")
    return values


def _check(content: Any, names: Sequence[str], kind: Any, source: str) -> None:
    for name in names:
        if name not in content.column_names:
            raise DataError(f"{source}: no column {name}, which belongs to others that are there; predict again")
        if not kind(content[name].type):
            raise DataError(f"{source}: column {name} is {content[name].type}, which it must not be; predict again")
