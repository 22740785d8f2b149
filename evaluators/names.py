"""Names of scores, and of what tables and checkpoints say of themselves: what can be told without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from affect.labels import LSD_EXPRESSIONS, TASKS

LEARNT: Final = "learnt_from"
"""Key in checkpoints and tables: what the network has learnt from."""

Scores: TypeAlias = dict[str, float | None]
"""Score names to values in the order of printing; None = no valid label."""

MAIN: Final = ("P_MTL", "P_LSD", "P_VA", "P_EXPR", "P_AU")
"""The scores of the challenges, each of the tasks that its name says."""


def expression_score(expressions: Sequence[str]) -> str:
    """Return the name of the mean F1 over these classes: ``P_LSD`` for synthetic data's six, else ``P_EXPR``."""
    return "P_LSD" if tuple(expressions) == LSD_EXPRESSIONS else "P_EXPR"


def joined(of_tasks: Sequence[Scores]) -> Scores:
    """Put the scores of tasks together, the first of each being its part of ``SCORE``; all three tasks have a P_MTL."""
    parts = [part for scores in of_tasks if (part := next(iter(scores.values()))) is not None]
    total = sum(parts) if parts else None
    scores: Scores = {}
    if len(of_tasks) == len(TASKS):
        scores["P_MTL"] = total if len(parts) == len(TASKS) else None
    for of_task in of_tasks:
        scores |= of_task
    return {**scores, "SCORE": total}
