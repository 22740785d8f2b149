"""Trains a method: ``python train.py experiment=emma data=affwild2_mtl data.root=…``; conf/train.yaml has the rest."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning.callbacks import LambdaCallback

from affect.checksums import file_sha256
from affect.errors import CheckpointError, ConfigError
from affect.hints import key_errors
from affect.ranges import Positive, Range
from evaluators.postprocess.chain import PostProcess
from evaluators.postprocess.unseen import label_means
from evaluators.report import read_records
from evaluators.table import read_table
from runs.assembly import absolute_data, build_data, build_module, build_trainer
from runs.checkpoints import read_checkpoint, restore_weights, save_atomically
from runs.config import check_command_line, literal_paths
from runs.ending import clear_errors
from runs.folder import Run, is_first_process, is_own, opened_run, run_folder
from runs.limits import ValidatedEnd, limit_errors
from runs.resuming import model_checkpoints, restoring
from runs.scoring import predict_table, report, report_losses, validate
from runs.slurm import check_leftovers, queued_again, this_start
from runs.stored_config import stored_config
from runs.sweep_jobs import run_job
from training.module import MONITOR, AffectModule


def train(config: DictConfig, resume: Path | None = None) -> float:
    """One run, from the configuration to the report.

    Args:
        config: the composed or stored configuration.
        resume: a checkpoint of the same run to go on from.

    Returns:
        What the checkpoint was chosen by (``val/score``), for sweeps that search for it.
    """
    if resume is None:
        config, resume = _of_earlier_start(run_folder(config)) or (config, None)
    with opened_run(config, _problems, resume=resume is not None) as run:
        return _train(run, resume)


class _Settings(TypedDict):
    """Keys of conf/train.yaml that no node below it has."""

    seed: Annotated[int, Range(least=0, below=2**32)]  # as NumPy's generators take it
    timeout_s: Positive
    overwrite: bool


def _problems(plain: Mapping[str, Any]) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    yield from limit_errors(plain["trainer"], plain["callbacks"])
    yield from PostProcess.problems(plain["postprocess"])


def _of_earlier_start(folder: Path) -> tuple[DictConfig, Path] | None:
    """What this run goes on from by itself, where its SLURM job was queued again and an epoch had been finished."""
    last, start = folder / "checkpoints" / "last.ckpt", this_start()
    if start is None or not last.is_file() or not is_own(folder):
        return None
    places = [argument for argument in start["arguments"] if argument.startswith("paths.cache_dir=")]
    stored = stored_config([f"ckpt_path={last}", *places])
    assert stored is not None
    if is_first_process():
        print(f"SLURM job {start['job']} was queued again and goes on from {last}")
    return stored[0], last


def _train(run: Run, resume: Path | None) -> float:
    plain, folder = run.config, run.folder
    plain["data"] = absolute_data(plain["data"])
    settings = PostProcess.of(plain["postprocess"])
    fork = plain["fork_from"] and Path(plain["fork_from"]) / "checkpoints" / "best.ckpt"

    if resume is not None:
        check_leftovers(folder)
    pl.seed_everything(plain["seed"], workers=True, verbose=False)
    module = build_module(plain["model"], initialise=not (resume or fork))
    for checkpoint in filter(None, (resume, fork)):
        restore_weights(module, read_checkpoint(checkpoint, resume=checkpoint is resume), checkpoint)
    data = build_data(
        plain["data"],
        plain["render"],
        module.preprocessing,
        module.expressions,
        augmentation=plain.get("augmentation"),
        seed=plain["seed"],
    )
    data.setup("fit")
    if isinstance(module, AffectModule):
        module.label_means = label_means(data.frames("train"), data.train_rows, module.expressions)
        val = data.frames("val")
        settings.check_list(val)
        settings.check_unseen(val, data.has_image("val"), module.label_means, module.scores.tasks, module.expressions)
    trainer = build_trainer(
        plain["trainer"],
        folder,
        seed=plain["seed"],
        callbacks=plain["callbacks"],
        logger=plain["logger"],
        timeout_s=plain["timeout_s"],
    )
    ends = [ValidatedEnd(), LambdaCallback(on_train_batch_end=lambda *_: run.keep())]
    trainer.callbacks += ends  # type: ignore[attr-defined]  # after Lightning's own: max_time is one of them
    run.started()
    with restoring(trainer, resume):
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    path, score = best_epoch(trainer, folder)
    restore_weights(module, read_checkpoint(path), path)
    if isinstance(module, AffectModule):
        made_by = {"experiment": plain["name"], "checkpoint": str(path), "checkpoint_sha256": file_sha256(path)}
        table = predict_table(trainer, module, data, split="val", folder=folder / "predictions", metadata=made_by)
    else:
        losses = validate(trainer, module, data)
    if trainer.is_global_zero:
        for name, content in module.exports().items():
            save_atomically(content, folder / "weights" / name)
        if data.skipped_rows:
            print(f"training left out {len(data.skipped_rows)} unreadable images (data.on_unreadable=skip)")
        if isinstance(module, AffectModule):
            report([read_table(table)], data.frames("val"), folder, settings=settings)
        else:
            report_losses(losses, folder)
    return score


def best_epoch(trainer: pl.Trainer, folder: Path) -> tuple[Path, float]:
    """The best checkpoint of a run that has been trained, and what it was chosen by.

    Raises:
        CheckpointError: it was removed, and no epoch was left to train.
        ConfigError: the training ended before there was one.
    """
    best = next(callback for callback in model_checkpoints(trainer) if callback.filename == "best")
    if not best.best_model_path:
        last = folder / "checkpoints" / "last.ckpt"
        if not last.is_file():
            raise ConfigError(["the training ended before its first epoch: give it more time (trainer.max_time)"])
        raise CheckpointError(f"{folder} has no best.ckpt: python evaluate.py checkpoint={last} scores its last epoch")
    # without a monitor it is the last epoch's, which an earlier start may have trained
    score = trainer.callback_metrics.get(MONITOR) if best.best_model_score is None else best.best_model_score
    logged = [math.nan, *(r[MONITOR] for r in read_records(folder / "metrics.jsonl") if MONITOR in r)]
    return Path(best.best_model_path), float(logged[-1] if score is None else score)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> float | None:
    """Runs what Hydra composed: one run, or one job of a sweep."""
    with clear_errors():
        return run_job(config, train) if HydraConfig.get().mode is RunMode.MULTIRUN else train(config)


if __name__ == "__main__":
    with clear_errors(), queued_again(first=is_first_process()):
        sys.argv[1:] = literal_paths(sys.argv[1:])
        stored = stored_config(sys.argv[1:])
        if stored is not None:
            train(*stored)
        else:
            check_command_line("train", sys.argv[1:])
            main()
