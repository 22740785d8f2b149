"""What masks buy masked CoTEX: Tables 2 and 6 of the paper at equal compute, on drawn faces.

    python -m benchmarks.studies.masks FOLDER [key=value …] [--seconds 600] [--seeds 0 1 2]

A mask leaves out patches, so the same time sees more faces. Each row of ``ROWS`` is therefore trained for about
``--seconds`` of training steps, not for a number of epochs: how fast a row is on this machine is measured first, once,
in ``FOLDER/speed``. Each has its whole schedule in that time, and the last epoch is the result.

Prints P_LSD, seconds and images of each row, the difference to the first row, without a mask, with its interval over
people, and draws the scores against seconds and against images (``FOLDER/masks.png``). The command can be given again
after an interruption, and with other seeds at the same time in another terminal. A ``key=value`` goes to every run.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

from matplotlib.figure import Figure

from affect.files import write_whole
from benchmarks.studies.running import labels_of, logged, spread, timed_study
from evaluators.intervals import nested
from evaluators.report import aligned
from evaluators.sums import sums
from evaluators.table import read_table
from rendering.layouts import LAYOUTS
from runs.ending import clear_errors
from runs.stages import run

COMMON: Final = ("experiment=cotex", "scale=small", "trainer=cpu", "callbacks=final", "scores=main")
BEST: Final = 0.75
"""The mask ratio of the rows that differ in something else."""


class Row(NamedTuple):
    """A row of the tables: its views, mask ratio and λ, and the paper's P_LSD (per cent) where it has one."""

    views: int
    ratio: float
    js_weight: float = 100 / 3
    paper: str = ""

    @property
    def overrides(self) -> list[str]:
        """What makes it."""
        return [
            f"model.network.views={self.views}", f"model.mask_ratio={self.ratio}", f"model.js_weight={self.js_weight}"
        ]  # fmt: skip


ROWS: Final[dict[str, Row]] = {
    "0 %": Row(2, 0.0, paper="64.67"),
    "50 %": Row(2, 0.5, paper="64.98"),
    "75 %": Row(2, 0.75, paper="70.68"),
    "90 %": Row(2, 0.9, paper="78.62"),
    "95 %": Row(2, 0.95, paper="82.33"),
    f"{BEST:.0%}, λ = 0": Row(2, BEST, 0.0),
    f"{BEST:.0%}, one view": Row(1, BEST, 0.0),
}


class Curve(NamedTuple):
    """A training: seconds of its steps, images and P_LSD at the end of each epoch."""

    seconds: list[float]
    images: list[float]
    score: list[float]


def curve(folder: Path, images: int) -> Curve:
    """Read the curve of a run whose epochs have so many images."""
    score, speeds = logged(folder, "val/P_LSD"), logged(folder, "train/images_per_s")
    seconds = list(accumulate(images / speed for speed in speeds))
    return Curve(seconds, [float(images * (epoch + 1)) for epoch in range(len(score))], score)


def name_of(row: str) -> str:
    """Name the folder of a row."""
    return row.replace(" %", "").replace("%", "").replace(", ", "-").replace("λ = 0", "apart").replace(" ", "-")


def drawn(seed: int) -> list[str]:
    """Return what makes the data of a seed: drawn faces with their expressions."""
    return ["data=synthetic", f"render.seed={seed}"]


def epochs(folder: Path, row: str, budget: float, faces: int, overrides: Sequence[str]) -> int:
    """Return how many epochs of a row fit into the time, by a short run of it; at least three, for the warm-up.

    Args:
        folder: of the study.
        row: a key of ``ROWS``.
        budget: seconds.
        faces: of an epoch.
        overrides: of the run, its data among them.
    """
    given = [*COMMON, *ROWS[row].overrides, "trainer.max_epochs=1", "warmup_epochs=0",
             "trainer.limit_train_batches=12", "trainer.limit_val_batches=1", *overrides]  # fmt: skip
    place = run(folder / "speed" / name_of(row), "train", given)
    return max(3, round(budget * logged(place, "train/images_per_s")[-1] / faces))


def study(
    folder: Path,
    seeds: Sequence[int],
    budget: float,
    overrides: Sequence[str],
    *,
    data: Callable[[int], list[str]] = drawn,
    faces: int | None = None,
    rows: Sequence[str] = (),
) -> None:
    """Make the runs that are missing; then write and print the table, and draw the curves.

    Args:
        folder: of the study.
        seeds: of trainings and data.
        budget: seconds of training steps for each row and seed.
        overrides: of every run.
        data: returns what makes the data of a seed.
        faces: of an epoch; None: as many as the overrides have drawn.
        rows: keys of ``ROWS``, the first of them what the others are compared with; none: all.
    """
    rows = rows or list(ROWS)
    places: dict[str, list[Path]] = {row: [] for row in rows}
    faces = faces or _faces(overrides)
    length = {row: epochs(folder, row, budget, faces, [*data(0), *overrides]) for row in rows}
    for seed in seeds:
        for row in rows:
            given = [*COMMON, f"seed={seed}", *data(seed), *ROWS[row].overrides,
                     f"trainer.max_epochs={length[row]}", *overrides]  # fmt: skip
            places[row].append(run(folder / f"seed{seed}" / name_of(row), "train", given))
    found = {
        row: [sums(read_table(place / "predictions" / "val.parquet"), labels_of(place)) for place in of_row]
        for row, of_row in places.items()
    }
    curves = {row: [curve(place, faces) for place in of_row] for row, of_row in places.items()}
    gains = {row: nested(found[row], found[rows[0]], "P_LSD") for row in rows[1:]}
    print(aligned(table(curves, gains)), end="\n\n")
    write_whole(
        folder / "results.json",
        json.dumps({"seeds": list(seeds), "budget": budget, "gain": gains, "curves": curves}, indent=2) + "\n",
    )
    draw(curves, folder / "masks.png")
    print(f"results: {folder / 'results.json'}\npicture: {folder / 'masks.png'}")


def _faces(overrides: Sequence[str]) -> int:
    given = dict(one.partition("=")[::2] for one in overrides)
    return int(given.get("render.train_faces", LAYOUTS["lsd"].sizes["train_faces"]))


def table(curves: Mapping[str, Sequence[Curve]], gains: Mapping[str, Any]) -> list[list[str]]:
    """Return header and a line for each row."""
    lines = [["row", "P_LSD", "- that of the first", "paper", "seconds", "images", "epochs"]]
    for row, of_row in curves.items():
        last = [one.score[-1] for one in of_row]
        lines.append([
            row, spread(last), str(gains.get(row, "")), ROWS[row].paper,
            f"{statistics.mean(one.seconds[-1] for one in of_row):.0f}",
            f"{statistics.mean(one.images[-1] for one in of_row):.0f}", str(len(of_row[0].score)),
        ])  # fmt: skip
    return lines


def draw(curves: Mapping[str, Sequence[Curve]], file: Path) -> None:
    """Draw the mean P_LSD of each row against seconds, and against images."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for row, of_row in curves.items():
        score = [statistics.mean(values) for values in zip(*(one.score for one in of_row), strict=False)]
        style = "--" if "λ" in row or "view" in row else "-"
        for axis, place in zip(axes, (0, 1), strict=True):
            at = [statistics.mean(values) for values in zip(*(one[place] for one in of_row), strict=False)]
            axis.plot(at[: len(score)], score, style, label=row)
    axes[0].set(xlabel="seconds of training steps", ylabel="P_LSD")
    axes[1].set(xlabel="images seen")
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Read the command line and make the study."""
    timed_study(__doc__, study, seconds=600.0)


if __name__ == "__main__":
    with clear_errors():
        main()
