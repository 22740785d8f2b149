"""An optimiser step of masked CoTEX or MAE at the paper's size against the plain way; its cost against the mask ratio.

    python -m benchmarks.masked_step [--method cotex] [--batch 256] [--ratio 0.95] [--rounds 5] [--json FILE]
    python -m benchmarks.masked_step --method mae [--batch 64] [--ratio 0.75]
    python -m benchmarks.masked_step --curve cotex/mask_ratio.png [--batch 16]

Ours is train.py's own step in the precision that it chooses on this machine; the plain way
(benchmarks/reference/) embeds all patches and gathers afterwards, in float32. Each has a process of its
own, for its peak memory; the processes take turns, one step at a time. The curve runs one ratio after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from benchmarks.machine import benchmark_parser, machine, print_machine, write_figures
from benchmarks.reference import mae_step, masked_step
from benchmarks.training_step import configure, measure, print_summaries, random_batch, step_since, summary
from runs.config import automatic_precision
from runs.ending import clear_errors

RATIOS: Final = (0.0, 0.25, 0.5, 0.75, 0.85, 0.9, 0.95)


class Method(NamedTuple):
    """What is measured: the plain way, and the defaults of the command line."""

    plain_step: Callable[[float], Callable[[Tensor, Tensor], None]]
    ratio: float
    batch: int


METHODS: Final = {
    "cotex": Method(masked_step.plain_step, ratio=0.95, batch=256),
    "mae": Method(mae_step.plain_step, ratio=0.75, batch=64),
}


def take_plain_steps(config: dict[str, Any], steps: int, threads: int, connection: Connection) -> None:
    """Run the plain way, a step when asked for.

    Args:
        config: ``method``, ``ratio`` and ``batch``.
        steps: optimiser steps.
        threads: of torch's operators.
        connection: one message in and one ``Step`` out for each.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    step, batch = METHODS[config["method"]].plain_step(config["ratio"]), random_batch(config["batch"], 224)
    for _ in range(steps):
        connection.recv()
        start, cpu_start = time.perf_counter(), time.process_time()
        step(batch["image"], batch["expression"])
        connection.send(step_since(start, cpu_start))


def ours(method: str, ratio: float, batch: int) -> dict[str, Any]:
    """Return the configuration of our step."""
    overrides = [f"model.mask_ratio={ratio}"]
    return configure(automatic_precision("cpu"), batch, 1, overrides, experiment=method)


def draw(figures: dict[str, dict[str, float]], batch: int, path: Path) -> None:
    """Draw images per second and peak memory against the mask ratio."""
    import matplotlib.pyplot as plt

    ratios = [100 * float(ratio) for ratio in figures]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axis, key, title in (
        (axes[0], "images_per_second", "images/s"),
        (axes[1], "peak_memory_gib", "peak memory, GiB"),
    ):
        values = [one[key] for one in figures.values()]
        axis.plot(ratios, values, marker="o", color="#2f6f9f")
        for ratio, value in zip(ratios, values, strict=True):
            axis.annotate(f"{value:.1f}", (ratio, value), xytext=(0, 6), textcoords="offset points", ha="center")
        axis.set(xlabel="mask ratio, %", title=title, ylim=(0, 1.18 * max(values)))
        axis.grid(alpha=0.3)
    figure.suptitle(f"A training step of two ViT-B/16, {batch} images", fontsize=11)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, print a table, and write JSON and picture where asked to."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--method", choices=METHODS, default="cotex")
    parser.add_argument("--batch", type=int, help="images a step; 256, for mae 64, for the curve 16")
    parser.add_argument("--ratio", type=float, help="share of patches removed; 0.95, for mae 0.75")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--curve", type=Path, help="measure CoTEX at several ratios instead, draw this")
    options = parser.parse_args()
    method = METHODS[options.method]
    batch = options.batch or (16 if options.curve else method.batch)
    ratio = method.ratio if options.ratio is None else options.ratio
    if options.curve:
        figures = {
            str(one): summary(measure({"o": ours("cotex", one, batch)}, options.rounds, options.threads)["o"], batch)
            for one in RATIOS
        }
    else:
        plain = {"method": options.method, "ratio": ratio, "batch": batch}
        configs = {"ours": ours(options.method, ratio, batch), "reference": plain}
        steps = measure(configs, options.rounds, options.threads, {"reference": take_plain_steps})
        figures = {name: summary(taken, batch) for name, taken in steps.items()}
    facts = machine()
    print_machine(facts)
    print(f"{options.method}: {batch} images a step, {options.rounds} rounds, {options.threads} threads")
    print_summaries(figures)
    if options.curve:
        draw(figures, batch, options.curve)
    else:
        first, second = figures["ours"], figures["reference"]
        print(f"ratio of images/s {first['images_per_second'] / second['images_per_second']:.2f}")
        print(f"ratio of peak memory {first['peak_memory_gib'] / second['peak_memory_gib']:.2f}")
    write_figures(options.json, {"figures": figures, "batch": batch, "machine": facts})


if __name__ == "__main__":
    with clear_errors():
        main()
