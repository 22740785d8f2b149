"""What the two ensembles of Table 5 are worth: of epochs, and of hyper-parameters, on drawn faces.

    python -m benchmarks.studies.ensembles FOLDER [key=value …] --priors FOLDER [--seeds 0 1 2]

``--priors`` is the folder of ``benchmarks.studies.priors``, with encoder and DAN of these seeds. For each seed, EMMA is
trained on many labelled people with each of ``MEMBERS``. One ensemble is the mean of these runs' prediction tables. The
other is the mean over every second epoch of the first of them (``callbacks=epochs``), from half of the training on.

Prints the scores, and for each ensemble the difference to its best member with an interval over people. The best member
is chosen on those very people, which is in its favour. The command can be given again after an interruption, and with
other seeds at the same time in another terminal. A ``key=value`` goes to every training.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from affect.files import write_whole
from benchmarks.studies.priors import COMMON, LABELLED, ROWS, overrides_of, seed_of
from benchmarks.studies.running import labels_of, study_parser
from evaluators.intervals import nested
from evaluators.postprocess.blending import blend
from evaluators.report import aligned
from evaluators.sums import Sums, sums
from evaluators.table import Table, read_table
from runs.ending import clear_errors
from runs.stages import run

MEMBERS: Final = {
    "base": (),
    "half the rate": ("model.optimiser.base_lr=4.0e-3",),
    "decay by layer": ("model.optimiser.layer_decay=0.75",),
    "smoothed labels": ("model.loss.label_smoothing=0.1",),
}
"""Hyper-parameters that members of an ensemble differ in."""

PAPER: Final = {"epochs": "130.44", "hyper-parameters": "133.68"}
SHOWN: Final = ("P_MTL", "P_VA", "P_EXPR", "P_AU")


def tables_of(folder: Path, priors: Path, seed: int, overrides: Sequence[str]) -> dict[str, dict[str, Table]]:
    """Make the runs of a seed that are missing; return the tables of the members of each ensemble by their names."""
    of_seed = seed_of(priors, seed, "mae-real", "dan")
    common = [*overrides_of(ROWS["emma-real"], of_seed), *COMMON, *LABELLED["many"], f"seed={seed}",
              "data=synthetic", f"render.seed={seed}", "scores=main", "callbacks=epochs",
              "callbacks.epochs.every_n_epochs=2"]  # fmt: skip
    runs = {
        name: run(folder / f"seed{seed}" / name.replace(" ", "-"), "train", [*common, *member, *overrides])
        for name, member in MEMBERS.items()
    }
    base = runs["base"]
    number = {path: int(path.stem.removeprefix("epoch")) for path in (base / "checkpoints").glob("epoch*.ckpt")}
    late = [path for path in sorted(number, key=number.__getitem__) if 2 * (number[path] + 1) >= max(number.values())]
    epochs = {
        path.stem: run(folder / f"seed{seed}" / path.stem, "evaluate", [f"checkpoint={path}", "scores=main"])
        for path in late
    }
    return {
        kind: {name: read_table(place / "predictions" / "val.parquet") for name, place in members.items()}
        for kind, members in (("hyper-parameters", runs), ("epochs", epochs))
    }


def study(folder: Path, priors: Path, seeds: Sequence[int], overrides: Sequence[str]) -> None:
    """Make the runs that are missing; then write and print the tables."""
    found: dict[str, dict[str, list[Sums]]] = {kind: {} for kind in PAPER}
    for seed in seeds:
        labels = None
        for kind, members in tables_of(folder, priors, seed, overrides).items():
            labels = labels or labels_of(folder / f"seed{seed}" / "base")
            for name, table in {**members, "ensemble": blend(list(members.values()))}.items():
                found[kind].setdefault(name, []).append(sums(table, labels))
    results = {}
    for kind, systems in found.items():
        lines, scores = scored(systems)
        print(aligned([[kind, *SHOWN], *lines]), end="\n\n")
        best = max((name for name in systems if name != "ensemble"), key=lambda name: statistics.mean(scores[name]))
        gain = nested(systems["ensemble"], systems[best], "P_MTL")
        print(f"{kind} (paper {PAPER[kind]}): ensemble - best member ({best}) in P_MTL: {gain}\n")
        results[kind] = {"P_MTL": scores, "best": best, "gain": gain}
    write_whole(folder / "results.json", json.dumps({"seeds": list(seeds), **results}, indent=2) + "\n")
    print(f"results: {folder / 'results.json'}")


def scored(systems: Mapping[str, Sequence[Sums]]) -> tuple[list[list[str]], dict[str, list[float]]]:
    """Return a line for each system, and its P_MTL for each seed."""
    lines, scores = [], {}
    for name, of_seeds in systems.items():
        values = [one.named() for one in of_seeds]
        lines.append([name, *(f"{statistics.mean(one[score] for one in values):.3f}" for score in SHOWN)])
        scores[name] = [one["P_MTL"] for one in values]
    return lines, scores


def main() -> None:
    """Read the command line and make the study."""
    parser = study_parser(__doc__, seeds=(0, 1, 2))
    parser.add_argument("--priors", type=Path, required=True, help="folder of benchmarks.studies.priors")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every training")
    options = parser.parse_intermixed_args()
    study(options.folder.absolute(), options.priors.absolute(), options.seeds, options.overrides)


if __name__ == "__main__":
    with clear_errors():
        main()
