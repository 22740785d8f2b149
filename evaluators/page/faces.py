"""The faces of a report: some of the split, and for each task those whose predictions are the best and the worst."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from affect.frames import Frames, IntArray, video_numbers
from affect.labels import TASKS, Task
from evaluators.faces import MUTED, Caption, Pictures, Word, caption, choose_rows
from evaluators.figures import BLUE, ORANGE
from evaluators.page.markup import card, data_url, note
from evaluators.table import Table

EACH: Final = 16
"""Most faces in a group."""

SIDE: Final = 112
"""Side of a face in pixels, which is that of Aff-Wild2's crops."""

_SPARE: Final = 4  # as many times the faces are tried, as not every image may be readable
_QUALITY: Final = 80  # of the JPEGs

_SOME: Final = (
    "Some of the split, the same ones for every run on it; blue: predicted right, orange: predicted wrong, or missed."
)

_CLASSES: Final = {BLUE: "right", ORANGE: "wrong", MUTED: "quiet"}

_SHOWN: Final[Mapping[Task, tuple[str, str, str]]] = {
    "valence_arousal": ("Valence and arousal", "distance of the prediction from the label", "off by {:.2f}"),
    "expression": ("Expression", "probability of the label", "label at {:.2f}"),
    "action_units": ("Action units", "mean difference of probability and label", "off by {:.2f}"),
}
"""Of each task: its name, by what its faces are ordered, and what stands above each of them."""


def errors(task: Task, table: Table, frames: Frames) -> NDArray[np.float32]:
    """Return (N,) how far each row's prediction of a task is from its label; NaN without a label or a prediction.

    That is the distance of valence and arousal, one minus the probability of the labelled expression, or the mean
    differences from the labels of the action units.
    """
    said = table.predictions[task]
    if task == "expression":
        label = frames.expression
        off = 1 - np.take_along_axis(said, np.maximum(label, 0)[:, None], axis=1)[:, 0]
        off[label < 0] = np.nan
    elif task == "valence_arousal":
        off = np.hypot(*(said - frames.valence_arousal).T)
    else:
        differences = np.abs(said - frames.action_units)
        known = ~np.isnan(differences)
        off = np.full(len(said), np.nan, dtype=np.float32)
        np.divide(np.nansum(differences, axis=1), known.sum(axis=1), out=off, where=known.any(axis=1))
    off = off.astype(np.float32, copy=False)
    off[table.null] = np.nan
    return off


def extremes(off: NDArray[np.float32], video: IntArray, most: int) -> tuple[IntArray, IntArray]:
    """Choose the rows with the least and with the greatest errors, no row twice.

    Neighbouring frames look alike: every video (or class folder) gives one row before any gives two.

    Args:
        off: (N,) errors; rows with NaN are left out.
        video: (N,) number of each row's video.
        most: rows of each kind.

    Returns:
        The best, best first, and the worst, worst first.
    """
    known = np.flatnonzero(~np.isnan(off))
    order = known[np.argsort(off[known], kind="stable")]
    middle = (len(order) + 1) // 2
    return _in_turns(order[:middle], video)[:most], _in_turns(order[middle:][::-1], video)[:most]


def faces_card(table: Table, frames: Frames, pictures: Pictures, au_thresholds: Sequence[float]) -> str:
    """Return the card of the faces; nothing where no image can be read.

    Args:
        table: the predictions.
        frames: the labels of its rows.
        pictures: reads images.
        au_thresholds: twelve numbers, from which a unit counts as predicted.
    """
    some = _group(pictures, choose_rows(table, frames), lambda row: caption(table, frames, row, au_thresholds))
    if not some:
        return ""
    video, parts = video_numbers(frames.video), [note(_SOME), some]
    for task in (task for task in TASKS if task in table.predictions):
        name, by, head = _SHOWN[task]
        off = errors(task, table, frames)
        of_task = replace(table, predictions={task: table.predictions[task]})
        groups = []
        for title, rows in zip(("best", "worst"), extremes(off, video, _SPARE * EACH), strict=True):

            def described(row: int, of_task: Table = of_task) -> Caption:
                return caption(of_task, frames, row, au_thresholds)

            def above(row: int, off: NDArray[np.float32] = off, head: str = head, task: Task = task) -> str:
                return head.format(1 - off[row] if task == "expression" else off[row])

            if made := _group(pictures, rows.tolist(), described, above):
                groups.append(f"<h3>{title}</h3>\n{made}")
        if groups:
            summary = f"<summary>{name}: the best and the worst</summary>"
            explained = note(f"By the {by}; every video gives one face before any gives two.")
            parts.append(f"<details>{summary}{explained}{''.join(groups)}</details>")
    return card("Faces", "\n".join(parts))


def _group(
    pictures: Pictures,
    rows: Sequence[int],
    described: Callable[[int], Caption],
    above: Callable[[int], str] = lambda row: "",
) -> str:
    """Return the first faces of some rows that can be read, each with what is said of it; nothing without any."""
    cells = [
        f'<figure><img alt="face" loading=lazy src="{data_url(_jpeg(picture), "jpeg")}">'
        f"<figcaption>{_said(described(row), above(row))}</figcaption></figure>"
        for row, picture in islice(pictures(rows, SIDE), EACH)
    ]
    return f"<div class=faces>{''.join(cells)}</div>" if cells else ""


def _said(text: Caption, above: str) -> str:
    lines = [f"<p><b>{escape(above)}</b></p>"] if above else []
    for of, between in ((text.beside, " → "), (text.below, " ")):
        for line in of:
            name = f"<span class=quiet>{escape(line.name)}</span> " if line.name else ""
            lines.append(f"<p>{name}{between.join(map(_word, line.words))}</p>")
    return "".join(lines)


def _word(word: Word) -> str:
    kind = _CLASSES.get(word.colour)
    return f"<span class={kind}>{escape(word.text)}</span>" if kind else escape(word.text)


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _in_turns(rows: IntArray, video: IntArray) -> IntArray:
    """Order rows such that the first of each video comes before the second of any; otherwise they keep their order."""
    of = video[rows]
    grouped = np.argsort(of, kind="stable")
    counts = np.unique(of, return_counts=True)[1]
    turn = np.empty(len(rows), dtype=np.int64)
    turn[grouped] = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    ordered: IntArray = rows[np.argsort(turn, kind="stable")]
    return ordered
