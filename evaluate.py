"""Scores a checkpoint or prediction tables: ``python evaluate.py checkpoint=…|predictions=[…] data=…``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import hydra
from omegaconf import DictConfig, OmegaConf

from affect.checksums import file_sha256
from affect.errors import ConfigError
from affect.hints import key_errors
from affect.labels import UniTask
from affect.preprocessing import IMAGENET
from affect.ranges import Positive, Whole
from datamodules.base import Split
from evaluators.postprocess.blending import check_tables
from evaluators.postprocess.chain import PostProcess, Processed
from evaluators.submission import check_destination, write_submission, write_uni_submission
from evaluators.table import read_table
from runs.assembly import absolute_data, build_data, build_trainer
from runs.checkpoints import load_module
from runs.config import check_command_line, literal_paths
from runs.ending import clear_errors
from runs.folder import Run, checkpoint_of, opened_run
from runs.limits import limit_errors
from runs.scoring import predict_table, report
from runs.stored_config import OF_RUN, data_of_run


def evaluate(config: DictConfig) -> None:
    """Makes the table of a checkpoint, or takes tables, post-processes and scores them, writes what was asked for."""
    tables = [config.predictions] if isinstance(config.predictions, str) else list(config.predictions or [])
    if (config.checkpoint is None) == (not tables):
        raise ConfigError(["give either checkpoint=<file> or predictions=[<file>, …]"], "the command line")
    if config.checkpoint is not None:
        config.checkpoint = str(checkpoint_of("checkpoint", config.checkpoint, "best"))
    if config.data._target_ == OF_RUN:
        changes: Any = OmegaConf.to_container(config.data)
        render: Any = OmegaConf.to_container(config.render) if config.render is not None else None
        source = Path(config.checkpoint or tables[0])
        config.data, config.render = data_of_run(source, changes, config.paths.cache_dir, render)
    with opened_run(config, partial(_problems, tables=max(len(tables), 1))) as run:
        _evaluate(run, tables)


class _Settings(TypedDict):
    """Keys of conf/evaluate.yaml that no node below it has."""

    timeout_s: Positive
    split: Split
    submission: str | None
    submission_task: UniTask | None
    submission_per_video: bool
    curve: Whole | Sequence[Whole] | None
    overwrite: bool


def _problems(plain: Mapping[str, Any], tables: int) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    yield from limit_errors(plain["trainer"])
    yield from PostProcess.problems(plain["postprocess"], tables)
    if plain["curve"] == []:
        yield "curve=[]: give frames to either side: curve=[0,5,25]"
    if plain["submission_per_video"] and plain["submission_task"] is None:
        yield "submission_per_video=true is for the uni-task challenges: give submission_task, too"


def _evaluate(run: Run, tables: Sequence[str]) -> None:
    plain, folder = run.config, run.folder
    settings = PostProcess.of(plain["postprocess"], max(len(tables), 1))
    curve = plain["curve"]
    if curve is not None:
        curve = sorted({curve} if isinstance(curve, int) else set(curve))
    plain["data"] = absolute_data(plain["data"])
    if plain["submission"] is not None:
        check_destination(plain["submission"], per_video=plain["submission_per_video"])
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
    frames = data.frames(split)
    settings.check_list(frames)
    if module is not None:
        settings.check_unseen(
            frames,
            data.has_image(split),
            module.label_means,
            module.scores.tasks,
            module.expressions,
            submitted=plain["submission"] is not None,
        )
    trainer = build_trainer(plain["trainer"], folder, timeout_s=plain["timeout_s"]) if module is not None else None
    run.started()
    if module is not None and trainer is not None:
        made_by = {"checkpoint": plain["checkpoint"], "checkpoint_sha256": file_sha256(plain["checkpoint"])}
        path = predict_table(trainer, module, data, split=split, folder=folder / "predictions", metadata=made_by)
        if not trainer.is_global_zero:
            return
        read = [read_table(path)]
    done = report(read, frames, folder, split=split, settings=settings, curve_of=curve)
    if plain["submission"] is not None:
        _write_submission(done, plain)


def _write_submission(done: Processed, plain: dict[str, Any]) -> None:
    """Writes what was scored in the organisers' form."""
    destination, task = plain["submission"], plain["submission_task"]
    if task is None:
        write_submission(done.table, destination, au_thresholds=done.au_thresholds)
    else:
        per_video = plain["submission_per_video"]
        write_uni_submission(done.table, destination, task, per_video=per_video, au_thresholds=done.au_thresholds)
    print(f"submission: {destination}")


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
