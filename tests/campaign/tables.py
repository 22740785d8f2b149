"""The table at the end of a campaign."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .engine import Counts
from .outcomes import OUTCOMES

BAD = OUTCOMES[2:]
THIS = 12
"""The issue that asked for the campaign: no file runs code, no kill loses work."""
ELSEWHERE = (
    # the order of the columns that a header gives, and headers with other names
    (re.compile(r"read although (unknown header|images do not stand first)"), 13),
    (re.compile(r"read although more than one name"), 13),
    (re.compile(r"permute_\w+.*: read although (no |none of|not from)"), 13),
    (re.compile(r"(permute_\w+|swap_fields).*: \[\d+\]\[\d+\]: .* instead of"), 13),
)
"""What is told of faults that belong to other issues."""


def table(counts: Mapping[str, Counts], *, samples: int = 1) -> str:
    """Writes one row for each part, and below it each cause of every cell that should be 0, with the issue of it."""
    width = max(map(len, counts), default=4)
    head = f"| {'':{width}} | files | {' | '.join(OUTCOMES)} | refused, though legal | s |"
    lines = [head, "|" + "---|" * (len(OUTCOMES) + 4)]
    for name, found in counts.items():
        cells = " | ".join(str(found.number[outcome]) for outcome in OUTCOMES)
        total = sum(found.number.values())
        lines.append(f"| {name:{width}} | {total} | {cells} | {found.legal} | {found.seconds:.0f} |")
    lines.append("")
    for name, found in counts.items():
        for outcome in BAD:
            causes = sorted(found.causes.get(outcome, {}).values(), key=len, reverse=True)
            for told in causes[:samples]:
                lines.append(f"* {name}, {outcome}, {len(told)} times, issue {issue_of(told[0])}: {_plain(told[0])}")
    return "\n".join(lines) + "\n"


def open_faults(counts: Mapping[str, Counts], issue: int = THIS) -> int:
    """How many files came out as they should not, by a fault that belongs to an issue."""
    return sum(
        issue_of(told) == issue
        for found in counts.values()
        for outcome in BAD
        for causes in found.causes.get(outcome, {}).values()
        for told in causes
    )


def issue_of(told: str) -> int:
    """The issue that a fault belongs to, by what is told of it."""
    return next((issue for pattern, issue in ELSEWHERE if pattern.search(told)), THIS)


def _plain(told: str) -> str:
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in told)
