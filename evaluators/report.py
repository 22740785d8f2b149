"""Scores as text and as JSON; ``evaluators.page.run`` makes a page of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from affect.files import write_whole
from affect.frames import Frames
from evaluators.metrics import ExpressionScores
from evaluators.names import MAIN, Scores
from evaluators.table import Table

NO_LABELS: Final = "no labels"
"""What the printed table and scores.json say instead of a score that has no valid label."""

BESIDE: Final = (*MAIN, "ACC_EXPR", "MACRO_ACC_EXPR", "ACC_AU")
"""The scores of references that the printed table repeats."""

Shown: TypeAlias = Literal["main", "all"]
"""Which scores are printed: ``scores`` in conf/."""


class ReportSettings(TypedDict):
    """The node ``report`` of conf/: whether report.html and faces.png show pictures of the data."""

    faces: bool


LINES: Final = 20
"""How many lines the table of the main scores has at most."""


def format_table(scores: Scores, references: Mapping[str, Scores] | None = None) -> str:
    """Format the final table: lines ``NAME value`` with four decimals, or ``no labels`` where no label is valid.

    Args:
        scores: in the order of printing.
        references: scores to compare with, for example chance: their main scores follow in lines that begin with the
            reference's name and a colon, so that a line that begins with a score's name is always the model's.
    """
    width = max((len(name) for name in scores), default=0)
    lines = [f"{name:<{width}} {score_text(value)}" for name, value in scores.items()]
    for reference, values in (references or {}).items():
        known = [name for name in BESIDE if name in scores and values.get(name) is not None]
        lines += [f"{reference}: {name} {score_text(values[name])}" for name in known]
    return "\n".join(lines)


def format_main(scores: Scores, references: Mapping[str, Scores]) -> str:
    """Format the main scores as ``format_table`` does, in at most ``LINES`` lines, and say where the others are.

    Those of each class are among them where they fit. Of the references, ``chance`` is, and what is the model's own.
    """
    beside = {name: values for name, values in references.items() if name != "majority"}
    for name in beside.keys() - {"chance"}:
        beside[name] = {key: value for key, value in beside[name].items() if key in MAIN}
    repeated = scores.get("P_MTL") is not None or sum(scores.get(name) is not None for name in MAIN) < 2
    whole = {name: value for name, value in scores.items() if name != "SCORE" or not repeated}
    short = {name: value for name, value in whole.items() if not name.startswith("F1_")}
    table = format_table(whole, beside)
    if table.count("\n") >= LINES:
        table = format_table(short, beside)
        table += f"\n{len(whole) - len(short)} more in scores.json and report.html; scores=all prints them"
    return table


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format rows of equally many cells as lines of text, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def write_scores(scores: Scores, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write scores as one JSON object of the same names; ``"no labels"`` stands for None.

    Args:
        scores: to write.
        path: the file.
        notes: what a reader of the scores must know (``postprocess``, ``tuned_on_these_labels``); lists or objects.
    """
    content = {name: NO_LABELS if value is None else value for name, value in scores.items()}
    write_whole(Path(path), json.dumps({**content, **(notes or {})}, indent=2) + "\n")


def read_scores(path: str | Path) -> Scores:
    """Read what ``write_scores`` wrote, without the notes."""
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    scores = {name: value for name, value in content.items() if not isinstance(value, list | dict)}
    return {name: None if value == NO_LABELS else float(value) for name, value in scores.items()}


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a metrics.jsonl, one per line; none if there is no file.

    Raises:
        ValueError: a line is not JSON. The last one may be cut off, as a killed run leaves it.
    """
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not JSON ({error}); remove the line") from error
    return records


def confusion_of(table: Table, frames: Frames) -> NDArray[np.int64]:
    """Count, as (C, C), labels in rows and predictions in columns; rows without a label or a prediction do not count.

    Args:
        table: with predictions of the expression.
        frames: the labels of its rows.
    """
    keep = ~table.null
    metric = ExpressionScores(len(table.expressions))
    prediction = table.predictions["expression"][keep]
    metric.update(torch.from_numpy(prediction), torch.from_numpy(frames.expression[keep]))
    confusion: NDArray[np.int64] = metric.confusion.numpy()
    return confusion


def score_text(value: float | None) -> str:
    """Write a score with four decimals, or that it has no labels."""
    return NO_LABELS if value is None else f"{value:.4f}"


def duration(seconds: float) -> str:
    """Write a time as hours, minutes and seconds: ``1:05:09``, ``5:09``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
