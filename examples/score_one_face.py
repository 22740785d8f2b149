"""Print what a trained network says of one face: ``python -m examples.score_one_face <run> face.jpg``."""

import sys
from pathlib import Path

from runs.predictor import Predictor


def score(checkpoint: Path, picture: Path) -> dict[str, float]:
    """Return valence, arousal and the probabilities of expressions and action units, by their columns in a table.

    Args:
        checkpoint: a run folder, or a checkpoint, of EMMA, CoTEX, DAN, a baseline or an EmotiEffNet.
        picture: a face, cut out as the network's training faces were.
    """
    model = Predictor(checkpoint)  # a list: the mean of several
    said = model.crops([picture])  # arrays by task, a row for each face
    # model.pictures(["party.jpg"]) and model.video("clip.mp4") find the faces, and return a table
    return {name: float(value) for task in said for name, value in zip(model.columns[task], said[task][0], strict=True)}


if __name__ == "__main__":
    for name, value in score(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{name:16} {value:6.3f}")
