"""What the two priors are worth to EMMA: Table 5 of the paper, on faces that anyone can have.

    python -m benchmarks.studies.priors FOLDER [key=value …] --faces ARCHIVE [--photographs FOLDER] [--seeds 0 1 2]

For each seed people are drawn anew, with and without labels, and none is in two of the data sets. Then:

1. two encoders: ``experiment=mae`` on drawn faces, and on the real ones of ``--faces`` (a tar file or a folder);
2. ``experiment=dan`` on AffectNet-like drawn faces;
3. the rows of Table 5 (``ROWS``) on videos of few labelled people and of many, validated on 160 others;
4. with ``--photographs``, the rows without a DAN on their expressions.

All share one recipe, and the last epoch is the result, so that a validation split decides nothing. Each row is a run of
train.py in ``FOLDER/seed<n>/…``; the command can be given again after an interruption, and with other seeds at the same
time in another terminal. ``results.json`` has all scores, differences and seconds. A ``key=value`` goes to every run.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from affect.errors import ConfigError
from affect.files import write_whole
from benchmarks.studies.running import labels_of, spread, study_parser, unpacked
from evaluators.intervals import estimate, nested
from evaluators.report import aligned
from evaluators.sums import Sums, sums
from evaluators.table import read_table
from runs.ending import clear_errors
from runs.stages import run, seconds

COMMON: Final = ("scale=small", "trainer=cpu")
RESULT: Final = ("callbacks=final", "scores=main")
LABELLED: Final = {
    "few": ("render.train_videos=50", "trainer.max_epochs=50", "+trainer.check_val_every_n_epoch=10"),
    "many": ("render.train_videos=400", "trainer.max_epochs=8", "+trainer.check_val_every_n_epoch=2"),
}
"""How many labelled people there are, and how often each is seen."""

ON_PHOTOGRAPHS: Final = ("trainer.max_epochs=40", "model.loss.au_pos_weight=none", "augmentation.grey=0.2",
                         "augmentation.affine=0.7", "augmentation.erase=0.3",
                         "+trainer.check_val_every_n_epoch=10")  # fmt: skip


class Row(NamedTuple):
    """A row of Table 5.

    Attributes:
        encoder: the pre-training that its ViT starts from; None: from nothing.
        dan: it has a DAN.
        paper: the paper's row that it stands for, and that row's sum (in per cent).
        overrides: what else makes it.
    """

    encoder: str | None
    dan: bool
    paper: str = ""
    overrides: tuple[str, ...] = ()


ROWS: Final[dict[str, Row]] = {
    "vit": Row(None, dan=False),
    "vit-drawn": Row("drawn", dan=False),
    "vit-real": Row("real", dan=False, paper="ViT (CelebA) 123.29"),
    "emma": Row(None, dan=True),
    "emma-drawn": Row("drawn", dan=True),
    "emma-real": Row("real", dan=True, paper="EMMA (CelebA) 126.71"),
    "emma-real-gradient": Row("real", dan=True, overrides=("model.network.stop_gradient=false",)),
    "emma-real-p1+p2": Row("real", dan=True, paper="EMMA (CelebA, EXP(p1 + p2)) 122.20",
                           overrides=("model.network.expression_scores=vit+dan",)),
}  # fmt: skip

CLAIMS: Final = {
    "a: pre-training on real faces helps with expressions of photographs": (
        "photographs", "vit-real", "vit", "P_EXPR"),
    "b: pre-training helps where few people are labelled (drawn)": ("few", "vit-drawn", "vit", "P_MTL"),
    "b: pre-training helps where few people are labelled (real)": ("few", "vit-real", "vit", "P_MTL"),
    "c: the DAN helps with valence and arousal (few)": ("few", "emma-real", "vit-real", "P_VA"),
    "c: the DAN helps with valence and arousal (many)": ("many", "emma-real", "vit-real", "P_VA"),
    "d: stopping the gradient does no harm (few)": ("few", "emma-real", "emma-real-gradient", "P_VA"),
    "d: stopping the gradient does no harm (many)": ("many", "emma-real", "emma-real-gradient", "P_VA"),
}  # fmt: skip
"""Claim → data, row, row that it is compared with, score."""


def overrides_of(row: Row, folder: Path) -> list[str]:
    """Return what makes a row of the runs that its seed's folder has."""
    encoder = f"{folder}/mae-{row.encoder}/weights/encoder.pth"
    return [
        "experiment=emma",
        f"model.network.vit.weights={encoder if row.encoder else 'random'}",
        f"model.network.dan.weights={folder}/dan/weights/dan.pth" if row.dan else "model.network.dan=null",
        *row.overrides,
    ]


def seed_of(folder: Path, seed: int, *needed: str) -> Path:
    """Return the folder of a seed, for a study that goes on with some of its runs: mae-real, dan, ….

    Raises:
        ConfigError: one of them was not made.
    """
    of_seed = folder / f"seed{seed}"
    missing = [name for name in needed if not (of_seed / name / "weights").is_dir()]
    if missing:
        lacking = f"--priors={folder} lacks {', '.join(missing)} of seed {seed}"
        raise ConfigError([f"{lacking}: run benchmarks.studies.priors with this seed first"])
    return of_seed


def commands(folder: Path, seed: int, faces: Path, photographs: Path | None) -> dict[str, list[str]]:
    """Return the overrides of each run of a seed by its name, those that others need first.

    Args:
        folder: of the seed.
        seed: of training and drawing.
        faces: pictures without labels.
        photographs: folder of photographs with expressions.
    """
    common = [*COMMON, f"seed={seed}"]
    drawn = [*common, "data=synthetic", f"render.seed={seed}"]
    made = {
        "mae-drawn": ["experiment=mae", *drawn],
        "mae-real": ["experiment=mae", *common, "data=faces", f"data.root={faces}"],
        "dan": ["experiment=dan", *drawn],
    }
    for name, row in ROWS.items():
        for people, given in LABELLED.items():
            made[f"{people}/{name}"] = [*overrides_of(row, folder), *drawn, *RESULT, *given]
        if photographs is not None and not row.dan:
            data = ["data=affwild2_mtl", f"data.root={photographs}"]
            made[f"photographs/{name}"] = [*overrides_of(row, folder), *common, *data, *RESULT, *ON_PHOTOGRAPHS]
    return made


def measured(folder: Path) -> Sums:
    """Return the sums of a run's validation table: of people; of pictures where these have expressions only."""
    table = read_table(folder / "predictions" / "val.parquet")
    labels = labels_of(folder)
    people = not np.isnan(labels.valence_arousal).all()
    return sums(table, labels, by=table.video if people else table.image)


def study(folder: Path, seeds: Sequence[int], faces: Path, photographs: Path | None, overrides: Sequence[str]) -> None:
    """Make the runs that are missing; then write and print the tables."""
    made: dict[int, dict[str, list[str]]] = {
        seed: commands(folder / f"seed{seed}", seed, faces, photographs) for seed in seeds
    }
    for seed, runs in made.items():
        for name, given in runs.items():
            run(folder / f"seed{seed}" / name, "train", [*given, *overrides])
    found = {
        name: [measured(folder / f"seed{seed}" / name) for seed in seeds] for name in made[seeds[0]] if "/" in name
    }
    cost = {name: [seconds(folder / f"seed{seed}" / name) for seed in seeds] for name in made[seeds[0]]}
    scores = {
        name: {score: [one.named()[score] for one in of_seeds] for score in of_seeds[0].names}
        for name, of_seeds in found.items()
    }
    print(aligned(table(scores, cost)), end="\n\n")
    claims = {}
    for claim, (data, ours, other, score) in CLAIMS.items():
        if f"{data}/{ours}" in found:
            pair = found[f"{data}/{ours}"], found[f"{data}/{other}"]
            # every seed has the same photographs, and people of its own
            claims[claim] = estimate(*pair).intervals[score] if data == "photographs" else nested(*pair, score)
            print(f"{claim}: {score} {claims[claim]}")
    results = {"seeds": list(seeds), "scores": scores, "difference, low, high": claims, "seconds": cost}
    write_whole(folder / "results.json", json.dumps(results, indent=2) + "\n")
    print(f"\nresults: {folder / 'results.json'}")


def table(scores: Mapping[str, Mapping[str, Sequence[float]]], cost: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Return header and a row for each run: mean ± deviation over seeds, the paper's row, minutes."""
    names = ("P_MTL", "P_VA", "P_EXPR", "P_AU")
    rows = [["run", *names, "paper", "minutes"]]
    for name, seen in cost.items():
        of_run = scores.get(name, {})
        row = ROWS.get(name.partition("/")[2])
        shown = [spread(of_run[score]) if score in of_run else "" for score in names]
        rows.append([name, *shown, row.paper if row else "", f"{statistics.mean(seen) / 60:.1f}"])
    return rows


def main() -> None:
    """Read the command line and make the study."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument(
        "--faces", type=Path, required=True, help="pictures of faces without labels: tar file or folder"
    )
    parser.add_argument("--photographs", type=Path, help="photographs with expressions, as s-Aff-Wild2 has them")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every run")
    options = parser.parse_intermixed_args()
    folder = options.folder.absolute()
    photographs = options.photographs and options.photographs.absolute()
    study(folder, options.seeds, unpacked(options.faces.absolute(), folder / "faces"), photographs, options.overrides)


if __name__ == "__main__":
    with clear_errors():
        main()
