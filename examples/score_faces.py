"""Print what a trained network says of every face in a picture: ``python -m examples.score_faces <run> party.jpg``."""

import sys
from collections.abc import Iterator
from pathlib import Path

from evaluators.table import to_arrow
from runs.ending import clear_errors
from runs.predictor import Predictor


def lines(run: Path, picture: Path) -> Iterator[str]:
    """Yield what is said of each face, from left to right.

    Args:
        run: a run folder, or a checkpoint, of EMMA, CoTEX, DAN, a baseline or an EmotiEffNet.
        picture: a whole photograph.
    """
    model = Predictor(run)  # a list: the mean of several
    table = model.pictures([picture])  # whole pictures; of a video: model.video("clip.mp4")
    rows = to_arrow(table)  # a row for each face; rows.to_pandas() is a DataFrame
    for row in rows.to_pylist():
        yield f"face {row['face_id']}" if row["success"] else "no face"
        yield from (f"  {name:16} {value:8.3f}" for name, value in row.items() if isinstance(value, float))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with clear_errors():
        print(*lines(Path(sys.argv[1]), Path(sys.argv[2])), sep="\n")
