"""Predict as an observer who knows the rendered state, but not the annotators' errors: the ceiling of all scores."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from affect.labels import EXPRESSIONS
from rendering.affect import action_unit_probabilities, expression_probabilities
from rendering.sketch import Array
from rendering.units import RENDERED_UNITS


class OraclePredictions(TypedDict):
    """Predictions for the N rows of a split's annotation file, in its order, duplicates included.

    Attributes:
        valence_arousal: (N, 2) in [-1, 1].
        expression: (N, 8) probabilities.
        action_units: (N, 12) probabilities.
    """

    valence_arousal: Array
    expression: Array
    action_units: Array


def oracle_predictions(root: Path, split: str) -> OraclePredictions:
    """Predict a rendered data set's labels from its rendered state.

    Args:
        root: folder of a data set that was drawn in the layout ``mtl`` or ``uni``.
        split: ``train`` or ``validation``.

    Returns:
        One prediction per row of the split's annotation file, or of its label files in the order of their names.

    Raises:
        FileNotFoundError: the folder is of neither.
        ValueError: there is no such split in it.
    """
    path = root / "state.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: an oracle exists only for faces drawn in the layouts mtl and uni")
    table = pq.read_table(path, filters=[("split", "==", split)])
    if table.num_rows == 0:
        raise ValueError(f"{path} has no rows of split {split!r}: use 'train' or 'validation'")

    def columns(names: list[str]) -> Array:
        return np.stack([table[name].to_numpy() for name in names], axis=1)

    sides = [columns([f"au{unit}_{side}" for unit in RENDERED_UNITS]) for side in ("left", "right")]
    return {
        "valence_arousal": columns(["valence", "arousal"]),
        "expression": expression_probabilities(columns([f"expr_{name}" for name in EXPRESSIONS])),
        "action_units": action_unit_probabilities(np.maximum(*sides)),
    }
