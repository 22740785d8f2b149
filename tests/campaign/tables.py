"""The table at the end of a campaign."""

from __future__ import annotations

from collections.abc import Mapping

from .engine import Counts
from .outcomes import OUTCOMES

BAD = OUTCOMES[2:]


def table(counts: Mapping[str, Counts], *, samples: int = 1) -> str:
    """Writes one row for each part, and below it samples of every cell that should be 0."""
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
            lines += [f"* {name}, {outcome}, {len(told)} times: {_plain(told[0])}" for told in causes[:samples]]
    return "\n".join(lines) + "\n"


def _plain(told: str) -> str:
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in told)
