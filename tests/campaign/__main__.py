"""``python -m tests.campaign``: tries the framework with changed files; see CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .engine import HOSTILE, campaign
from .formats import FORMATS
from .hostile import cases
from .kills import SCENARIOS
from .tables import open_faults, table


def main() -> int:
    """Runs the campaign, or a part of it, and prints one table.

    Returns:
        1 where a cell that should be 0 is not.
    """
    parts = {name: scenario.kills for name, scenario in SCENARIOS.items()}
    parts |= {HOSTILE: len(cases()), **{name: format_.mutations for name, format_ in FORMATS.items()}}
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--only", action="append", metavar="PART", help="one of: " + ", ".join(parts))
    parser.add_argument("--mutations", type=int, help="of each format, instead of what a whole campaign tries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=8, help="of each cell that should be 0")
    parser.add_argument("--code", type=Path, default=Path.cwd(), help="root of another version of the framework")
    parser.add_argument("--out", type=Path, help="folder for the table")
    given = parser.parse_args()
    started = time.monotonic()
    if given.mutations:
        parts.update(dict.fromkeys(FORMATS, given.mutations))
    chosen = {
        name: number
        for name, number in parts.items()
        if not given.only or name in given.only or name.partition(":")[0] in given.only
    }
    counts = campaign(chosen, seed=given.seed, code=given.code.resolve())
    written = table(counts, samples=given.samples)
    print(written)
    print(f"{time.monotonic() - started:.0f} s")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "campaign.md").write_text(written, encoding="utf-8")
    return int(open_faults(counts) > 0)


if __name__ == "__main__":
    sys.exit(main())
