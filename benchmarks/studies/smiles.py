"""Who smiles? A network of drawn people and of photographed faces without labels, tried on people that it never saw.

    python -m benchmarks.studies.smiles FOLDER [key=value …] --priors FOLDER --faces ARCHIVE --london FOLDER
        [--seeds 0 1 2] [--all-people]

For each seed, EMMA without a DAN starts from the real faces' encoder of ``--priors`` (the folder of
``benchmarks.studies.priors``) and learns from drawn people: the teacher. It says what it sees on the pictures of
``--faces`` (a tar file or a folder), and its student learns from these and from the drawn people
(``benchmarks.studies.selftraining``). No label of a photograph is used anywhere.

Prints what ``benchmarks.studies.people --tta`` counts of both, whose ``--london`` and ``--all-people`` these are. The
command can be given again after an interruption, and with other seeds at the same time in another terminal. A
``key=value`` goes to every training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from omegaconf import OmegaConf

from affect.preprocessing import Preprocessing
from benchmarks.studies import people
from benchmarks.studies.priors import COMMON, seed_of
from benchmarks.studies.running import run, study_parser, unpacked
from benchmarks.studies.selftraining import listed, taught
from runs.assembly import build_data
from runs.ending import clear_errors

RECIPE: Final = (
    "experiment=emma", "callbacks=final", "model.network.dan=null", "warmup_epochs=0.5",
    "model.optimiser.base_lr=4.0e-3", "augmentation.grey=0.5", "augmentation.affine=0.5",
    "model.loss.expression_weight=none",  # rare expressions are as rare in what is to be said
)  # fmt: skip
TEACHER: Final = ("trainer.max_epochs=4",)
STUDENT: Final = ("trainer.max_epochs=3",)


def student_of(folder: Path, encoder: Path, seed: int, faces: Path, overrides: Sequence[str]) -> Path:
    """Train a seed's teacher and student; return the student's run."""
    given = [*RECIPE, *COMMON, f"model.network.vit.weights={encoder}", f"seed={seed}"]
    drawn = ["data=synthetic", f"render.seed={seed}"]
    teacher = run(folder / "teacher", "train", [*given, *TEACHER, *drawn, *overrides])
    root = drawn_faces(teacher)
    learnt = taught(folder, teacher, root / "training_set_annotations.txt", faces)
    data = [
        "data=affwild2_mtl", f"data.root=[{root},{faces}]", f"data.train_annotations={learnt}",
        f"data.val_annotations={root / 'validation_set_annotations.txt'}",
    ]  # fmt: skip
    return run(folder / "student", "train", [*given, *STUDENT, *data, *overrides])


def drawn_faces(run_folder: Path) -> Path:
    """Return the folder of the drawn faces that a run has learnt from."""
    plain: Any = OmegaConf.to_container(OmegaConf.load(run_folder / "config.yaml"), resolve=True)
    root = build_data(plain, Preprocessing(image_size=112)).root
    assert isinstance(root, str)  # of one layout
    return Path(root)


def study(
    folder: Path, priors: Path, faces: Path, london: Path, seeds: Sequence[int], overrides: Sequence[str],
    *, everyone: bool = False,
) -> None:  # fmt: skip
    """Make the runs that are missing, and count people."""
    students = []
    for seed in seeds:
        encoder = seed_of(priors, seed, "mae-real") / "mae-real" / "weights" / "encoder.pth"
        students.append(student_of(folder / f"seed{seed}", encoder, seed, faces, overrides))
    systems = {
        "drawn people": [place.with_name("teacher") for place in students],
        "… and faces without labels": students,
    }
    people.study(folder / "people", systems, london, None, everyone=everyone, tta=True)


def main() -> None:
    """Read the command line and make the study."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument("--priors", type=Path, required=True, help="folder of benchmarks.studies.priors")
    parser.add_argument("--faces", type=Path, required=True, help="faces without labels: tar file or folder")
    parser.add_argument("--london", type=Path, required=True, help="what prepare.py london has made")
    parser.add_argument("--all-people", action="store_true", help="read the half that chooses nothing, too")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every training")
    options = parser.parse_intermixed_args()
    folder = options.folder.absolute()
    faces = listed(unpacked(options.faces.absolute(), folder / "unpacked"), folder / "faces")
    priors, london = options.priors.absolute(), options.london.absolute()
    study(folder, priors, faces, london, options.seeds, options.overrides, everyone=options.all_people)


if __name__ == "__main__":
    with clear_errors():
        main()
