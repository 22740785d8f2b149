"""Going on from a checkpoint, in whatever folder the run now stands."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, Final

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import Tensor
from torch.optim import Optimizer

from affect.errors import CheckpointError, ConfigError, UserError
from evaluators.report import read_records
from runs.callbacks import MetricsFile
from runs.checkpoints import other_checkpoint, reason
from runs.folder import is_own
from runs.slurm import is_first_process, this_start
from runs.stored_config import stored_config
from training.optimisation import MONITOR

_PATHS: Final = ("best_model_path", "kth_best_model_path", "last_model_path")


class Resuming(Callback):
    """Keep names of files, not places, in checkpoints; check what is restored before anything is trained with it.

    Lightning's ``ModelCheckpoint`` keeps absolute paths, and forgets which epoch was best where its folder has moved.
    """

    def __init__(self) -> None:
        self.loaded: dict[str, Any] = {}
        self.nothing_left = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        states = checkpoint["callbacks"]
        for callback in model_checkpoints(trainer):
            states[callback.state_key] = _names(states[callback.state_key])

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loops, states = checkpoint["loops"].get("fit_loop"), checkpoint["callbacks"]
        _check(loops, trainer.fit_loop.state_dict(), "loops.fit_loop")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if callback.state_key in states:
                _check(states[callback.state_key], callback.state_dict(), f"callbacks.{callback.state_key}")
        for callback in model_checkpoints(trainer):
            if callback.state_key in states:
                states[callback.state_key] = _here(states[callback.state_key], callback)
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.first_step = loops["epoch_loop.state_dict"]["_batches_that_stepped"]
        self.loaded, self.nothing_left = checkpoint, True

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the optimisers' states: Lightning has made the optimisers, and restores the states next."""
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        for key, own in (("optimizer_states", trainer.optimizers), ("lr_schedulers", schedulers)):
            if key in self.loaded:
                _check(self.loaded[key], [one.state_dict() for one in own], key)  # type: ignore[attr-defined]
        for state, optimizer in zip(self.loaded.get("optimizer_states", []), trainer.optimizers, strict=False):
            _check_optimizer(state, optimizer)
        self.loaded = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.nothing_left = False

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.nothing_left and trainer.is_global_zero:
            print(
                f"{trainer.default_root_dir}: all {trainer.current_epoch} epochs are trained, so only the result is "
                "made again; to train on, give a larger trainer.max_epochs"
            )


def model_checkpoints(trainer: pl.Trainer) -> list[ModelCheckpoint]:
    """Return the callbacks that write checkpoints."""
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def best_checkpoint(trainer: pl.Trainer) -> ModelCheckpoint:
    """Return the callback that keeps ``best.ckpt``, which every training has (``runs.limits``)."""
    return next(callback for callback in model_checkpoints(trainer) if callback.filename == "best")


def earlier_start(folder: Path) -> tuple[DictConfig, Path] | None:
    """Return what a run goes on from by itself, where its SLURM job was queued again after an epoch; or None."""
    last, start = folder / "checkpoints" / "last.ckpt", this_start()
    if start is None or not last.is_file() or not is_own(folder):
        return None
    places = [argument for argument in start["arguments"] if argument.startswith("paths.cache_dir=")]
    stored = stored_config([f"ckpt_path={last}", *places])
    assert stored is not None
    if is_first_process():
        print(f"SLURM job {start['job']} was queued again and goes on from {last}")
    return stored[0], last


@contextmanager
def restoring(trainer: pl.Trainer, path: Path | None) -> Iterator[None]:
    """Turn whatever fails while Lightning restores a checkpoint into an error that names the file.

    Raises:
        CheckpointError: what the checkpoint holds does not fit the run.
    """
    try:
        yield
    except Exception as error:
        # Lightning holds the checkpoint from when it has read it until all is restored
        begun = not trainer._checkpoint_connector._loaded_checkpoint
        if path is None or begun or isinstance(error, UserError | OSError):
            raise
        raise CheckpointError(
            f"{path} does not fit the run that goes on from it: {reason(error)}{other_checkpoint(path, resume=True)}"
        ) from error


def best_epoch(trainer: pl.Trainer, folder: Path) -> tuple[Path, float]:
    """Return the best checkpoint of a run that has been trained, and what it was chosen by.

    Raises:
        CheckpointError: it was removed, and no epoch was left to train.
        ConfigError: the training ended before there was one.
    """
    best = best_checkpoint(trainer)
    if not best.best_model_path:
        last = folder / "checkpoints" / "last.ckpt"
        if not last.is_file():
            raise ConfigError(["the training ended before its first epoch: give it more time (trainer.max_time)"])
        raise CheckpointError(f"{folder} has no best.ckpt: python evaluate.py checkpoint={last} scores its last epoch")
    # without a monitor it is the last epoch's, which an earlier start may have trained
    score = trainer.callback_metrics.get(MONITOR) if best.best_model_score is None else best.best_model_score
    logged = [math.nan, *(r[MONITOR] for r in read_records(folder / "metrics.jsonl") if MONITOR in r)]
    return Path(best.best_model_path), float(logged[-1] if score is None else score)


def _names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of a ModelCheckpoint with the names of its files in place of their paths."""
    return {
        **state,
        "dirpath": "",
        "best_k_models": {PurePath(path).name: score for path, score in state["best_k_models"].items()},
        **{key: PurePath(state[key]).name for key in _PATHS},
    }


def _here(state: Mapping[str, Any], callback: ModelCheckpoint) -> dict[str, Any]:
    """Return the state of a ModelCheckpoint with the paths that its files have now; those that are gone are forgotten.

    Only names are taken from the checkpoint, so that nothing outside the run's own folder is ever touched.
    """
    folder, state = Path(str(callback.dirpath)), _names(state)
    scores: dict[str, Tensor] = state["best_k_models"]
    for name, score in scores.items():
        _check(score, callback.kth_value, f"callbacks.{callback.state_key}.best_k_models.{name}")
    names = scores if callback.monitor is not None else filter(None, [state["best_model_path"]])
    gone = [name for name in names if not (folder / name).is_file()]
    if gone:
        warnings.warn(f"{folder}: {', '.join(gone)} is gone: the best is chosen among the epochs to come", stacklevel=2)
    kept = {str(folder / name): score for name, score in scores.items() if name not in gone}
    lowest, highest = (min(kept, key=kept.__getitem__), max(kept, key=kept.__getitem__)) if kept else ("", "")
    best, worst = (lowest, highest) if callback.mode == "min" else (highest, lowest)
    if callback.monitor is None and state["best_model_path"] and not gone:
        best = str(folder / state["best_model_path"])
    return {
        **state,
        "dirpath": callback.dirpath,
        "best_k_models": kept,
        "best_model_path": best,
        "best_model_score": kept.get(best),
        "kth_best_model_path": worst,
        "kth_value": kept.get(worst, callback.kth_value),
        "last_model_path": str(folder / state["last_model_path"]) if state["last_model_path"] else "",
    }


def _check(value: Any, like: Any, where: str) -> None:
    """Compare what a checkpoint holds with what the run has in its place, by types and shapes.

    Args:
        value: from the checkpoint.
        like: of the run before it goes on; None and empty containers stand for anything of their kind.
        where: the key, for the message.

    Raises:
        ValueError: something is of another type, a list of another length, a tensor of another shape.
    """
    if isinstance(like, dict):
        fits = isinstance(value, dict)
    elif isinstance(like, list | tuple):
        fits = isinstance(value, list | tuple) and (not like or len(value) == len(like))
    elif isinstance(like, Tensor):
        fits = isinstance(value, Tensor) and value.shape == like.shape
    elif isinstance(like, bool | str):
        fits = type(value) is type(like)
    elif isinstance(like, int | float):
        fits = isinstance(value, int | float) and not isinstance(value, bool)
    else:
        fits = True
    if not fits:
        wanted = f"{type(like).__name__}{f' of {len(like)}' if isinstance(like, list | tuple) else ''}"
        raise ValueError(f"its {where} is of type {type(value).__name__}, but must be {wanted}")
    if isinstance(like, dict):
        for key in like.keys() & value.keys():
            _check(value[key], like[key], f"{where}.{key}")
    elif isinstance(like, list | tuple):
        for index, (own, part) in enumerate(zip(value, like, strict=False)):
            _check(own, part, f"{where}.{index}")


def _check_optimizer(state: Mapping[str, Any], optimizer: Optimizer) -> None:
    """Compare an optimiser's running means with the weights that they belong to.

    Raises:
        ValueError: another shape than that of the weights, or no such weights.
    """
    weights = dict(enumerate(weight for group in optimizer.param_groups for weight in group["params"]))
    for index, values in state["state"].items():
        for key, value in values.items():
            known = index in weights and isinstance(value, Tensor | int | float | None)
            if not known or (isinstance(value, Tensor) and value.ndim and value.shape != weights[index].shape):
                raise ValueError(f"its optimizer_states.state.{index}.{key} does not fit the weights")
