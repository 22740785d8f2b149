"""The page of a comparison, ``report.html``: what can be told, then figures, then every score and difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Final

from affect.files import write_whole
from evaluators.audit import LEGEND, Gap, gap_lines, gap_sentences
from evaluators.comparison import ALPHA, READING, Comparison, caveat, cell, lead_cell, sentences
from evaluators.page.markup import Cell, Link, card, fact_line, note, page, table
from evaluators.page.run import FILE, meaning_card
from evaluators.page.whiskers import Whisker, whiskers

_INTERVALS: Final = (
    "Whiskers are intervals: other videos of this kind would have given other scores. All systems are scored on the "
    "same videos, so one can be ahead although the intervals overlap: look at the differences."
)
_DOTS: Final = (
    f"Orange: {{}}, with which the others are compared. A difference with a full dot has a p below {ALPHA}; with a "
    "hollow one it may be chance."
)


@dataclass(frozen=True)
class Compared:
    """What the page of a comparison is of.

    Attributes:
        found: the comparison.
        units: what is resampled is called so.
        runs: of each system, in the order of ``found``, with their reports where they have one.
        facts: what else stands in the first lines of the page.
        keys: of a sweep, in which its runs differ; None: it is none.
        values: of each system, of these keys.
        gaps: of groups of people, by system.
    """

    found: Comparison
    units: str
    runs: Sequence[Sequence[Link]]
    facts: Sequence[str] = ()
    keys: Sequence[str] | None = None
    values: Sequence[Sequence[str]] = ()
    gaps: Mapping[str, Sequence[Gap]] = field(default_factory=dict)

    def audited(self, name: str) -> str:
        """Return which of a system's runs its gaps are of; nothing where it has one."""
        return " (its first run)" if self.found.scores[name].runs[0] > 1 else ""


def write_comparison(folder: Path, compared: Compared) -> Path:
    """Write ``report.html`` of a comparison: one file that asks nobody for anything.

    Args:
        folder: to write to; links to the runs' own pages lead from there.
        compared: what it is of.

    Returns:
        Path of the page.
    """
    found, sweep = compared.found, compared.keys is not None
    told, summary = _told_card(compared), _summary_card(compared)
    count = f"{len(found.systems)} system{'s' if len(found.systems) > 1 else ''}"
    text = page(
        f"{'Sweep' if sweep else 'Comparison'} of {count}, {found.units} {compared.units}",
        [
            *((summary, told) if sweep else (told,)),
            *_figure_cards(compared),
            *(() if sweep else (summary,)),
            _gap_card(compared),
            *_whole_cards(found),
            meaning_card(found.names),
        ],
        above=fact_line(compared.facts),
    )
    write_whole(folder / FILE, text)
    return folder / FILE


def _told_card(compared: Compared) -> str:
    """Return what can be told of the systems, and what to know before it is believed."""
    found = compared.found
    said = "".join(f"<li>{escape(sentence)}</li>\n" for sentence in sentences(found))
    notes = [note(f"{caveat(found.units, compared.units)}. {_INTERVALS if found.units > 1 else ''}")]
    if found.leads:
        notes.append(note(f"{READING[0].upper()}{READING[1:]}. {_DOTS.format(found.systems[0])}"))
    return card("What can be told", (f"<ul>\n{said}</ul>\n" if said else "") + "\n".join(notes))


def _figure_cards(compared: Compared) -> Iterator[str]:
    """Yield a figure of each main score: of each system, and of its difference from the reference."""
    found, reference = compared.found, compared.found.systems[0]
    more = dict(zip(found.systems, _assigned(compared), strict=True))
    for score in found.main:
        scores = {name: found.scores[name].intervals[score] for name in found.systems}
        leads = {name: found.leads[name].intervals[score] for name in found.leads}
        of_systems = [
            Whisker(name, more[name], one, cell(one), "reference" if name == reference and leads else "")
            for name, one in scores.items()
        ]
        differences = [
            Whisker(
                name,
                more[name],
                one,
                lead_cell(found, name, score),
                "" if found.holm[name][score] < ALPHA else "hollow",
            )
            for name, one in leads.items()
        ]
        parts = [
            whiskers("score", of_systems, scores[reference].value),
            whiskers(f"ahead of {reference} by", differences, 0.0),
        ]
        yield card(score, f'<div class="panels pairs" style="--least:300px">{"".join(parts)}</div>')


def _values(compared: Compared) -> Sequence[Sequence[str]]:
    """Return the values of each system, of the keys in which the runs of a sweep differ."""
    return compared.values or [()] * len(compared.found.systems)


def _assigned(compared: Compared) -> list[str]:
    """Return what differs in each system, as a command line has it."""
    keys = compared.keys or ()
    return [", ".join(map("=".join, zip(keys, values, strict=True))) for values in _values(compared)]


def _summary_card(compared: Compared) -> str:
    """Return the table of the main scores, and that of the differences."""
    found = compared.found
    head = ["system", *(compared.keys or ()), "runs", *found.main]
    rows: list[list[Cell]] = []
    for name, values, runs in zip(found.systems, _values(compared), compared.runs, strict=True):
        of_system = found.scores[name].intervals
        rows.append([name, *values, runs, *(cell(of_system[score]) for score in found.main)])
    tables = [table(head, rows, "main scores")]
    if found.leads:
        leads = [[name, *(lead_cell(found, name, score) for score in found.main)] for name in found.leads]
        tables.append(table([f"ahead of {found.systems[0]} by", *found.main], leads, "differences of main scores"))
    return card("Main scores", f'<div class="tables systems">{"".join(tables)}</div>')


def _gap_card(compared: Compared) -> str:
    """Return the card of the gaps between groups of people; nothing where they were not asked for."""
    parts = []
    for name, gaps in compared.gaps.items():
        title = f"<h3>{escape(name)}{compared.audited(name)}</h3>"
        head, *rows = gap_lines(gaps)
        told = note("; ".join(gap_sentences(gaps)))
        parts.append(title + table(head, rows, f"gaps of {name}") + told)
    return card("Gaps between groups", note(f"{LEGEND}.") + "".join(parts) if parts else "")


def _whole_cards(found: Comparison) -> Iterator[str]:
    """Yield the table of all scores, and that of all differences; a column is a system."""
    scores = [[score, *(cell(found.scores[name].intervals[score]) for name in found.systems)] for score in found.names]
    yield card("All scores", f"<div class=systems>{table(['', *found.systems], scores, 'all scores')}</div>")
    if found.leads:
        leads = [[score, *(lead_cell(found, name, score) for name in found.leads)] for score in found.names]
        made = table([f"ahead of {found.systems[0]} by", *found.leads], leads, "all differences")
        yield card("All differences", f"<div class=systems>{made}</div>")
