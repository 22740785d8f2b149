"""Scores a checkpoint or prediction tables: ``python evaluate.py checkpoint=…|predictions=[…] data=…``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from backbones.preprocessing import IMAGENET
from backbones.weights import file_sha256
from datamodules.labels import UNI_HEADERS
from evaluators.blending import check_tables
from evaluators.postprocess import PostProcess, Processed
from evaluators.predictions import read_table
from evaluators.submission import check_destination, write_submission, write_uni_submission
from training.assembly import absolute_data, build_data, build_trainer
from training.checkpoints import load_module
from training.config import ConfigError, check_command_line, literal_paths
from training.ending import clear_errors
from training.limits import check_limits
from training.run import Run, opened_run
from training.scoring import predict_table, report
from training.stored import data_of_run


def evaluate(config: DictConfig) -> None:
    """Makes the table of a checkpoint, or takes tables, post-processes and scores them, writes what was asked for."""
    tables = [config.predictions] if isinstance(config.predictions, str) else list(config.predictions or [])
    if (config.checkpoint is None) == (not tables):
        raise ConfigError(["give either checkpoint=<file> or predictions=[<file>, …]"], "the command line")
    if "_target_" not in config.data:
        changes: Any = OmegaConf.to_container(config.data)
        source = Path(config.checkpoint or tables[0])
        config.data, config.render = data_of_run(source, changes, config.paths.cache_dir)
    with opened_run(config) as run:
        _evaluate(run, tables)


def _evaluate(run: Run, tables: Sequence[str]) -> None:
    plain, folder = run.config, run.folder
    settings = PostProcess.of(plain["postprocess"], max(len(tables), 1))
    curve = _half_widths(plain["curve"])
    plain["data"] = absolute_data(plain["data"])
    _check_submission(plain)
    check_limits(plain["trainer"])
    split = plain["split"]
    module = load_module(Path(plain["checkpoint"])) if plain["checkpoint"] is not None else None
    if module is not None:
        preprocessing, expressions = module.preprocessing, module.expressions
    else:
        read = [read_table(file) for file in tables]
        check_tables(read, settings.blend, settings.gate)
        preprocessing, expressions = IMAGENET, read[0].expressions
    data = build_data(plain["data"], plain["render"], preprocessing, expressions)
    data.evaluate_only()
    settings.check_list(data.frames(split))
    trainer = build_trainer(plain["trainer"], folder, timeout_s=plain["timeout_s"]) if module is not None else None
    run.started()
    if module is not None and trainer is not None:
        made_by = {"checkpoint": plain["checkpoint"], "checkpoint_sha256": file_sha256(plain["checkpoint"])}
        path = predict_table(trainer, module, data, split=split, folder=folder / "predictions", metadata=made_by)
        if not trainer.is_global_zero:
            return
        read = [read_table(path)]
    done = report(read, data.frames(split), folder, split=split, settings=settings, curve_of=curve)
    if plain["submission"] is not None:
        _write_submission(done, plain)


def _check_submission(plain: dict[str, Any]) -> None:
    """Refuses a form of submission that does not exist, and a place for it, before anything is predicted."""
    task, errors = plain["submission_task"], []
    if task is not None and task not in UNI_HEADERS:
        errors.append(f"submission_task={task}: give one of {', '.join(UNI_HEADERS)}, or null for the other challenges")
    if plain["submission_per_video"] and task is None:
        errors.append("submission_per_video=true is for the uni-task challenges: give submission_task, too")
    if errors:
        raise ConfigError(errors)
    if plain["submission"] is not None:
        check_destination(plain["submission"], per_video=plain["submission_per_video"])


def _write_submission(done: Processed, plain: dict[str, Any]) -> None:
    """Writes what was scored in the organisers' form."""
    destination, task = plain["submission"], plain["submission_task"]
    if task is None:
        write_submission(done.table, destination, au_thresholds=done.au_thresholds)
    else:
        per_video = plain["submission_per_video"]
        write_uni_submission(done.table, destination, task, per_video=per_video, au_thresholds=done.au_thresholds)
    print(f"submission: {destination}")


def _half_widths(curve: Any) -> list[int] | None:
    """The half-widths of ``curve=[0,1,2,…]``, ascending and once each."""
    if curve is None:
        return None
    given = curve if isinstance(curve, list) else [curve]
    if not given or not all(type(k) is int and k >= 0 for k in given):
        raise ConfigError([f"curve={curve}: give frames to either side, 0 or more: curve=[0,5,25]"], "the command line")
    return sorted(set(given))


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Runs one evaluation that Hydra composed."""
    with clear_errors():
        evaluate(config)


if __name__ == "__main__":
    with clear_errors():
        sys.argv[1:] = literal_paths(sys.argv[1:])
        check_command_line("evaluate", sys.argv[1:])
        main()
