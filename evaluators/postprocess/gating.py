"""Gates: a pre-trained network's expressions are used only where a trained head, or their own confidence, lets them.

A head that was trained on the challenge's data knows Other; a network that was pre-trained on AffectNet does not: its
column of Other holds contempt. The first table, the gate, is the head's. The rules:

* ``other``: where the first table says Other, its expressions are kept; on all other rows the blend of the tables
  decides, which may still say Other. The published code does this; with ``weights=[0,1]`` the pre-trained scores decide
  alone.
* ``other_seven``: the same, but there the blend cannot say Other: its probability is set to 0, and the row divided by
  its sum, as the paper says. A row that is then all 0 stays so: by itself it is the first class, and when smoothed, its
  neighbours decide. With ``blend=raw``, whose sums are no probabilities, Other gets the smallest value of its row.
* ``confidence``: where the largest probability of the second table among the seven classes but Other exceeds a number,
  that class is taken, else the first table's. Unlike the others, this rule is applied after smoothing both tables.

Valence, arousal and action units are those of the blend. A row that is null in the first table is not gated; under
``confidence``, a row that is null in one table is taken from the other.

Source: Savchenko, EmotiEffNets for Facial Processing in Video-based Valence-Arousal Prediction, Expression
Classification and Action Unit Detection (CVPRW 2023), its notebook, and that of ABAW8
(github.com/sb-ai-lab/EmotiEffLib). There the first table of ``confidence`` is a video's head, or its blend with an
audio's: make such a blend's table first, without smoothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import FloatArray
from affect.labels import EXPRESSIONS, OTHER
from evaluators.postprocess.settings import one_of
from evaluators.table import Table

Array: TypeAlias = NDArray[np.float64]

GATES: Final = ("other", "other_seven", "confidence")
"""Names of the rules."""

CONFIDENCE: Final = 0.7
"""What the second table's largest probability must exceed under ``confidence``; ABAW8's notebook found it."""


def check_gate(gate: str, tables: Sequence[Table]) -> None:
    """Refuse tables that a rule cannot be applied to.

    Raises:
        UserError: an unknown rule, another number of tables, or tables without the eight expressions of ABAW.
    """
    check_gate_count(gate, len(tables))
    for table in tables:
        if "expression" not in table.tasks or table.expressions != EXPRESSIONS:
            classes = ", ".join(table.expressions) if "expression" in table.tasks else "none"
            raise UserError(
                f"postprocess.gate={gate} is for the eight expressions of ABAW, but {table.source} has {classes}; "
                "leave it out, or give tables with these"
            )


def check_gate_count(gate: str, tables: int) -> None:
    """Refuse an unknown rule, and a number of tables that it is not for.

    Raises:
        UserError: the rule is unknown, or needs another number of tables.
    """
    one_of("gate", gate, (None, *GATES))
    if tables < 2 or (gate == "confidence" and tables > 2):
        wanted = "two tables" if gate == "confidence" else "two tables or more"
        raise UserError(
            f"postprocess.gate={gate} is for {wanted}, not {tables}; the first is the gate: evaluate.py "
            "'predictions=[head.parquet,pretrained.parquet]'"
        )


def averaged(tasks: Sequence[str], gate: str | None) -> list[str]:
    """Return the tasks whose predictions are averaged: all, except that ``confidence`` chooses between expressions."""
    return [task for task in tasks if (task, gate) != ("expression", "confidence")]


def pass_gate(gate: str, blended: Array, head: FloatArray, own: NDArray[np.floating], *, raw: bool) -> Array:
    """Pass expressions (N, 8) through ``other`` or ``other_seven``.

    Args:
        gate: which of the two rules.
        blended: the blend, NaN where null.
        head: probabilities of the first table, which say what is Other; NaN where null.
        own: what the first table contributes to the blend.
        raw: whether the blend holds raw sums, which are not divided.
    """
    if gate == "other_seven":
        blended = blended.copy()
        blended[:, OTHER] = blended.min(axis=1) if raw else blended[:, OTHER] * 0  # null stays null
        total = blended.sum(axis=1, keepdims=True)
        blended = blended if raw else blended / np.where(total == 0, 1, total)
    says_other = head.argmax(axis=1, keepdims=True) == OTHER  # the argmax of a null row is its first column
    return np.where(says_other, own, blended)


def take_confident(table: Table, pair: Sequence[Table], confidence: float) -> Table:
    """Apply the rule ``confidence`` to a table's expressions, and record its number in the metadata.

    A row is the first's or the second's of the pair, as it is, but that Other is set to 0 in the second's: these need
    not add up to 1.

    Args:
        table: the blend of the pair, or what has become of it.
        pair: two tables of the same rows, both filled and smoothed like ``table``.
        confidence: in [0, 1].
    """
    first, second = (one.predictions["expression"] for one in pair)
    second = second.copy()
    second[:, OTHER] *= 0  # null stays null
    # no comparison with NaN is true
    taken = (second.max(axis=1) > confidence) | np.isnan(first).any(axis=1)
    predictions = {**table.predictions, "expression": np.where(taken[:, None], second, first)}
    return replace(table, predictions=predictions, metadata={**table.metadata, "confidence": confidence})


def expression_of(table: Table) -> Table:
    """Return a table with only its expressions: what is smoothed of each table of a pair."""
    return replace(table, predictions={"expression": table.predictions["expression"]})
