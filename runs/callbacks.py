"""Callbacks and the logger that every run has."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only

from affect.batch import Batch
from affect.files import write_whole
from evaluators.predictions import PredictionWriter
from evaluators.report import duration
from training.module import AffectModule

_CLEAR_PEAK, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class MetricsFile(Logger):
    """Append every logged value to ``metrics.jsonl``, one JSON object per call, whatever other logger there is.

    Args:
        folder: the run folder.

    Attributes:
        first_step: of a resumed run: what an earlier start logged from this step on is dropped before the next line.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "metrics.jsonl"
        self.first_step: int | None = None

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: ``config.yaml`` in the run folder has them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        # JSON has no NaN: what is not a number is left out rather than written as something no reader takes
        values = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        if self.first_step is not None:
            self._drop_from(self.first_step)
            self.first_step = None
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def _drop_from(self, first: int) -> None:
        """Drop the lines of a step and all later ones, and what a kill has cut off, so that the file is one run."""
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines() if self.path.is_file() else []
        write_whole(self.path, "".join(f"{line}\n" for line in lines if _step_before(line, first)))


def _step_before(line: str, first: int) -> bool:
    """Tell whether a line of ``metrics.jsonl`` is whole and of a step below this one, or of none."""
    try:
        step = json.loads(line).get("step")
    except (ValueError, AttributeError):
        return False
    return step is None or step < first


class PredictionParts(Callback):
    """Write what ``Trainer.predict`` yields to this rank's parts of the module's prediction tables.

    Args:
        folder: the folder of the tables.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writers: dict[str, PredictionWriter] = {}

    def on_predict_start(self, trainer: pl.Trainer, pl_module: AffectModule) -> None:  # type: ignore[override]
        expressions = pl_module.scores.expressions
        self.writers = {
            name: PredictionWriter(parts_folder(self.folder, name), trainer.global_rank, expressions=expressions)
            for name in pl_module.tables
        }

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any, **__: Any
    ) -> None:
        for name, writer in self.writers.items():
            writer.add(batch["row"], outputs[name], batch["unreadable"])

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for writer in self.writers.values():
            writer.finish()


def parts_folder(folder: Path, table: str) -> Path:
    """Return the folder where the processes put their parts of one of a module's tables."""
    return folder / f".{table}" if table else folder


class SeedEpochs(Callback):
    """Seed torch at the start of each epoch, so that a resumed run draws the same dropped paths as one that ran on.

    Args:
        seed: of the run; epoch and rank are mixed in.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        sequence = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


class Throughput(Callback):
    """Log, per epoch, images per second of training (loading included, validation not), its time, and peak memory.

    The time is that of the whole epoch with its validation, in seconds. Of predictions, images and time are counted.

    Memory, in GiB, is the GPU's where there is one, else this process's resident set; where the system keeps no peak
    that can be reset (not Linux), it is left out. Images are those of all processes, memory is that of rank 0.
    """

    def __init__(self) -> None:
        self.start = self.end = 0.0
        self.images = 0
        self.knows_peak = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start, self.images = time.perf_counter(), 0
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)
        else:
            try:
                _CLEAR_PEAK.write_text("5")  # proc(5): sets the peak to what is in use now
            except OSError:
                self.knows_peak = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.images += batch["row"].numel() * trainer.world_size  # of windows, each frame is one
        self.end = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = {
            "train/images_per_s": self.images / max(self.end - self.start, 1e-9),
            "train/epoch_s": time.perf_counter() - self.start,
        }
        if pl_module.device.type == "cuda":
            values["train/peak_memory_gib"] = torch.cuda.max_memory_allocated(pl_module.device) / 2**30
        elif self.knows_peak:
            (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
            values["train/peak_memory_gib"] = int(line.split()[1]) / 2**20
        # rank 0 has the numbers by itself: sync_dist only keeps Lightning from asking for it
        pl_module.log_dict(values, rank_zero_only=True, sync_dist=True)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start, self.images = time.perf_counter(), 0

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, *_: Any, **__: Any
    ) -> None:
        self.images += batch["row"].numel() * trainer.world_size  # of windows, each frame is one
        self.end = time.perf_counter()


def predicting_speed(trainer: pl.Trainer) -> list[str]:
    """Say how many images this process's trainer has predicted last, and how fast; nothing where it knows of none."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Throughput) and callback.images:
            seconds = max(callback.end - callback.start, 1e-9)
            return [f"predicted in {duration(seconds)}, {callback.images / seconds:,.0f} images/s"]
    return []
