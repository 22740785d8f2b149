"""What train.py does: one run, from its configuration to its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytorch_lightning as pl
from omegaconf import DictConfig

from affect.hints import key_errors
from affect.settings import Positive, Range
from evaluators.postprocess.options import PostProcess
from evaluators.report import ReportSettings, Shown
from runs.assembly import build_data, build_module, build_trainer
from runs.checkpoints import read_checkpoint, restore_weights, save_atomically
from runs.dashboards import conclude
from runs.folder import opened_run, run_folder
from runs.folds import show_folds, training_errors, write_folds
from runs.limits import limit_errors
from runs.next_steps import after_training
from runs.resuming import best_epoch, earlier_start, restoring
from runs.scoring import result_of
from runs.slurm import check_leftovers


class _Settings(TypedDict):
    """Keys of conf/train.yaml that no node below it has."""

    seed: Annotated[int, Range(least=0, below=2**32)]  # as NumPy's generators take it
    timeout_s: Positive
    scores: Shown
    report: ReportSettings
    overwrite: bool


def problems(plain: Mapping[str, Any]) -> Iterator[str]:
    """Find what is wrong with the resolved configuration of a training, beyond types and targets."""
    yield from key_errors(plain, _Settings)
    yield from training_errors(plain["data"])
    yield from limit_errors(plain["trainer"], plain["callbacks"])
    yield from PostProcess.problems(plain["postprocess"])


def train(config: DictConfig, resume: Path | None = None, *, watched_by: Sequence[pl.Callback] = ()) -> float:
    """Make one run, from the configuration to the report.

    Args:
        config: the composed or stored configuration.
        resume: a checkpoint of the same run to go on from.
        watched_by: callbacks of this start that are no part of the configuration.

    Returns:
        What the checkpoint was chosen by (``val/score``), for sweeps that search for it.
    """
    if resume is None:
        config, resume = earlier_start(run_folder(config)) or (config, None)
    with opened_run(config, problems, resume=resume is not None) as run:
        plain, folder = run.config, run.folder
        fork = plain["fork_from"] and Path(plain["fork_from"]) / "checkpoints" / "best.ckpt"
        if resume is not None:
            check_leftovers(folder)
        pl.seed_everything(plain["seed"], workers=True, verbose=False)
        module = build_module(plain["model"], initialise=not (resume or fork))
        for checkpoint in filter(None, (resume, fork)):
            restore_weights(module, read_checkpoint(checkpoint, resume=checkpoint is resume), checkpoint)
        data = build_data(plain, module.preprocessing, module.expressions)
        data.setup("fit")
        show_folds(data)
        faces = plain["report"]["faces"]
        result = result_of(module, data, PostProcess.of(plain["postprocess"]), plain["scores"], faces=faces)
        trainer = build_trainer(plain, folder, on_step=run.keep, watched_by=watched_by)
        run.started()
        write_folds(data, folder)
        with restoring(trainer, resume):
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        best, score = best_epoch(trainer, folder)
        restore_weights(module, read_checkpoint(best), best)
        if trainer.is_global_zero:
            for name, content in module.exports().items():
                save_atomically(content, folder / "weights" / name)
            if data.skipped_rows:
                print(f"training left out {len(data.skipped_rows)} unreadable images (data.on_unreadable=skip)")
        result(trainer, folder, plain["name"], best)
        conclude(trainer, plain, folder, data.frames(data.held))
        if trainer.is_global_zero and plain["scores"] == "main":
            print(after_training(plain, folder))
        return score
