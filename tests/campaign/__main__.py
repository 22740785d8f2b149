"""``python -m tests.campaign``: tries the framework with changed files; see CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .engine import campaign
from .formats import FORMATS
from .tables import BAD, table


def main() -> int:
    """Runs the campaign, or a part of it, and prints one table.

    Returns:
        1 where a cell that should be 0 is not.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--only", action="append", metavar="PART", help="one of: " + ", ".join(FORMATS))
    parser.add_argument("--mutations", type=int, help="of each format, instead of what a whole campaign tries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=1, help="of each cell that should be 0")
    parser.add_argument("--code", type=Path, default=Path.cwd(), help="root of another version of the framework")
    parser.add_argument("--out", type=Path, help="folder for the table")
    given = parser.parse_args()
    names = [name for name in FORMATS if not given.only or name in given.only]
    started = time.monotonic()
    mutations = {name: given.mutations or FORMATS[name].mutations for name in names}
    counts = campaign(mutations, seed=given.seed, code=given.code.resolve())
    written = table(counts, samples=given.samples)
    print(written)
    print(f"{time.monotonic() - started:.0f} s")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "campaign.md").write_text(written, encoding="utf-8")
    return int(any(found.number[outcome] for found in counts.values() for outcome in BAD))


if __name__ == "__main__":
    sys.exit(main())
