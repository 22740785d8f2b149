"""Who smiles? A network that learns from drawn people and from photographed faces without labels, tried on real people.

    python -m benchmarks.studies.smiles FOLDER [key=value …] --priors FOLDER --faces ARCHIVE --london FOLDER
        [--photographs FOLDER] [--seeds 0 1 2] [--all-people]

For each seed, EMMA without a DAN starts from an encoder that has seen the pictures of ``--faces`` (a tar file or a
folder), and learns from the drawn people of that seed. The encoder is the run ``mae-real`` of
``benchmarks.studies.priors``, whose folder is ``--priors``; it is made there if it is missing. No label of a photograph
is used anywhere.

Prints what ``benchmarks.studies.people --tta`` counts; ``--london``, ``--photographs`` and ``--all-people`` are its.
The command can be given again after an interruption, and with other seeds at the same time in another terminal. A
``key=value`` goes to every training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.studies import people
from benchmarks.studies.priors import COMMON, commands
from benchmarks.studies.running import study_parser, unpacked
from runs.ending import clear_errors
from runs.stages import run

RECIPE: Final = (
    "experiment=emma", "data=synthetic", "callbacks=final", "model.network.dan=null", "trainer.max_epochs=4",
    "warmup_epochs=0.5", "model.optimiser.base_lr=4.0e-3", "augmentation.grey=0.5", "augmentation.affine=0.5",
    "model.loss.expression_weight=none",  # a rare expression is rare among those to be named, too
)  # fmt: skip
"""Chosen on every second of the people, beginning with the second."""


def trained(folder: Path, priors: Path, faces: Path, seed: int, overrides: Sequence[str]) -> Path:
    """Train the encoder and the network of a seed, unless that was done before; return the network's run."""
    of_priors = priors / f"seed{seed}"
    encoder = commands(of_priors, seed, faces, None)["mae-real"]
    place = run(of_priors / "mae-real", "train", [*encoder, *overrides])
    weights = f"model.network.vit.weights={place}/weights/encoder.pth"
    given = [*RECIPE, *COMMON, weights, f"seed={seed}", f"render.seed={seed}", *overrides]
    return run(folder / f"seed{seed}" / "emma", "train", given)


def main() -> None:
    """Read the command line and make the study."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument("--priors", type=Path, required=True, help="folder of benchmarks.studies.priors")
    parser.add_argument(
        "--faces", type=Path, required=True, help="pictures of faces without labels: tar file or folder"
    )
    parser.add_argument("--london", type=Path, required=True, help="what prepare.py london has made")
    parser.add_argument("--photographs", type=Path, help="photographs with expressions, as s-Aff-Wild2 has them")
    parser.add_argument("--all-people", action="store_true", help="read the half that chooses nothing, too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every training")
    options = parser.parse_intermixed_args()
    photographs = options.photographs and options.photographs.absolute()
    folder, priors, london = options.folder.absolute(), options.priors.absolute(), options.london.absolute()
    faces = unpacked(options.faces.absolute(), priors / "faces")
    made = [trained(folder, priors, faces, seed, options.overrides) for seed in options.seeds]
    people.study(folder / "people", {"EMMA": made}, london, photographs, everyone=options.all_people, tta=True)


if __name__ == "__main__":
    with clear_errors():
        main()
