"""Compare what a table says of the same people neutral and smiling: ``python -m examples.compare_smiles val.parquet``.

The table is of what ``prepare.py london`` makes: faces called ``<person>_neutral`` and ``<person>_smiling``.
"""

import sys
from pathlib import Path

import numpy as np

from evaluators.table import column_names, read_table

RESAMPLES = 10_000


def compare(path: Path) -> list[str]:
    """Return a line for each value: its mean change with the smile, and the share of people with whom it rises.

    Both have a 95 % interval: people are drawn with replacement ``RESAMPLES`` times.

    Args:
        path: the prediction table.
    """
    table = read_table(path)
    row_of = {name: row for row, name in enumerate(table.video)}
    people = sorted({name.rsplit("_", 1)[0] for name in row_of})
    if row_of.keys() != {f"{person}_{look}" for person in people for look in ("neutral", "smiling")}:
        raise SystemExit(f"{path}: each person needs the rows <person>_neutral and <person>_smiling, and no others")
    pairs = np.array([[row_of[f"{person}_{look}"] for look in ("neutral", "smiling")] for person in people])
    drawn = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    lines = [f"{len(pairs)} people: value, mean change [95 %], share of people with a rise [95 %]"]
    for key, values in table.predictions.items():
        change = values[pairs[:, 1]] - values[pairs[:, 0]]
        for name, of_people in zip(column_names(key, table.expressions), change.T, strict=True):
            low, high = np.percentile(of_people[drawn].mean(axis=1), [2.5, 97.5])
            rises = of_people > 0
            least, most = np.percentile(rises[drawn].mean(axis=1), [2.5, 97.5])
            share = f"{rises.mean():.2f} [{least:.2f}, {most:.2f}]"
            lines.append(f"{name:16} {of_people.mean():+.3f} [{low:+.3f}, {high:+.3f}]  {share}")
    return lines


if __name__ == "__main__":
    print("\n".join(compare(Path(sys.argv[1]))))
