"""The cards of a report that are of one task each: support, agreement with the labels, and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.frames import Frames, video_numbers
from affect.labels import ACTION_UNITS
from evaluators import figures
from evaluators.names import Scores
from evaluators.page.markup import card, figure, note, scrolled, table
from evaluators.postprocess.thresholds import f1_at
from evaluators.report import confusion_of
from evaluators.table import Table

STEPS: Final = 100
"""F1 is drawn against this many thresholds."""

_SUPPORT: Final = ("labelled", "videos", "share", "predicted")


def task_cards(table_: Table, frames: Frames, au_thresholds: Sequence[float], scores: Scores) -> list[str]:
    """Return the cards of the tasks that have labels; null rows are left out, as in the scores.

    Args:
        table_: the predictions.
        frames: the labels of its rows.
        au_thresholds: twelve numbers, from which a unit counts as predicted.
        scores: of the table.
    """
    keep, parts = ~table_.null, [_support_card(table_, frames, au_thresholds, scores)]
    if scores.get("CCC_V") is not None:
        valid = keep & ~np.isnan(frames.valence_arousal).any(axis=1)
        said, label = table_.predictions["valence_arousal"][valid], frames.valence_arousal[valid]
        panels = figures.valence_arousal(said, label, scores)
        parts.append(figure("Valence and arousal, predicted against labelled", panels))
    if scores.get("ACC_EXPR") is not None:
        parts.append(_confusion_card(confusion_of(table_, frames), table_.expressions))
    if scores.get("P_AU") is not None:
        said, label = table_.predictions["action_units"][keep], frames.action_units[keep]
        steps, known = np.linspace(0, 1, STEPS + 1), ~np.isnan(label)
        columns = zip(said.T, label.T, known.T, strict=True)
        f1 = np.stack([f1_at(steps, values[has], of[has] == 1) for values, of, has in columns], axis=1)
        told = note(
            "Line: the threshold that the scores are of; point: the highest F1 on these labels, which flatters: choose "
            "a threshold on other videos."
        )
        panels = figures.threshold_curves(steps, f1, au_thresholds, np.any(known, axis=0))
        parts.append(figure("F1 of action units against the threshold", panels, told))
    return parts


def _support_card(table_: Table, frames: Frames, au_thresholds: Sequence[float], scores: Scores) -> str:
    """Return how many rows and videos have each class, each unit, and how often they are predicted."""
    keep, video, tables, told = ~table_.null, video_numbers(frames.video), list[str](), ""

    def row(name: str, has: NDArray[np.bool_], valid: NDArray[np.bool_], said: NDArray[np.bool_]) -> list[str]:
        count = max(int(valid.sum()), 1)
        videos = np.count_nonzero(np.bincount(video[has & valid]))
        shares = ((has & valid).sum() / count, (said & valid).sum() / count)
        return [name, f"{int((has & valid).sum()):,}", str(videos), *(f"{share:.1%}" for share in shares)]

    if scores.get("CCC_V") is not None:
        valid = keep & ~np.isnan(frames.valence_arousal).any(axis=1)
        told = note(
            f"Valence and arousal: {int(valid.sum()):,} rows of {np.count_nonzero(np.bincount(video[valid]))} videos."
        )
    if scores.get("ACC_EXPR") is not None:
        valid, label = keep & (frames.expression >= 0), frames.expression
        said = table_.predictions["expression"].argmax(axis=1)
        named = enumerate(table_.expressions)
        rows = [row(name, label == number, valid, said == number) for number, name in named]
        tables.append(table(["expression", *_SUPPORT], rows, "support of the expressions"))
    if scores.get("P_AU") is not None:
        limits = np.asarray(au_thresholds, dtype=np.float32)
        found, labels = table_.predictions["action_units"] >= limits, frames.action_units
        units = enumerate(ACTION_UNITS)
        rows = [
            row(f"AU{unit}", labels[:, at] == 1, keep & ~np.isnan(labels[:, at]), found[:, at]) for at, unit in units
        ]
        tables.append(table(["action unit", *_SUPPORT], rows, "support of the action units"))
    return card("Support", told + (f"<div class=tables>{''.join(tables)}</div>" if tables else ""))


def _confusion_card(confusion: NDArray[np.int64], names: Sequence[str]) -> str:
    """Return the confusion of expressions: shares of each row's labels, with the counts below."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("label", *names))
    rows = []
    for name, of_label, counts in zip(names, shares.tolist(), confusion.tolist(), strict=True):
        cells = [
            f'<td style="--share:{0.75 * share:.3f}">{share:.0%}<small>{count:,}</small></td>'
            for share, count in zip(of_label, counts, strict=True)
        ]
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>')
    content = f"<table class=confusion><tr>{head}</tr>{''.join(rows)}</table>"
    told = note("Labels in rows, predictions in columns: shares of the row, and rows of the list below them.")
    return card("Confusion of expressions", told + scrolled(content, "confusion of expressions"))
