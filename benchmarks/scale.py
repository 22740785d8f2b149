"""What lists and tables of millions of rows take: CPU seconds and peak memory, each in a process of its own.

    python -m benchmarks.scale [FOLDER] [--rows 1.0] [--only list table …] [--rounds 3] [--json FILE]

What is read is random, and made once in FOLDER (.cache/scale): a multi-task list of 2,000,000 rows with as many empty
files for images, and three prediction tables of 1,000,000 rows with their list. Measured are

* list: what a data module does from its start to the first batch's rows, without the imports;
* table: a table read, filled and smoothed (box), scored, and reported with its page;
* weights: the weights and the thresholds of three tables, searched;
* affect: the scores of valence and arousal, as a ratio to NumPy's two lines.

CPU seconds count, so that a machine that others use may measure; the goals are those of an idle AMD EPYC. Memory is
what comes on top of the imports.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from argparse import SUPPRESS
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures

LIST_ROWS, TABLE_ROWS, FRAMES = 2_000_000, 1_000_000, 2_000


class Goal(NamedTuple):
    """What a figure must stay below."""

    seconds: float
    mib: float | None = None


GOALS: Final = {"list": Goal(5, 700), "table": Goal(10), "weights": Goal(25), "affect": Goal(3)}


def made_videos(rows: int, prefix: str) -> list[tuple[str, int]]:
    """Return names of videos and how many frames each has, ``rows`` in all."""
    counts = [FRAMES] * (rows // FRAMES) + [rows % FRAMES] * bool(rows % FRAMES)
    return [(f"{prefix}{number}", count) for number, count in enumerate(counts)]


def make(root: Path, share: float) -> None:
    """Make what the cases read, unless it is there; what was not finished is not taken for it."""
    if root.is_dir():
        return
    beside = root.with_name(f"{root.name}.{os.getpid()}")
    beside.mkdir(parents=True)
    print(f"making {root}", file=sys.stderr)
    make_list(beside, max(int(LIST_ROWS * share), 2))
    make_tables(beside, max(int(TABLE_ROWS * share), 2))
    beside.rename(root)


def make_list(root: Path, rows: int) -> None:
    """Write the label files and the images' names, a hundredth of the rows for validation."""
    from affect.labels import MTL_HEADER

    random = np.random.default_rng(0)
    for file, count, prefix in (
        ("training_set_annotations.txt", rows, "train"),
        ("validation_set_annotations.txt", max(rows // 100, 1), "val"),
    ):
        with (root / file).open("w") as lines:
            lines.write(f"{MTL_HEADER}\n")
            for video, frames in made_videos(count, prefix):
                folder = root / "cropped_aligned" / video
                folder.mkdir(parents=True)
                affect = random.uniform(-1, 1, (frames, 2))
                affect[random.random(frames) < 0.2] = -5
                expression, units = random.integers(-1, 8, frames), random.integers(-1, 2, (frames, 12))
                for frame in range(frames):
                    name = f"{frame + 1:05d}.jpg"
                    os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL, 0o644))
                    valence, arousal = affect[frame].tolist()
                    labels = ",".join(map(str, (int(expression[frame]), *units[frame].tolist())))
                    lines.write(f"{video}/{name},{valence:.3f},{arousal:.3f},{labels}\n")


def make_tables(root: Path, rows: int) -> None:
    """Write three tables of one list, a hundredth of their rows null, and the labels that they agree with."""
    from affect.labels import EXPRESSIONS
    from evaluators.table import Table, write_table

    random = np.random.default_rng(0)
    videos = [name for name, count in made_videos(rows, "video") for _ in range(count)]
    frame = np.concatenate([np.arange(1, count + 1) for _, count in made_videos(rows, "video")])
    image = [f"{video}/{number:05d}.jpg" for video, number in zip(videos, frame.tolist(), strict=True)]
    affect = random.uniform(-1, 1, (rows, 2)).astype(np.float32)
    affect[random.random(rows) < 0.1] = np.nan
    expression = random.integers(-1, 8, rows)
    units = (random.random((rows, 12)) < np.linspace(0.03, 0.6, 12)).astype(np.float32)
    units[random.random((rows, 12)) < 0.1] = np.nan
    np.savez(root / "labels.npz", affect=affect, expression=expression, units=units)
    for number in range(3):
        logits = random.standard_normal((rows, 8)) + np.eye(8)[expression]
        predictions = {
            "valence_arousal": (0.5 * np.nan_to_num(affect) + 0.3 * random.standard_normal((rows, 2))).clip(-1, 1),
            "expression": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
            "action_units": 1 / (1 + np.exp(-random.standard_normal((rows, 12)) - 2 * (np.nan_to_num(units) - 0.5))),
        }
        null = random.random(rows) < 0.01
        values = {key: np.where(null[:, None], np.nan, of).astype(np.float32) for key, of in predictions.items()}
        write_table(Table(videos, frame, image, values, EXPRESSIONS, {}, ""), root / f"{number}.parquet")


def labels_of(root: Path, table: Any) -> Any:
    """Return the list of the tables."""
    from affect.frames import Frames

    with np.load(root / "labels.npz") as kept:
        return Frames(table.video, table.frame, table.image, kept["affect"], kept["expression"], kept["units"], {})


def prepared(root: Path, case: str) -> Callable[[], Any]:
    """Import what a case needs, read what it begins with, and return what is measured."""
    if case == "list":
        from datamodules.affwild2_mtl import MTLDataModule

        def start() -> None:
            data = MTLDataModule(str(root), image_size=112, batch_size=64)
            data.setup("fit")
            print(*islice(data.training_sampler(), 64))

        return start
    from evaluators.postprocess.options import PostProcess
    from evaluators.table import read_table
    from runs.scoring import report

    tables = [read_table(root / f"{number}.parquet") for number in range(3)] if case != "table" else []
    if case == "affect":
        from benchmarks.reference.postprocessing import valence_arousal_score
        from evaluators.predictions import score_rows

        every = labels_of(root, tables[0])
        kept = np.flatnonzero(~np.isnan(every.valence_arousal).any(axis=1) & ~tables[0].null)
        values, few = tables[0].predictions["valence_arousal"][kept], every.select(kept)
        ways: dict[str, Callable[[int], object]] = {
            "ours": lambda _: score_rows({"valence_arousal": values}, few),
            "numpy": lambda _: valence_arousal_score(values, few.valence_arousal),
        }
        return lambda: take_turns(ways, 5, time.process_time)
    if case == "weights":
        from evaluators.postprocess.chain import process

        frames = labels_of(root, tables[0])
        settings = PostProcess(weights="search", au_thresholds="exact")
        return lambda: process(tables, frames, settings)

    def read_and_report() -> None:
        folder = root / "run"
        folder.mkdir(exist_ok=True)
        table = read_table(root / "0.parquet")
        settings = PostProcess(missing="linear", smoothing="box")
        report([table], labels_of(root, table), folder, settings)

    return read_and_report


def memory(field: str) -> float:
    """Return a size of this process from /proc, MiB: ``VmRSS`` now, ``VmHWM`` the largest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kib) / 1024


def measured(root: Path, case: str) -> dict[str, float]:
    """Do a case in this process; return its CPU seconds, its peak of memory, and what of it was there before."""
    torch.set_num_threads(1)
    work = prepared(root, case)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of what comes now, not of the imports
    before, start = memory("VmRSS"), time.process_time()
    with redirect_stdout(sys.stderr):
        found = work()
    seconds = time.process_time() - start
    if case == "affect":
        medians = {way: statistics.median(times) for way, times in found.items()}
        seconds = medians["ours"] / medians["numpy"]
    return {"seconds": seconds, "mib": memory("VmHWM") - before, "whole_mib": memory("VmHWM")}


def main() -> None:
    """Make what is missing, measure each case in its own process, and print a table."""
    parser = benchmark_parser(__doc__, rounds=3)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".cache/scale"), help="of what is read")
    parser.add_argument("--rows", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--only", nargs="+", choices=GOALS, default=list(GOALS), help="cases")
    parser.add_argument("--case", choices=GOALS, help=SUPPRESS)
    options = parser.parse_args()
    root = options.folder / f"{options.rows:g}"
    if options.case:
        print(json.dumps(measured(root, options.case)))
        return
    make(root, options.rows)
    facts = machine()
    print_machine(facts)
    print(f"{'':<10}{'CPU s':>8}{'goal':>7}{'MiB':>8}{'goal':>7}{'with imports':>14}")
    figures: dict[str, Any] = {}
    for case in options.only:
        again = [sys.executable, "-m", "benchmarks.scale", str(options.folder), "--rows", str(options.rows)]
        rounds = []
        for _ in range(options.rounds):
            done = subprocess.run([*again, "--case", case], check=True, capture_output=True, text=True)
            rounds.append(json.loads(done.stdout))
        medians = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        figures[case] = {**medians, "rounds": rounds, "goal": GOALS[case]._asdict()}
        goal = GOALS[case]
        print(
            f"{case:<10}{medians['seconds']:>8.2f}{goal.seconds:>7g}{medians['mib']:>8.0f}{goal.mib or '':>7}"
            f"{medians['whole_mib']:>14.0f}", flush=True,
        )  # fmt: skip
    write_figures(options.json, {"figures": figures, "settings": {"rows": options.rows}, "machine": facts})


if __name__ == "__main__":
    main()
