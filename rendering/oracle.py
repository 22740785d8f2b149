"""Predict as an observer who knows the rendered state, but not the annotators' errors: the ceiling of all scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from affect.labels import EXPRESSIONS
from rendering.affect import action_unit_probabilities, expression_probabilities
from rendering.sketch import Array
from rendering.units import RENDERED_UNITS


def oracle_predictions(root: Path, split: str) -> dict[str, Array]:
    """Predict a rendered data set's labels from its rendered state.

    Args:
        root: folder of a data set that was drawn in the layout ``mtl`` or ``uni``.
        split: ``train`` or ``validation``.

    Returns:
        By task, one prediction for each of the N rows of the split's annotation file, duplicates included, or of its
        label files in the order of their names: valence and arousal (N, 2) in [-1, 1], probabilities of expressions
        (N, 8) and of action units (N, 12).

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
