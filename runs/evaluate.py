"""What evaluate.py does: the scores of a checkpoint, or of prediction tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from omegaconf import DictConfig

from affect.hints import key_errors
from affect.labels import UniTask
from affect.preprocessing import IMAGENET
from affect.settings import Positive, Whole
from datamodules.base import Split
from evaluators.postprocess.blending import check_tables
from evaluators.postprocess.chain import EXPONENTIAL, PostProcess
from evaluators.report import ReportSettings, Shown
from evaluators.submission import check_destination
from evaluators.table import read_table
from runs.assembly import build_data, build_trainer
from runs.callbacks import predicting_speed
from runs.checkpoints import load_module
from runs.config import check_source
from runs.folder import Run, checkpoint_of, opened_run
from runs.limits import limit_errors
from runs.next_steps import after_evaluation
from runs.scoring import check_settings, predict_table, report, submit
from runs.stored_config import take_data_of_run


def evaluate(config: DictConfig) -> None:
    """Make the table of a checkpoint, or take tables; post-process and score them, and write what is asked for."""
    check_source(config)
    tables = [config.predictions] if isinstance(config.predictions, str) else list(config.predictions or [])
    if config.checkpoint is not None:
        config.checkpoint = str(checkpoint_of("checkpoint", config.checkpoint, "best"))
    take_data_of_run(config, Path(config.checkpoint or tables[0]))
    with opened_run(config, partial(_problems, tables=max(len(tables), 1))) as run:
        _evaluate(run, tables)


class _Settings(TypedDict):
    """Keys of conf/evaluate.yaml that no node below it has."""

    timeout_s: Positive
    split: Split
    tta: bool
    submission: str | None
    submission_task: UniTask | None
    submission_per_video: bool
    curve: Whole | Sequence[Whole] | None
    scores: Shown
    report: ReportSettings
    overwrite: bool


def _problems(plain: Mapping[str, Any], tables: int) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    yield from limit_errors(plain["trainer"])
    yield from PostProcess.problems(plain["postprocess"], tables)
    if plain["tta"] and plain["checkpoint"] is None:
        yield "tta=true is for a checkpoint: tables are predicted already"
    if plain["curve"] == []:
        yield "curve=[]: give frames to either side: curve=[0,5,25]"
    if plain["curve"] is not None and plain["postprocess"].get("smoothing") == EXPONENTIAL:
        yield "curve is of windows, and postprocess.smoothing=exponential has none: leave one out"
    if plain["submission_per_video"] and plain["submission_task"] is None:
        yield "submission_per_video=true is for the uni-task challenges: give submission_task, too"


def _evaluate(run: Run, tables: Sequence[str]) -> None:
    plain, folder, split = run.config, run.folder, run.config["split"]
    settings = PostProcess.of(plain["postprocess"], max(len(tables), 1))
    per_video = plain["submission_per_video"]
    if plain["submission"] is not None:
        check_destination(plain["submission"], per_video=per_video)
    if plain["checkpoint"] is None:
        read = [read_table(file) for file in tables]
        check_tables(read, settings.blend, settings.gate)
        data = build_data(plain, IMAGENET, read[0].expressions)
        data.evaluate_only()
        settings.check_list(data.frames(split))
        run.started()
        facts = []
    else:
        module = load_module(Path(plain["checkpoint"]))
        module.tta = plain["tta"]
        data = build_data(plain, module.preprocessing, module.expressions)
        data.evaluate_only()
        check_settings(settings, module, data, split, submitted=plain["submission"] is not None)
        trainer = build_trainer(plain, folder)
        run.started()
        made = folder / "predictions"
        path = predict_table(
            trainer, module, data, split=split, folder=made, checkpoint=plain["checkpoint"], tta=plain["tta"]
        )
        if not trainer.is_global_zero:
            return
        read, facts = [read_table(path)], predicting_speed(trainer)
    curve = plain["curve"]
    if curve is not None:
        curve = sorted({curve} if isinstance(curve, int) else set(curve))
    shown: Shown = plain["scores"]
    pictures = partial(data.pictures, split) if plain["report"]["faces"] else None
    done = report(
        read, data.frames(split), folder, settings, split=split, pictures=pictures, curve_of=curve, shown=shown,
        facts=facts,
    )  # fmt: skip
    if plain["submission"] is not None:
        submit(done, plain["submission"], plain["submission_task"], per_video=per_video)
    if shown == "main":
        print(after_evaluation(plain, folder, data.frames(split)))
