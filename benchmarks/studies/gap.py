"""What narrows the gap between drawn and photographed faces: one change of the drawings at a time.

    python -m benchmarks.studies.gap FOLDER [key=value …] --priors FOLDER --london FOLDER [--photographs FOLDER]
        [--seeds 0 1 2]

``--priors`` is the folder of ``benchmarks.studies.priors``, with encoder and DAN of these seeds; ``--london`` and
``--photographs`` are those of ``benchmarks.studies.people``, which counts. For each seed the row ``emma-real`` of the
priors is trained on many labelled people, with each of ``CHANGES``; encoder and DAN stay the same.

Prints what ``people`` prints, of the half of the people that recipes are chosen on, and puts training faces of each
change beside photographed ones (``FOLDER/gap.png``). The command can be given again after an interruption, and with
other seeds at the same time in another terminal. A ``key=value`` goes to every training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf

from affect.preprocessing import Preprocessing
from benchmarks.studies import people
from benchmarks.studies.priors import COMMON, LABELLED, RESULT, ROWS, overrides_of, seed_of
from benchmarks.studies.running import study_parser
from datamodules.pictures import read_image
from datamodules.resizing import resize
from rendering.sketch import Image
from runs.assembly import build_data
from runs.config import resolve
from runs.ending import clear_errors
from runs.stages import run

CHANGES: Final[Mapping[str, Sequence[str]]] = {
    "as drawn": (),
    "background": ("+render.walls=50",),
    "blur": ("+augmentation.blur=0.5",),
    "grey": ("augmentation.grey=0.5",),
    "sensor noise": ("+augmentation.noise=0.5",),
    "JPEG": ("+augmentation.jpeg=0.5",),
    "skin": ("+render.skin=50",),
    "wrinkles": ("+render.folds=50",),
    "proportions": ("+render.shapes=50",),
    "place": ("augmentation.affine=0.5",),
}
"""What is changed, as overrides of the training."""

SHOWN: Final = 10
"""Faces of each row of the picture."""


def study(
    folder: Path, priors: Path, london: Path, photographs: Path | None, seeds: Sequence[int], overrides: Sequence[str]
) -> None:
    """Make the runs that are missing, count people, and draw the faces."""
    places: dict[str, list[Path]] = {name: [] for name in CHANGES}
    for seed in seeds:
        of_seed = seed_of(priors, seed, "mae-real", "dan")
        common = [*overrides_of(ROWS["emma-real"], of_seed), *COMMON, *RESULT, f"seed={seed}",
                  "data=synthetic", f"render.seed={seed}", *LABELLED["many"]]  # fmt: skip
        for name, change in CHANGES.items():
            given = [*common, *change, *overrides]
            places[name].append(run(folder / f"seed{seed}" / name.replace(" ", "-"), "train", given))
    draw({name: of_change[0] for name, of_change in places.items()}, london, folder / "gap.png")
    print(f"picture: {folder / 'gap.png'}\n")
    people.study(folder / "people", places, london, photographs)


def training_faces(run_folder: Path) -> list[Image]:
    """Return the first faces of a run's first batch, as its network saw them."""
    config = OmegaConf.load(run_folder / "config.yaml")
    assert isinstance(config, DictConfig)
    data = build_data(resolve(config), Preprocessing(image_size=112))
    data.setup("fit")
    return [image.permute(1, 2, 0).numpy() for image in next(iter(data.train_dataloader()))["image"][:SHOWN]]


def draw(runs: Mapping[str, Path], london: Path, file: Path) -> None:
    """Draw a row of training faces for each run, beneath rows of photographed ones."""
    rows: dict[str, list[Image]] = {}
    for look in ("neutral", "smiling"):
        found = sorted((london / "faces").rglob(f"*_{look}/*.jpg"))[1::2]
        rows[f"people, {look}"] = [resize(read_image(path), 112, "bilinear") for path in found[:SHOWN]]
    rows |= {name: training_faces(place) for name, place in runs.items()}
    figure = Figure(figsize=(SHOWN * 0.9 + 1.2, len(rows) * 0.92), layout="constrained")
    axes = figure.subplots(len(rows), SHOWN, squeeze=False)
    for line, (name, faces) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.axis("off")
        for axis, face in zip(line, faces, strict=False):
            axis.imshow(face)
        line[0].text(-0.1, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def main() -> None:
    """Read the command line and make the study."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument("--priors", type=Path, required=True, help="folder of benchmarks.studies.priors")
    parser.add_argument("--london", type=Path, required=True, help="what prepare.py london has made")
    parser.add_argument("--photographs", type=Path, help="photographs with expressions, as s-Aff-Wild2 has them")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every training")
    options = parser.parse_intermixed_args()
    photographs = options.photographs and options.photographs.absolute()
    folder, priors, london = options.folder.absolute(), options.priors.absolute(), options.london.absolute()
    study(folder, priors, london, photographs, options.seeds, options.overrides)


if __name__ == "__main__":
    with clear_errors():
        main()
