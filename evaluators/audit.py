"""Do scores differ between groups of people? Gaps with intervals, over the columns of a file of attributes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from affect.errors import DataError
from affect.frames import Frames
from evaluators.comparison import ALPHA, holm, span
from evaluators.intervals import RESAMPLES, Interval, apart
from evaluators.names import MAIN
from evaluators.postprocess.thresholds import Thresholds
from evaluators.postprocess.timeline import lists_pictures
from evaluators.sums import Sums, sums
from evaluators.table import Table

FEWEST: Final = 10
"""A group of fewer videos has no interval that is worth its name."""

MOST: Final = 20
"""An attribute of more groups holds numbers, or names of people: each of them would be a group of its own."""
LEGEND: Final = f"p by Holm over all groups; * below {ALPHA}; videos of a group and of the others, {FEWEST} at least"
"""What stands below the lines of an audit."""


@dataclass(frozen=True)
class Gap:
    """A group, and how far its score is above that of the other groups of an attribute.

    Attributes:
        attribute: name of the column.
        group: its value.
        against: the other group, where there are two, or ``others``.
        videos: of the group, and of the others, that the score is of.
        score: name of the score.
        gap: with its interval; None: a side has too few videos.
        p: by Holm over all gaps of the score; NaN where there is no gap.
    """

    attribute: str
    group: str
    against: str
    videos: tuple[int, int]
    score: str
    gap: Interval | None
    p: float

    def __str__(self) -> str:
        if self.gap is None:
            return "cannot tell"
        return f"{self.gap} p {self.p:.3f}{' *' if self.p < ALPHA else ''}"


def comparable(columns: Mapping[str, Sequence[str]]) -> tuple[dict[str, Sequence[str]], list[str]]:
    """Return the attributes that have two groups or more, and of the others why they are left out.

    Args:
        columns: values of the rows by attribute; an empty one is not known.

    Raises:
        DataError: none has two groups, or one has more than ``MOST``.
    """
    kept, left_out = {}, []
    for name, values in columns.items():
        groups = sorted({*values} - {""})
        if len(groups) > MOST:
            raise DataError(
                f"{name} has {len(groups)} groups, {groups[0]!r} and {groups[1]!r} for example, and can have {MOST}: "
                "put numbers into ranges, such as young and old"
            )
        if len(groups) > 1:
            kept[name] = values
        else:
            left_out.append(f"{name}: {f'all are {groups[0]!r}' if groups else 'no value'}")
    if not kept:
        raise DataError(f"no attribute has two groups to compare ({'; '.join(left_out)})")
    return kept, left_out


def audit(
    table: Table,
    labels: Frames,
    attributes: Mapping[str, Sequence[str]],
    au_thresholds: Thresholds = 0.5,
    draws: int = RESAMPLES,
) -> list[Gap]:
    """Compare each group of each attribute with all others that are known; of two groups, the first with the second.

    Args:
        table: predictions of the rows of ``labels``.
        labels: the truth.
        attributes: values of the rows by attribute; rows with an empty one are left out.
        au_thresholds: from which probability on a unit is positive.
        draws: number of resamples.
    """
    units = table.image if lists_pictures(table) else table.video
    found: list[Gap] = []
    for attribute, values in attributes.items():
        of_row = np.asarray(values, dtype=object).astype(str)
        groups = sorted(set(of_row) - {""})
        numbers = {group: number for number, group in enumerate(["", *groups])}
        # a video of two groups, which is darker at its end, say, is one in each of them
        by = [f"{numbers[value]} {unit}" for value, unit in zip(of_row.tolist(), units, strict=True)]
        every = sums(table, labels, by=by, au_thresholds=au_thresholds)
        every = every.only([name for name in every.names if name in MAIN])
        number = np.array([int(unit.partition(" ")[0]) for unit in every.units])
        for group in groups[:1] if len(groups) == 2 else groups if len(groups) > 2 else []:
            sides = [every.select(number == numbers[group]), every.select((number != numbers[group]) & (number > 0))]
            found += _gaps((attribute, group, groups[1] if len(groups) == 2 else "others"), sides, draws)
    adjusted: list[Gap] = []
    for score in dict.fromkeys(one.score for one in found):
        of_score = [one for one in found if one.score == score]
        p = holm([one.p for one in of_score])
        adjusted += [replace(one, p=value) for one, value in zip(of_score, p, strict=True)]
    return adjusted


def _gaps(names: tuple[str, str, str], sides: Sequence[Sums], draws: int) -> Iterator[Gap]:
    supports = [side.support() for side in sides]
    counts = {score: (supports[0][score], supports[1][score]) for score in sides[0].names}
    enough = [score for score, videos in counts.items() if min(videos) >= FEWEST]
    lead = apart(sides[0].only(enough), sides[1].only(enough), draws=draws) if enough else None
    for score, videos in counts.items():
        there = lead is not None and score in enough
        gap = lead.intervals[score] if there and lead is not None else None
        yield Gap(*names, videos, score, gap, lead.p[score] if there and lead is not None else float("nan"))


def gap_lines(found: Sequence[Gap]) -> list[list[str]]:
    """Return a header and a row for each group: its videos, and its gap in each score."""
    scores = list(dict.fromkeys(one.score for one in found))
    rows = {(one.attribute, one.group): [f"{one.attribute}: {one.group} - {one.against}", "{} : {}".format(*one.videos)]
            for one in found}  # fmt: skip
    for one in found:
        rows[one.attribute, one.group].append(str(one))
    return [["group", "videos", *scores], *rows.values()]


def gaps_csv(found: Mapping[str, Sequence[Gap]]) -> str:
    """Return a line of CSV for each system, group and score; numbers that do not exist are empty.

    Args:
        found: gaps by system.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["system", "attribute", "group", "against", "videos", "videos_against", "score", *Interval._fields, "p_holm"]
    )
    for system, gaps in found.items():
        for one in gaps:
            numbers = [*one.gap, one.p] if one.gap else [""] * 4
            writer.writerow([system, one.attribute, one.group, one.against, *one.videos, one.score, *numbers])
    return text.getvalue()


def gap_sentences(found: Sequence[Gap]) -> Iterator[str]:
    """Yield what can be said of the groups, by Holm's p: a sentence for each whose gap is certain, or that none is."""
    sure = [one for one in found if one.gap is not None and one.p < ALPHA]
    for one in sure:
        assert one.gap is not None
        side = "higher" if one.gap.value > 0 else "lower"
        yield f"{one.score} is {side} by {span(one.gap)} where {one.attribute} is {one.group} than {_than(one)}"
    if not sure:
        yield "no gap between groups can be told from chance"


def _than(one: Gap) -> str:
    return "where it is not" if one.against == "others" else f"where it is {one.against}"
