"""Systems beside one another on the same videos: scores, leads over one of them, p by Holm, and what to say of it."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from affect.errors import DataError
from evaluators.intervals import Estimate, Interval, estimate
from evaluators.names import MAIN
from evaluators.sums import Sums

ALPHA: Final = 0.05
HELD: Final = {45: "91 to 93 %", 100: "92 to 95 %"}
"""Of fewer videos than these, so many intervals hold the truth in ``benchmarks.studies.coverage`` (30, and 60)."""

READING: Final = (
    f"an interval is of its score alone; p is Holm's, for all systems, classes and units of a task; * below {ALPHA}"
)
"""What stands below scores, and differences of them with their p."""

_TASKS: Final = (
    ("P_MTL",),
    ("P_VA", "CCC_"),
    ("P_EXPR", "P_LSD", "F1_EXPR", "ACC_EXPR", "MACRO_ACC"),
    ("P_AU", "F1_AU", "ACC_AU"),
)
"""What the scores of a task begin with; Holm's correction goes over systems, classes and units within each."""


@dataclass(frozen=True)
class System:
    """One system: the sums of each of its runs, on the same videos."""

    name: str
    runs: tuple[Sums, ...]


@dataclass(frozen=True)
class Comparison:
    """Systems, their scores, and how far each is ahead of one of them.

    Attributes:
        systems: names, that of the reference first.
        scores: of each system.
        leads: over the reference, of each other system.
        holm: the p of ``leads`` after Holm's correction, by system and score.
    """

    systems: tuple[str, ...]
    scores: Mapping[str, Estimate]
    leads: Mapping[str, Estimate]
    holm: Mapping[str, Mapping[str, float]]

    @property
    def names(self) -> tuple[str, ...]:
        """The scores that all systems have."""
        return tuple(self.scores[self.systems[0]].intervals)

    @property
    def main(self) -> list[str]:
        """Those of ``names`` that the challenges score."""
        return [name for name in self.names if name in MAIN]

    @property
    def units(self) -> int:
        """How many videos the scores are of."""
        return self.scores[self.systems[0]].units


def compare(systems: Sequence[System]) -> Comparison:
    """Compare systems with the first of them.

    Args:
        systems: at least one; all of the same videos. Scores that one of them lacks are left out.

    Raises:
        DataError: they have no score in common, or two have the same name.
    """
    called = [system.name for system in systems]
    if twice := sorted({name for name in called if called.count(name) > 1}):
        raise DataError(f"{', '.join(twice)}: given twice; a system cannot be ahead of itself")
    everything = [set(run.names) for system in systems for run in system.runs]
    common = [name for name in systems[0].runs[0].names if all(name in one for one in everything)]
    if not common:
        raise DataError(
            f"{', '.join(called)}: no task that all of them predict has labels; compare systems of one task"
        )
    runs = {system.name: [run.only(common) for run in system.runs] for system in systems}
    scores = {name: estimate(of_system) for name, of_system in runs.items()}
    leads = {name: estimate(runs[name], runs[called[0]]) for name in called[1:]}
    return Comparison(tuple(called), scores, leads, _holm_by_task({name: lead.p for name, lead in leads.items()}))


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p values for how many they are (Holm 1979, "A simple sequentially rejective multiple test procedure").

    Args:
        p: of hypotheses that are tested together; NaN: of none, which does not count.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]
    adjusted = np.full(len(values), np.nan)
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    result: list[float] = adjusted.tolist()
    return result


def _holm_by_task(p: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    adjusted: dict[str, dict[str, float]] = {name: {} for name in p}
    for begins in _TASKS:
        family = [(system, score) for system, of_system in p.items() for score in of_system if score.startswith(begins)]
        values = holm([p[system][score] for system, score in family])
        for (system, score), value in zip(family, values, strict=True):
            adjusted[system][score] = value
    return {system: {score: adjusted[system][score] for score in p[system]} for system in p}


def sentences(found: Comparison) -> Iterator[str]:
    """Yield what can be said of each system, by Holm's p at .05: of its main scores only."""
    reference = found.systems[0]
    for name, lead in found.leads.items():
        told: dict[str, list[str]] = {"ahead": [], "behind": [], "cannot tell": []}
        for score in found.main:
            one = lead.intervals[score]
            side = "ahead" if one.value > 0 else "behind"
            sure = found.holm[name][score] < ALPHA
            told[side if sure else "cannot tell"].append(f"{score} by {span(one)}" if sure else score)
        words = {"ahead": "is ahead of", "behind": "is behind"}
        parts = [f"{words[side]} {reference} in {', '.join(told[side])}" for side in words if told[side]]
        if told["cannot tell"]:
            parts.append(f"cannot be told from {'it' if parts else reference} in {', '.join(told['cannot tell'])}")
        yield f"{name} {'; '.join(parts)}{_one_run(lead)}"


def _one_run(lead: Estimate) -> str:
    if max(lead.runs) == 1:
        return " (one run of each: another seed may differ)"
    return " (one run of one of them: another seed of it may differ)" if min(lead.runs) == 1 else ""


def span(one: Interval) -> str:
    """Write how large a difference is, with its interval, whichever side is ahead."""
    return f"{abs(one.value):.3f} [{', '.join(f'{end:.3f}' for end in sorted(map(_side(one), (one.low, one.high))))}]"


def _side(one: Interval) -> Any:
    return (lambda end: end) if one.value >= 0 else (lambda end: -end)


def printed(found: Comparison) -> list[list[str]]:
    """Return a header and a row for each system: main scores with intervals, then leads with Holm's p."""
    rows = [["system", "runs", *found.main]]
    for name in found.systems:
        of_system = found.scores[name]
        rows.append([name, str(of_system.runs[0]), *(cell(of_system.intervals[score]) for score in found.main)])
    for name in found.leads:
        rows.append([f"{name} - {found.systems[0]}", "", *(lead_cell(found, name, score) for score in found.main)])
    return rows


def lead_cell(found: Comparison, name: str, score: str) -> str:
    """Write how far a system is ahead of the reference, with interval and Holm's p."""
    p = found.holm[name][score]
    return f"{found.leads[name].intervals[score]} {_p(p)}{' *' if p < ALPHA else ''}".rstrip()


def _p(value: float) -> str:
    return "" if np.isnan(value) else "p < .001" if value < 0.001 else f"p {value:.3f}"


def caveat(units: int, what: str) -> str:
    """Say how many units intervals are of, and how often such hold the truth where the units are few.

    Args:
        units: how many.
        what: they are called.
    """
    if units < 2:
        return f"no intervals: they need two {what} or more"
    held = next((share for limit, share in HELD.items() if units < limit), "")
    return f"95 % intervals over {units} {what}{f' (simulated: {held} hold)' if held else ''}"


def interval_text(found: Estimate, what: str) -> str:
    """Return the intervals of one system's scores, in lines of a terminal."""
    if found.units < 2:
        return caveat(found.units, what)
    spans = [f"{name}~{one.low:.3f}~to~{one.high:.3f}" for name, one in found.intervals.items()]  # ~: no line ends here
    text = textwrap.fill(f"{caveat(found.units, what)}: {', '.join(spans)}", 79, subsequent_indent="  ")
    return text.replace("~", " ")


def cell(one: Interval) -> str:
    """Write a score with its interval."""
    return f"{one.value:.3f}" if np.isnan(one.low) else f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def as_rows(found: Comparison) -> list[dict[str, Any]]:
    """Return a row for each system and score; numbers that do not exist are None."""
    rows = []
    for name in found.systems:
        for score, one in found.scores[name].intervals.items():
            lead = found.leads[name].intervals[score] if name in found.leads else Interval(*[np.nan] * 3)
            p = found.leads[name].p[score] if name in found.leads else np.nan
            adjusted = found.holm[name][score] if name in found.leads else np.nan
            numbers = {
                "value": one.value, "low": one.low, "high": one.high, "lead": lead.value, "lead_low": lead.low,
                "lead_high": lead.high, "p": p, "p_holm": adjusted,
            }  # fmt: skip
            row = {"system": name, "runs": found.scores[name].runs[0], "videos": found.units, "score": score}
            rows.append(row | {key: None if np.isnan(value) else float(value) for key, value in numbers.items()})
    return rows


def as_csv(found: Comparison) -> str:
    """Return ``as_rows`` as CSV."""
    rows, text = as_rows(found), io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_latex(found: Comparison) -> str:
    """Return the main scores as a table for the package booktabs; a lead that Holm's p finds is bold."""
    lines = [rf"\begin{{tabular}}{{l{'r' * len(found.main)}}}", r"\toprule"]
    lines += [" & ".join(["", *(name.replace("_", r"\_") for name in found.main)]) + r" \\", r"\midrule"]
    for name in found.systems:
        cells = []
        for score in found.main:
            one = found.scores[name].intervals[score]
            span = "" if np.isnan(one.low) else rf" {{\scriptsize [{one.low:.3f}, {one.high:.3f}]}}"
            text = f"{one.value:.3f}{span}"
            better = name in found.leads and found.leads[name].intervals[score].value > 0
            cells.append(rf"\textbf{{{text}}}" if better and found.holm[name][score] < ALPHA else text)
        lines.append(" & ".join([_escaped(name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(one, f"\\{one}" if one in "&%$#_{}" else one) for one in text)
