"""Images per second and peak memory of EMMA's optimiser step at paper scale, in float32 and in bf16.

    python -m benchmarks.training_step [--batch 8] [--rounds 5] [--json FILE] [key=value …]

What is timed is train.py's own step: the module and the Trainer of conf/, with random weights and images in place of
files. Each precision has a process of its own, for its peak memory; the processes take turns, one optimiser step at a
time, and the medians over the rounds are reported. Every ``key=value`` overrides conf/train.yaml.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from affect.batch import Batch
from affect.labels import ACTION_UNITS, LSD_EXPRESSIONS
from benchmarks.machine import benchmark_parser, machine, print_machine, write_figures
from runs.assembly import build_module
from runs.building import build
from runs.config import composed, resolve
from runs.ending import clear_errors
from training.module import TrainedModule

UNTRAINED: Final = {
    "emma": (
        *("network.vit.weights=random", "network.dan.weights=random"),
        *("loss.au_pos_weight=none", "loss.expression_weight=none"),  # there are no label files to count
    ),
    "cotex": ("network.weights=random",),
    "mae": ("network.weights=random",),
}
"""What each method needs in place of files."""
PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed"}
_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


class Step(NamedTuple):
    """One optimiser step.

    Attributes:
        seconds: wall time.
        cores: seconds of CPU time per second; well below the number of threads where other programs disturbed it.
        peak_memory: of its process so far, in bytes.
    """

    seconds: float
    cores: float
    peak_memory: int


def configure(
    precision: str,
    batch_size: int,
    accumulation: int,
    overrides: Sequence[str],
    *,
    experiment: str = "emma",
    trainer: str = "cpu",
) -> dict[str, Any]:
    """Return the configuration of the run whose step is measured; its overrides come after those of the benchmark.

    Raises:
        ConfigError: an override that conf/train.yaml does not take.
    """
    settings = [
        *(f"experiment={experiment}", "data.root=unused", "paths.run_dir=unused"),
        *(f"model.{key}" for key in UNTRAINED[experiment]),
        *(f"trainer={trainer}", f"trainer.precision={precision}", f"trainer.accumulate_grad_batches={accumulation}"),
        *(f"data.batch_size={batch_size}", "trainer.max_epochs=1", "model.optimiser.warmup_epochs=0"),
        *overrides,
    ]
    return resolve(composed("train", settings))


def random_batch(size: int, image_size: int) -> Batch:
    """Return faces of noise with every label: what is in them does not change the work."""
    generator = torch.Generator().manual_seed(0)
    return Batch(
        image=torch.randint(0, 256, (size, 3, image_size, image_size), dtype=torch.uint8, generator=generator),
        valence_arousal=torch.rand(size, 2, generator=generator) * 2 - 1,
        expression=torch.randint(len(LSD_EXPRESSIONS), (size,), generator=generator),  # known to every method
        action_units=torch.randint(2, (size, len(ACTION_UNITS)), generator=generator).float(),
        row=torch.arange(size),
        unreadable=torch.empty(0, dtype=torch.int64),
    )


class Repeated(pl.LightningDataModule):
    """The same batch a number of times."""

    def __init__(self, batch: Batch, times: int) -> None:
        super().__init__()
        self.batch, self.times, self.batch_size = batch, times, len(batch["row"])

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return a loader that gives the batch itself, without copying it."""
        return DataLoader([self.batch] * self.times, batch_size=None)  # type: ignore[arg-type]


class Turns(pl.Callback):
    """Hold each optimiser step back until the other end of the connection asks for it, and answer with a Step."""

    def __init__(self, connection: Connection, accumulation: int) -> None:
        self.connection, self.accumulation = connection, accumulation
        self.start = self.cpu_start = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int) -> None:
        """Wait before the first micro-batch of a step."""
        if index % self.accumulation == 0:
            self.connection.recv()
            self.start, self.cpu_start = time.perf_counter(), time.process_time()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        """Answer after the last micro-batch, whose backward pass clipping and AdamW have followed."""
        if (index + 1) % self.accumulation == 0:
            self.connection.send(step_since(self.start, self.cpu_start))


def step_since(start: float, cpu_start: float) -> Step:
    """Return the Step that began at these wall and CPU times and ends now."""
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    # at least the parent's peak when it forked, which a network and its gradients exceed by far
    return Step(seconds, cpu / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES)


def take_steps(config: dict[str, Any], steps: int, threads: int, connection: Connection) -> TrainedModule:
    """Fit for a number of optimiser steps, each when asked for; what the processes run.

    Args:
        config: from ``configure``.
        steps: optimiser steps.
        threads: of torch's operators.
        connection: one message in and one ``Step`` out for each.

    Returns:
        The trained module.
    """
    torch.set_num_threads(threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")  # no validation, few workers: as intended
    pl.seed_everything(0, verbose=False)
    module = build_module(config["model"], initialise=False)
    accumulation = config["trainer"]["accumulate_grad_batches"]
    batch = random_batch(config["data"]["batch_size"], module.preprocessing.image_size)
    trainer: pl.Trainer = build(
        config["trainer"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[Turns(connection, accumulation)],
    )
    trainer.fit(module, datamodule=Repeated(batch, steps * accumulation))
    return module


def measure(
    configs: dict[str, dict[str, Any]],
    rounds: int,
    threads: int,
    targets: Mapping[str, Callable[[dict[str, Any], int, int, Connection], object]] | None = None,
) -> dict[str, list[Step]]:
    """Return the steps of each configuration in ``rounds`` interleaved rounds, after one that warms up.

    Args:
        configs: by the name of what is measured.
        rounds: that count.
        threads: of torch's operators.
        targets: what runs a configuration, where that is not ``take_steps``.

    Raises:
        RuntimeError: a process ended before its last step.
    """
    context = multiprocessing.get_context("spawn")
    steps: dict[str, list[Step]] = {name: [] for name in configs}
    connections: dict[str, Connection] = {}
    with ExitStack() as stack:
        for name, config in configs.items():
            connections[name], theirs = context.Pipe()
            target = (targets or {}).get(name, take_steps)
            process = context.Process(target=target, args=(config, rounds + 1, threads, theirs), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(connections[name].close)
            theirs.close()  # so that a process that dies is the end of its connection
        for turn in range(rounds + 1):
            for name, connection in connections.items():
                try:
                    connection.send("step")
                    step: Step = connection.recv()
                except (EOFError, OSError):
                    raise RuntimeError(f"the {name} process ended at step {turn}: its error stands above") from None
                if turn:
                    steps[name].append(step)
    return steps


def summary(steps: list[Step], batch: int) -> dict[str, float]:
    """Return medians of images per second and busy cores, their extremes, and the peak memory in GiB."""
    rates = [batch / step.seconds for step in steps]
    return {
        "images_per_second": statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "busy_cores": statistics.median(step.cores for step in steps),
        "peak_memory_gib": steps[-1].peak_memory / 2**30,
    }


def print_summaries(figures: Mapping[str, Mapping[str, float]]) -> None:
    """Print a line for each ``summary`` by its name."""
    print(f"{'':<12}{'images/s':>10}{'lowest':>9}{'highest':>9}{'busy cores':>12}{'peak memory':>14}")
    for name, one in figures.items():
        spread = f"{one['lowest']:>9.2f}{one['highest']:>9.2f}{one['busy_cores']:>12.2f}"
        print(f"{name:<12}{one['images_per_second']:>10.2f}{spread}{one['peak_memory_gib']:>10.2f} GiB")


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="images per micro-batch")
    parser.add_argument("--accumulation", type=int, default=2, help="micro-batches per optimiser step")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of conf/train.yaml, for example scale=tiny")
    options = parser.parse_intermixed_args()

    facts = machine()
    configs = {
        name: configure(precision, options.batch, options.accumulation, options.overrides)
        for name, precision in PRECISIONS.items()
    }
    steps = measure(configs, options.rounds, options.threads)
    images = options.batch * options.accumulation
    summaries = {name: summary(taken, images) for name, taken in steps.items()}
    medians = {name: one["images_per_second"] for name, one in summaries.items()}

    print_machine(facts)
    print(f"{options.accumulation} x {options.batch} images a step, {options.rounds} rounds, {options.threads} threads")
    print_summaries(summaries)
    ratio = medians["bf16"] / medians["float32"]
    print(f"ratio {ratio:.2f}")
    figures = {
        "images_per_second": medians,
        "ratio": ratio,
        "busy_cores": {name: one["busy_cores"] for name, one in summaries.items()},
        "peak_memory_bytes": {name: taken[-1].peak_memory for name, taken in steps.items()},
        "rounds": {name: [images / step.seconds for step in taken] for name, taken in steps.items()},
        "settings": {"batch": options.batch, "accumulation": options.accumulation, "threads": options.threads},
        "overrides": options.overrides,
        "machine": facts,
    }
    write_figures(options.json, figures)


if __name__ == "__main__":
    with clear_errors():
        main()
