"""Systems of Table 1 from nothing, in the same time, on drawn faces: EmotionNet, its trunk, a ViT, a linear model.

    python -m benchmarks.studies.table1 FOLDER [key=value …] [--seconds 200] [--seeds 0 1 2]

For each seed people are drawn anew. Each network of ``ROWS`` is trained for about ``--seconds`` of training steps, with
its whole schedule in that time, at ``scale=tiny``: how fast it is on this machine is measured first, once, in
``FOLDER/speed``. Its last step is the result, so that the validation split decides nothing. ``linear`` is ridge and
logistic regression on the pixels of the faces at 32 px (``benchmarks.studies.linear``), which takes the time it
takes.

Prints the scores of each system, with an interval of 95 % over people, nested in seeds, and what EmotionNet is ahead
of it. The command can be given again after an interruption, and with other seeds at the same time in another terminal.
A ``key=value`` goes to every run.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from omegaconf import DictConfig, OmegaConf

from affect.files import write_whole
from benchmarks.studies.controls import read_pixels
from benchmarks.studies.linear import linear_predictions
from benchmarks.studies.running import labels_of, logged, spread, timed_study
from datamodules.affwild2_mtl import MTLDataModule
from evaluators.intervals import nested
from evaluators.report import aligned
from evaluators.sums import Sums, sums
from evaluators.table import Table, read_table, table_of_rows, write_table
from rendering.layouts import LAYOUTS
from runs.assembly import build_data
from runs.checkpoints import load_module
from runs.config import resolve
from runs.ending import clear_errors
from runs.stages import run

COMMON: Final = ("data=synthetic", "scale=tiny", "trainer=cpu", "callbacks=final", "scores=main")
ROWS: Final = {
    "emotionnet": ("experiment=emotionnet",),
    "inception_v3": ("experiment=baseline", "backbone=inception_v3"),
    "vit": ("experiment=emma", "model.network.dan=null"),
}
"""The networks: EmotionNet, the network whose first stages are its trunk, and EMMA without a DAN."""

OURS: Final = "emotionnet"
LINEAR: Final = "linear"
SIDE: Final = 32
"""Of the pictures that it sees, px: at 64 it would have four times the pixels, and need hours."""
SHOWN: Final = ("P_MTL", "P_VA", "P_EXPR", "P_AU")
WARMUP: Final = 1 / 8
"""The share of a training in which the rate rises."""


def length(folder: Path, row: str, budget: float, overrides: Sequence[str]) -> list[str]:
    """Return the keys with which a network is trained for so many seconds, by a short run of it."""
    given = [*COMMON, *ROWS[row], "render.seed=0", "trainer.max_epochs=1", "warmup_epochs=0",
             "trainer.limit_train_batches=40", "trainer.limit_val_batches=1", *overrides]  # fmt: skip
    place = run(folder / "speed" / row, "train", given)
    images = budget * logged(place, "train/images_per_s")[-1]
    steps = max(2, round(images / OmegaConf.load(place / "config.yaml").data.batch_size))
    epochs = math.ceil(1.05 * images / _faces(overrides))  # of those listed, a few have no picture
    return [f"trainer.max_epochs={epochs}", f"+trainer.max_steps={steps}", f"warmup_epochs={WARMUP * epochs:.4g}"]


def _faces(overrides: Sequence[str]) -> int:
    given = dict(one.partition("=")[::2] for one in overrides)
    videos, frames = (
        int(given.get(f"render.{key}", LAYOUTS["mtl"].sizes[key])) for key in ("train_videos", "frames_per_video")
    )
    return videos * frames


def linear(place: Path, folder: Path) -> Table:
    """Predict the validation split of a run by the linear model, unless that was done before.

    Args:
        place: of a run, whose data it has.
        folder: gets ``val.parquet``.

    Returns:
        Its table: the rows of the run's, in their order.
    """
    file = folder / "val.parquet"
    if not file.is_file():
        config = OmegaConf.load(place / "config.yaml")
        assert isinstance(config, DictConfig)
        module = load_module(place / "checkpoints" / "last.ckpt")
        data = build_data(resolve(config), module.preprocessing.at(SIDE), module.expressions)
        assert isinstance(data, MTLDataModule)
        print(f"\n== {folder}", flush=True)
        start = time.perf_counter()
        (rows, pixels), (unseen, others) = read_pixels(data, "train"), read_pixels(data, "val")
        found = linear_predictions(pixels, data.frames("train").select(rows), others).predictions
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "seconds.json", json.dumps(time.perf_counter() - start))
        made = {"experiment": LINEAR, "split": "val"}
        write_table(table_of_rows(data.frames("val"), unseen, found, made, str(file)), file)
    return read_table(file)


def study(folder: Path, seeds: Sequence[int], budget: float, overrides: Sequence[str]) -> None:
    """Make the runs that are missing; then write and print the table."""
    keys = {row: length(folder, row, budget, overrides) for row in ROWS}
    found: dict[str, list[Sums]] = {row: [] for row in (*ROWS, LINEAR)}
    spent: dict[str, list[float]] = {row: [] for row in found}
    for seed in seeds:
        of_seed = folder / f"seed{seed}"
        for row, what in ROWS.items():
            given = [*COMMON, *what, f"seed={seed}", f"render.seed={seed}", *keys[row], *overrides]
            place = run(of_seed / row, "train", given)
            labels = labels_of(place)
            found[row].append(sums(read_table(place / "predictions" / "val.parquet"), labels))
            spent[row].append(_trained(place))
        found[LINEAR].append(sums(linear(of_seed / "vit", of_seed / LINEAR), labels))
        spent[LINEAR].append(json.loads((of_seed / LINEAR / "seconds.json").read_text()))
    lines = [["system", "seconds", *SHOWN, f"P_MTL of {OURS} - its"]]
    results = {}
    for row, of_row in found.items():
        scores = {name: [one.named()[name] for one in of_row] for name in SHOWN}
        own = nested(of_row, [], "P_MTL")
        lead = None if row == OURS else nested(found[OURS], of_row, "P_MTL")
        shown = [spread(scores[name]) for name in SHOWN]
        shown[0] += f" [{own.low:.3f}, {own.high:.3f}]"
        lines.append([row, f"{statistics.mean(spent[row]):.0f}", *shown, str(lead or "")])
        results[row] = {"scores": scores, "P_MTL, low, high": own, "lead, low, high": lead, "seconds": spent[row]}
    print(aligned(lines), end="\n\n")
    write_whole(
        folder / "results.json", json.dumps({"seeds": list(seeds), "budget": budget, **results}, indent=2) + "\n"
    )
    print(f"results: {folder / 'results.json'}")


def _trained(place: Path) -> float:
    """Return the seconds of a run's training steps."""
    config = OmegaConf.load(place / "config.yaml")
    return float(
        config.trainer.max_steps * config.data.batch_size / statistics.mean(logged(place, "train/images_per_s"))
    )


def main() -> None:
    """Read the command line and make the study."""
    timed_study(__doc__, study, seconds=200.0)


if __name__ == "__main__":
    with clear_errors():
        main()
