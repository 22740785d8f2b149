"""Print what a trained network says of one face: ``python -m examples.score_one_face best.ckpt face.jpg``."""

import sys
from pathlib import Path
from typing import Any

import torch

from datamodules.pictures import read_image
from datamodules.transforms import EvalTransform
from evaluators.table import column_names
from runs.checkpoints import load_module


def score(checkpoint: Path, picture: Path) -> dict[str, float]:
    """Return valence, arousal and the probabilities of expressions and action units, by their columns in a table.

    Args:
        checkpoint: ``checkpoints/best.ckpt`` of a run of EMMA, CoTEX, DAN, a baseline or an EmotiEffNet.
        picture: a face, cut out as the network's training faces were.
    """
    module = load_module(checkpoint).eval()
    wanted = module.preprocessing
    transform = EvalTransform(image_size=wanted.image_size, interpolation=wanted.interpolation)
    face = torch.from_numpy(transform(read_image(picture), epoch=0, row=0)).permute(2, 0, 1)
    batch: Any = {"image": face[None]}  # labels are for losses and scores
    with torch.no_grad():
        said: Any = module.predict(batch)
    names = [name for task in said for name in column_names(task, module.expressions)]
    return dict(zip(names, torch.cat(list(said.values()), dim=1)[0].tolist(), strict=True))


if __name__ == "__main__":
    for name, value in score(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{name:16} {value:6.3f}")
