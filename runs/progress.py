"""What a run tells while it works: a line for each epoch, and a bar at the bottom of a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from torch import Tensor

from affect.settings import buildable
from evaluators.names import MAIN
from evaluators.report import duration
from runs.bar import WIDTH, Bar
from runs.resuming import best_checkpoint
from training.optimisation import MONITOR

_CELL: Final = 7  # columns of a score


@buildable("callbacks")
class Progress(ProgressBar):
    """Print, after each epoch, its loss and scores, the best so far, the speed and the time left, as lines of a table.

    The header comes first, and again where the columns change. An epoch that was not validated has a dash for each
    score. A bar shows the batches of what is under way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar = Bar()
        self.is_enabled = True
        self._header = ""
        self._begun = self._batches_begun = time.monotonic()
        self._first_share = 0.0
        self._validated = False

    def disable(self) -> None:
        """Print nothing: Lightning calls this in all processes but the first."""
        self.is_enabled = False

    def enable(self) -> None:
        """Print again."""
        self.is_enabled = True

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if self.is_enabled:
            self.bar.start()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.bar.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.bar.stop()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun, self._first_share, self._header = time.monotonic(), _share(trainer, trainer.current_epoch), ""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated, self._batches_begun = False, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._tell(f"epoch {_epoch(trainer)}", batch_idx + 1, self.total_train_batches, loss=True)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches_begun = time.monotonic()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        self.has_dataloader_changed(dataloader_idx)
        self._tell("validating", batch_idx + 1, self.total_val_batches_current_dataloader)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches_begun = time.monotonic()

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        self.has_dataloader_changed(dataloader_idx)
        self._tell("predicting", batch_idx + 1, self.total_predict_batches_current_dataloader)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = trainer.callback_metrics  # in every process: reading them may take all of them
        if not self.is_enabled:
            return
        header, line = self._line(trainer, values)
        if header != self._header:
            print(header)
            self._header = header
        print(line, flush=True)

    def _tell(self, name: str, done: int, total: float, *, loss: bool = False) -> None:
        if not self.is_enabled or not self.bar.due():
            return
        shown = f"loss {self.trainer.progress_bar_metrics.get('train/loss_step', float('nan')):.4f}  " if loss else ""
        spent = time.monotonic() - self._batches_begun
        self.bar.draw(name, done, total, f"{shown}{duration(spent * (total - done) / done)} left")

    def _line(self, trainer: pl.Trainer, values: Mapping[str, Tensor]) -> tuple[str, str]:
        """Return the header and the line of an epoch."""
        share, spent = _share(trainer, trainer.current_epoch + 1), time.monotonic() - self._begun
        left = duration(spent * (1 - share) / (share - self._first_share)) if share > self._first_share else "-"
        before = [("  epoch", _epoch(trainer)), ("    loss", _number(values.get("train/loss")))]
        after = [
            ("   best", _number(self._best(trainer, values))),
            ("images/s", _number(values.get("train/images_per_s"), digits=0)),
            ("    left", left),
        ]
        taken = sum(len(title) + 1 for title, _ in before + after)
        parts = []
        for title, name in _parts(values):
            taken += max(len(title), _CELL) + 1
            if taken <= WIDTH + 1:
                parts.append((f"{title:>{_CELL}}", _number(values[name] if self._validated else None)))
        cells = [*before, *parts, *after]
        return " ".join(title for title, _ in cells), " ".join(f"{text:>{len(title)}}" for title, text in cells)

    def _best(self, trainer: pl.Trainer, values: Mapping[str, Tensor]) -> Tensor | None:
        """Return the best value of what best.ckpt is chosen by; it is written after this epoch's line."""
        kept = best_checkpoint(trainer)
        known = [kept.best_model_score, values.get(kept.monitor or "") if self._validated else None]
        finite = [value for value in known if value is not None and value.isfinite()]
        return (min if kept.mode == "min" else max)(finite, default=None)


def _parts(values: Iterable[str]) -> list[tuple[str, str]]:
    """Return title and name of what a validation logs, but for what the table and the report have of each class."""
    known = [(name, f"val/{name}") for name in MAIN if f"val/{name}" in values]
    others = [name for name in values if name.startswith("val/") and name[4:].islower() and name != MONITOR]
    return known + [(name if not known else name[4:], name) for name in others]


def _share(trainer: pl.Trainer, finished: int) -> float:
    """Return how much of a training is done after some epochs, between 0 and 1; 0 where its end is not known."""
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    return max(finished / epochs if epochs > 0 else 0.0, trainer.global_step / steps if steps > 0 else 0.0)


def _epoch(trainer: pl.Trainer) -> str:
    epochs = trainer.max_epochs or -1
    return f"{trainer.current_epoch + 1}/{epochs}" if epochs > 0 else f"{trainer.current_epoch + 1}"


def _number(value: Tensor | None, digits: int = 4) -> str:
    return "-" if value is None else f"{float(value):.{digits}f}"
