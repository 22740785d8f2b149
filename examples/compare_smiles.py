"""Compare what a table says of the same people neutral and smiling: ``python -m examples.compare_smiles val.parquet``.

The table is of what ``prepare.py london`` makes: faces called ``<person>_neutral`` and ``<person>_smiling``.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.stats import binomtest  # type: ignore[import-untyped]

from evaluators.intervals import estimate
from evaluators.sums import means
from evaluators.table import column_names, read_table


def compare(path: Path) -> list[str]:
    """Return a line for each value: its mean change with the smile, and the share of people with whom it rises.

    The 95 % interval of the first is that of ``evaluators.intervals``, of the second Wilson's.

    Args:
        path: the prediction table.
    """
    table = read_table(path)
    row_of = {name: row for row, name in enumerate(table.video)}
    people = sorted({name.rsplit("_", 1)[0] for name in row_of})
    if row_of.keys() != {f"{person}_{look}" for person in people for look in ("neutral", "smiling")}:
        raise SystemExit(f"{path}: each person needs the rows <person>_neutral and <person>_smiling, and no others")
    pairs = np.array([[row_of[f"{person}_{look}"] for look in ("neutral", "smiling")] for person in people])
    lines = [f"{len(pairs)} people: value, mean change [95 %], share of people with a rise [95 %]"]
    for key, values in table.predictions.items():
        change = values[pairs[:, 1]] - values[pairs[:, 0]]
        by_name = dict(zip(column_names(key, table.expressions), change.T, strict=True))
        for name, mean in estimate([means(by_name, people)]).intervals.items():
            share = binomtest(int((by_name[name] > 0).sum()), len(people))
            low, high = share.proportion_ci(method="wilson")
            lines.append(f"{name:16} {mean}  {share.statistic:.2f} [{low:.2f}, {high:.2f}]")
    return lines


if __name__ == "__main__":
    print("\n".join(compare(Path(sys.argv[1]))))
