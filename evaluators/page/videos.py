"""Labels and predictions of videos over time: the menu of a report, and what its script draws.

videos.js, beside this file, draws one video at a time. What it draws is reduced here to cells of some frames each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affect.errors import DataError
from affect.frames import FloatArray, Frames, IntArray, video_numbers
from affect.labels import ACTION_UNITS, AFFECT
from evaluators.figures import expression_colours
from evaluators.lanes import reduced
from evaluators.page.markup import as_base64, as_bytes, card
from evaluators.postprocess.timeline import check_videos
from evaluators.table import Table

VIDEOS: Final = 400
"""Videos that a page has at most, those with the most rows."""

CELLS: Final = 40_000
"""Cells of all videos that a page has at most."""

LONGEST: Final = 600
"""Cells that a video has at most."""

SCRIPT: Final = Path(__file__).with_name("videos.js")

_NONE: Final = 255  # of a byte: no label, or no prediction

_CARD: Final = """<div class=row>
<label for=video>video</label> <select id=video></select>
<button id=before type=button>previous</button> <button id=after type=button>next</button>
</div>
<p class=note>{left_out}Point at the curves, or reach them with tab and move with ← and →, to read their values.
The lower line of a pair is the prediction; grey: not listed, or without a label or a prediction.</p>
<div class=legend id=legend></div>
<p class=says id=says role=status></p>
<canvas id=curves tabindex=0 role=img aria-label="labels and predictions over time"></canvas>
<noscript><p>These curves are drawn by the page's own script, which your browser does not run.</p></noscript>"""


def video_card(data: Mapping[str, Any] | None) -> str:
    """Return the card that the script fills with ``video_data``; nothing where there are none."""
    if data is None:
        return ""
    left_out = f"{data['left_out']} shorter videos are left out. " if data["left_out"] else ""
    return card("Label and prediction over time", _CARD.format(left_out=left_out))


def video_data(table: Table, frames: Frames) -> dict[str, Any] | None:
    """Return what the script draws of a table's videos.

    Args:
        table: the predictions.
        frames: the labels of its rows.

    Returns:
        JSON values; None where the list is of single pictures, which have no time.
    """
    try:
        check_videos(frames, "the frame list")
    except DataError:
        return None
    number, frame = video_numbers(frames.video), np.asarray(frames.frame, dtype=np.int64)
    order = np.lexsort((frame, number))
    counts = np.bincount(number)
    videos = [rows for rows in np.split(order, counts.cumsum()[:-1]) if frame[rows[0]] != frame[rows[-1]]]
    longest = sorted(sorted(range(len(videos)), key=lambda one: -len(videos[one]))[:VIDEOS])
    if not longest:
        return None
    cells = min(LONGEST, CELLS // len(longest))
    return {
        "affect": list(AFFECT) if "valence_arousal" in table.tasks else [],
        "expressions": list(expression_colours(table.expressions).items()) if "expression" in table.tasks else [],
        "units": [f"AU{unit}" for unit in ACTION_UNITS if "action_units" in table.tasks],
        "left_out": len(videos) - len(longest),
        "videos": [_video(table, frames, videos[one], frame[videos[one]], cells) for one in longest],
    }


def _video(table: Table, frames: Frames, rows: IntArray, frame: IntArray, most: int) -> dict[str, Any]:
    """Return one video, of these rows and frame numbers, in at most so many cells."""
    first, width = int(frame[0]), -(-int(frame[-1] - frame[0] + 1) // most)
    of_row = (frame - first) // width
    cell = np.unique(of_row)
    parts: dict[str, NDArray[Any]] = {"cell": cell.astype("<u2")}

    def drawn(values: FloatArray) -> FloatArray:
        """Least, mean and greatest of one column in each cell, (3, cells); NaN where a cell has no value."""
        made = np.full((3, len(cell)), np.nan, dtype=np.float32)
        known = ~np.isnan(values)
        if known.any():
            has, of_cells = reduced(values[known, None], of_row[known])
            made[:, np.searchsorted(cell, has)] = of_cells[:, :, 0]
        return made

    for task in table.tasks:
        said = table.predictions[task][rows]
        if task == "expression":
            label, likely = (_likeliest(one, of_row, cell) for one in (_one_hot(frames, rows, said.shape[1]), said))
            parts[task] = np.stack([label[0], *likely])
            continue
        labels = getattr(frames, task)[rows]
        columns = [np.stack([drawn(one)[1], *drawn(two)]) for one, two in zip(labels.T, said.T, strict=True)]
        values = np.stack(columns)  # (columns, 4, cells): label; least, mean and greatest prediction
        parts[task] = as_bytes((values + 1) / 2 if task == "valence_arousal" else values[:, [0, 2]])
    facts = {"name": frames.video[int(rows[0])], "first": first, "width": width, "rows": len(rows)}
    return {**facts, **{name: as_base64(array) for name, array in parts.items()}}


def _one_hot(frames: Frames, rows: IntArray, classes: int) -> FloatArray:
    """Return (N, classes), NaN in rows without a label."""
    label = frames.expression[rows]
    made = np.eye(classes, dtype=np.float32)[label]
    made[label < 0] = np.nan
    return made


def _likeliest(values: FloatArray, of_row: IntArray, cell: IntArray) -> NDArray[np.uint8]:
    """Return (2, cells): the class with the highest mean in each cell, and this mean; 255 where there is no value."""
    made = np.full((2, len(cell)), _NONE, dtype=np.uint8)
    known = ~np.isnan(values).any(axis=1)
    if known.any():
        has, of_cells = reduced(values[known], of_row[known])
        at = np.searchsorted(cell, has)
        made[:, at] = of_cells[1].argmax(axis=1), as_bytes(of_cells[1].max(axis=1))
    return made
