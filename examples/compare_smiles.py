"""Compare what a table says of the same people neutral and smiling: ``python -m examples.compare_smiles val.parquet``.

The table is of faces named ``<person>/00001.jpg`` (neutral) and ``<person>/00002.jpg`` (smiling).
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
    pairs = np.lexsort((table.frame, np.asarray(table.video))).reshape(-1, 2)
    if (np.asarray(table.frame)[pairs] != (1, 2)).any():
        raise SystemExit(f"{path}: a person needs two rows, frame 1 (neutral) and frame 2 (smiling)")
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
