"""Do scores differ between groups of people? Gaps with intervals, over the columns of a file of attributes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.errors import DataError
from affect.frames import Frames
from evaluators.comparison import ALPHA, holm
from evaluators.intervals import Interval, apart
from evaluators.metrics import MAIN
from evaluators.postprocess.thresholds import Thresholds
from evaluators.postprocess.timeline import lists_pictures
from evaluators.sums import Sums, sums
from evaluators.table import Table

FEWEST: Final = 10
"""A group of fewer videos has no interval that is worth its name."""

LEGEND: Final = f"p by Holm over all groups; * below {ALPHA}; videos of a group and of the others"
"""What stands below the lines of an audit."""


@dataclass(frozen=True)
class Gap:
    """A group, and how far its score is above that of the other groups of an attribute.

    Attributes:
        attribute: name of the column.
        group: its value.
        videos: of the group, and of the others.
        score: name of the score.
        gap: with its interval; None: a side has too few videos.
        p: by Holm over all gaps of the score; NaN where there is no gap.
    """

    attribute: str
    group: str
    videos: tuple[int, int]
    score: str
    gap: Interval | None
    p: float

    def __str__(self) -> str:
        if self.gap is None:
            return f"cannot tell: {min(self.videos)} videos, fewer than {FEWEST}"
        return f"{self.gap} p {self.p:.3f}{' *' if self.p < ALPHA else ''}"


def read_attributes(path: Path, table: Table) -> dict[str, list[str]]:
    """Read the attributes of each row of a table.

    Args:
        path: CSV whose first column is ``video`` or ``image`` and says of which; any columns follow. An empty cell: it
            is not known.
        table: whose videos or images they are; others in the file are left out, for they may be of another split.

    Returns:
        By the names of the columns, the values of the N rows.

    Raises:
        DataError: no such file, another first column, a line of another length, a key twice, or a video or an image of
            the table without a line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *lines = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"attributes={path}: {getattr(error, 'strerror', None) or error}") from error
    if len(header) < 2 or header[0] not in ("video", "image") or len(set(header)) < len(header):
        raise DataError(f"{path}: its first line must name video or image, and then the attributes, each once")
    known: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 2):
        if len(line) != len(header) or line[0] in known:
            what = f"{line[0]} has a line already" if len(line) == len(header) else f"{len(line)} cells"
            raise DataError(f"{path}, line {number}: {what}; give {len(header)} cells, once for each {header[0]}")
        known[line[0]] = [cell.strip() for cell in line[1:]]
    keys = table.video if header[0] == "video" else table.image
    if missing := sorted(set(keys) - known.keys()):
        raise DataError(f"{path}: no line for {len(missing)} {header[0]}s of the table, {missing[0]} first")
    return {name: [known[key][column] for key in keys] for column, name in enumerate(header[1:])}


def audit(
    table: Table, labels: Frames, attributes: Mapping[str, Sequence[str]], au_thresholds: Thresholds = 0.5
) -> list[Gap]:
    """Compare each group of each attribute with the others; of two groups, the first with the second.

    Args:
        table: predictions of the rows of ``labels``.
        labels: the truth.
        attributes: values of the rows by attribute; empty ones are left out.
        au_thresholds: from which probability on a unit is positive.
    """
    whole = [name for name in sums(table, labels, au_thresholds=au_thresholds).names if name in MAIN]
    found = []
    for attribute, values in attributes.items():
        of_row = np.asarray(values, dtype=object).astype(str)
        groups = sorted(set(of_row) - {""})
        for group in groups[:1] if len(groups) == 2 else groups if len(groups) > 2 else []:
            sides = [
                _of_rows(table, labels, rows, au_thresholds)
                for rows in (of_row == group, (of_row != group) & (of_row != ""))
            ]
            found += list(_gaps(attribute, group, sides, whole))
    adjusted: list[Gap] = []
    for score in whole:
        of_score = [one for one in found if one.score == score]
        p = holm([one.p for one in of_score])
        adjusted += [replace(one, p=value) for one, value in zip(of_score, p, strict=True)]
    return adjusted


def _of_rows(table: Table, labels: Frames, rows: NDArray[np.bool_], limits: Thresholds) -> Sums:
    index = np.flatnonzero(rows)
    part = labels.select(index)
    said = {key: values[index] for key, values in table.predictions.items()}
    chosen = replace(table, video=part.video, frame=part.frame, image=part.image, predictions=said)
    by = part.image if lists_pictures(table) else part.video
    return sums(chosen, part, by=by, au_thresholds=limits)


def _gaps(attribute: str, group: str, sides: Sequence[Sums], scores: Sequence[str]) -> Iterator[Gap]:
    counts = (len(sides[0]), len(sides[1]))
    common = [name for name in scores if all(name in side.names for side in sides)]
    lead = apart(*(side.only(common) for side in sides)) if min(counts) >= FEWEST and common else None
    for score in scores:
        there = lead is not None and score in common
        gap = lead.intervals[score] if there and lead is not None else None
        yield Gap(attribute, group, counts, score, gap, lead.p[score] if there and lead is not None else float("nan"))


def gap_lines(found: Sequence[Gap]) -> list[list[str]]:
    """Return a header and a row for each group: its videos, and its gap in each score."""
    scores = list(dict.fromkeys(one.score for one in found))
    rows = {(one.attribute, one.group): [f"{one.attribute}: {one.group} - others", "{} : {}".format(*one.videos)]
            for one in found}  # fmt: skip
    for one in found:
        rows[one.attribute, one.group].append(str(one))
    return [["group", "videos", *scores], *rows.values()]
