"""Draw a few faces, each with its labels and what was predicted, so that a reader sees what the scores are about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from affect.files import whole_file
from affect.frames import BoolArray, FloatArray, Frames
from affect.labels import ACTION_UNITS, AFFECT
from evaluators.figures import BLUE, INK, ORANGE
from evaluators.table import Table

FILE: Final = "faces.png"
"""Name of the drawing in a run folder."""

FACES: Final = 16
"""Most faces that are drawn."""

SIDE: Final = 208
"""Side of a drawn face in pixels."""

Pictures = Callable[[Sequence[int], int], Iterator[tuple[int, NDArray[np.uint8]]]]
"""Reads images: takes rows and a side in pixels, yields those that can be read, each with its (side, side, 3) RGB."""

_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_COLUMNS: Final = 4
_FONT: Final = 25
_LINE: Final = 36
_GAP: Final = 16
_NAME: Final = 106  # width of the names of the lines beside a face, of a label, of a prediction with a gap
_LABEL: Final = 134
_PREDICTION: Final = 132
_BELOW: Final = 130  # x of the first action unit
_CANDIDATES: Final = 4096
MUTED: Final = "#66717e"


class Word(NamedTuple):
    """A label or a prediction, and the colour that says whether it is right."""

    text: str
    colour: str = INK


_UNKNOWN: Final = Word("no label")


class Line(NamedTuple):
    """What a line is about, and what it says."""

    name: str
    words: list[Word]


class Caption(NamedTuple):
    """The text of one face: lines of a label and a prediction beside it, lines of action units below it."""

    beside: list[Line]
    below: list[Line]


def write_faces(
    folder: Path, table: Table, frames: Frames, pictures: Pictures, *, au_thresholds: Sequence[float], split: str
) -> Path | None:
    """Write ``draw_faces`` to the run folder, where the report finds it; return the file, None where there is none."""
    drawing = draw_faces(table, frames, pictures, au_thresholds=au_thresholds, split=split)
    if drawing is None:
        return None
    with whole_file(folder / FILE) as beside:
        drawing.save(beside, "PNG")
    return folder / FILE


def draw_faces(
    table: Table, frames: Frames, pictures: Pictures, *, au_thresholds: Sequence[float], split: str
) -> Image.Image | None:
    """Draw up to sixteen faces with labels and predictions; of the same list always the same faces.

    Args:
        table: the predictions.
        frames: the labels of its rows.
        pictures: reads images.
        au_thresholds: twelve numbers, from which a unit counts as predicted.
        split: what the list is of, for the title.

    Returns:
        The drawing; None where no row has both a prediction and an image that can be read.
    """
    shown = list(islice(pictures(choose_rows(table, frames), SIDE), FACES))
    if not shown:
        return None
    captions = [caption(table, frames, row, au_thresholds) for row, _ in shown]
    names = _NAME if any(line.name for line in captions[0].beside) else 0
    width = SIDE + _GAP + names + _LABEL + _PREDICTION
    top, height = 2 * _LINE, SIDE + _LINE * len(captions[0].below) + 2 * _GAP
    sheet = Image.new("RGB", (_COLUMNS * width + _GAP, top + -(-len(shown) // _COLUMNS) * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    pen.text((_GAP, _GAP), f"{len(shown)} faces of the {split} split", INK, font)
    pen.text((_GAP + 350, _GAP), "predicted right", BLUE, font)
    pen.text((_GAP + 560, _GAP), "predicted wrong, or missed", ORANGE, font)
    for number, ((_, picture), text) in enumerate(zip(shown, captions, strict=True)):
        x, y = _GAP + number % _COLUMNS * width, top + number // _COLUMNS * height
        sheet.paste(Image.fromarray(picture), (x, y))
        _write(pen, font, (x, y), names, text)
    return sheet


def choose_rows(table: Table, frames: Frames, *, seed: int = 0) -> list[int]:
    """Choose rows that have a prediction, in the order in which they are to be shown.

    Rows with all labels come first, and of these every video (or class folder) once before any comes twice.

    Args:
        table: the predictions.
        frames: the labels of its rows.
        seed: decides the order of rows that are alike in this.

    Returns:
        More rows than are drawn, as not every image may be readable.
    """
    missing = np.zeros(len(table), dtype=np.int64)
    for task in table.tasks:
        values = getattr(frames, task)
        missing += values < 0 if task == "expression" else np.isnan(values).any(axis=1)
    rows = np.random.default_rng(seed).permutation(np.flatnonzero(~table.null))[:_CANDIDATES]
    rows = rows[np.argsort(missing[rows], kind="stable")]
    times: Counter[str] = Counter()
    turns = []
    for row in rows.tolist():
        turns.append(times[frames.video[row]])
        times[frames.video[row]] += 1
    chosen: list[int] = rows[np.lexsort((turns, missing[rows]))].tolist()
    return chosen[: 4 * FACES]


def caption(table: Table, frames: Frames, row: int, au_thresholds: Sequence[float]) -> Caption:
    """Put labels and predictions of one row into words."""
    beside, below = [Line("", [Word("label", MUTED), Word("predicted", MUTED)])], []
    if "expression" in table.predictions:
        label, said = int(frames.expression[row]), int(table.predictions["expression"][row].argmax())
        known = label >= 0
        colour = _judged(label == said) if known else INK
        word = Word(table.expressions[label]) if known else _UNKNOWN
        beside.append(Line("", [word, Word(table.expressions[said], colour)]))
    if "valence_arousal" in table.predictions:
        pairs = zip(frames.valence_arousal[row], table.predictions["valence_arousal"][row], strict=True)
        for name, (value, guess) in zip(AFFECT, pairs, strict=True):
            word = _UNKNOWN if np.isnan(value) else Word(f"{value:+.2f}")
            beside.append(Line(name, [word, Word(f"{guess:+.2f}")]))
    if "action_units" in table.predictions:
        predicted = table.predictions["action_units"][row] >= np.asarray(au_thresholds)
        below = _unit_lines(frames.action_units[row], predicted)
    return Caption(beside if len(beside) > 1 else [], below)


def _unit_lines(labels: FloatArray, predicted: BoolArray) -> list[Line]:
    """Name the action units that the label has, and those that are predicted."""
    present, found = [], []
    for unit, label, said in zip(ACTION_UNITS, labels, predicted, strict=True):
        if label == 1:
            present.append(Word(str(unit), INK if said else ORANGE))
        if said:
            found.append(Word(str(unit), INK if np.isnan(label) else _judged(label == 1)))
    nothing = Word("none")
    label_line = Line("AU label", present or [_UNKNOWN if np.isnan(labels).all() else nothing])
    return [label_line, Line("predicted", found or [nothing])]


def _judged(right: bool) -> str:
    return BLUE if right else ORANGE


def _write(pen: ImageDraw.ImageDraw, font: _Font, corner: tuple[int, int], names: int, text: Caption) -> None:
    """Write the text of the face whose upper left corner is at ``corner``; ``names`` is the width of lines' names."""
    left, y = corner
    name = left + SIDE + _GAP
    columns = (name, name + names, name + names + _LABEL)
    for line in text.beside:
        for at, word in zip(columns, [Word(line.name, MUTED), *line.words], strict=True):
            pen.text((at, y), word.text, word.colour, font)
        y += _LINE + _GAP
    y = corner[1] + SIDE + _GAP // 2
    for line in text.below:
        pen.text((left, y), line.name, MUTED, font)
        x = float(left + _BELOW)
        for word in line.words:
            pen.text((x, y), word.text, word.colour, font)
            x += font.getlength(f"{word.text}  ")
        y += _LINE
