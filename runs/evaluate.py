"""What evaluate.py does: the scores of a checkpoint, or of prediction tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from omegaconf import DictConfig, OmegaConf

from affect.hints import key_errors
from affect.labels import UniTask
from affect.preprocessing import IMAGENET
from affect.settings import Positive, Whole
from datamodules.base import FaceDataModule, Split
from datamodules.folds import POOLED, split_errors
from datamodules.readers.folds import FILE
from evaluators.postprocess.blending import check_tables
from evaluators.postprocess.options import EXPONENTIAL, PostProcess
from evaluators.report import ReportSettings, Shown
from evaluators.submission import check_destination
from evaluators.table import Table, read_table
from runs.assembly import build_data, build_trainer
from runs.callbacks import predicting_speed
from runs.config import check_source
from runs.folder import Run, checkpoint_of, opened_run
from runs.folds import FoldRun, check_unlearnt, default_split, fold_runs, pooled, write_folds
from runs.limits import limit_errors
from runs.next_steps import after_evaluation
from runs.scoring import check_settings, predict_table, report, submit
from runs.stored_config import take_data_of_run
from runs.trained import load_scored


def evaluate(config: DictConfig) -> None:
    """Make the table of a checkpoint, or take tables; post-process and score them, and write what is asked for."""
    check_source(config)
    tables = [config.predictions] if isinstance(config.predictions, str) else list(config.predictions or [])
    if config.checkpoint is not None:
        config.checkpoint = str(checkpoint_of("checkpoint", config.checkpoint, "best"))
    given: Any = OmegaConf.to_container(config)
    of_folds = [] if given["folds"] is None else fold_runs(given["folds"])
    take_data_of_run(config, of_folds[0].checkpoint if of_folds else Path(config.checkpoint or tables[0]))
    if of_folds:
        config.data.fold = None
        config.data.folds = config.data.folds or str(of_folds[0].folder / FILE)
    config.split = config.split or default_split(config.data)
    blended = len(of_folds) if config.split != POOLED else len(tables)
    with opened_run(config, partial(_problems, tables=max(blended, len(tables), 1))) as run:
        _evaluate(run, tables, of_folds)


_Taken: TypeAlias = tuple[FaceDataModule, list[Table], Sequence[str]]
"""The data, tables of one split of it, and what the report says of their making."""


class _Settings(TypedDict):
    """Keys of conf/evaluate.yaml that no node below it has."""

    timeout_s: Positive
    folds: str | Sequence[str] | None
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
    yield from split_errors(plain["split"])
    yield from limit_errors(plain["trainer"])
    yield from PostProcess.problems(plain["postprocess"], tables)
    if plain["folds"] is not None and (plain["split"] == "train" or plain["split"].startswith("fold")):
        yield f"split={plain['split']}: folds= takes all of them; split={POOLED} pools them, split=test averages them"
    if plain["tta"] and plain["checkpoint"] is None and (plain["folds"] is None or plain["split"] == POOLED):
        yield "tta=true is for a checkpoint: tables are predicted already"
    if plain["curve"] == []:
        yield "curve=[]: give frames to either side: curve=[0,5,25]"
    if plain["curve"] is not None and plain["postprocess"].get("smoothing") == EXPONENTIAL:
        yield "curve is of windows, and postprocess.smoothing=exponential has none: leave one out"
    if plain["submission_per_video"] and plain["submission_task"] is None:
        yield "submission_per_video=true is for the uni-task challenges: give submission_task, too"


def _evaluate(run: Run, tables: Sequence[str], of_folds: Sequence[FoldRun]) -> None:
    plain, folder, split = run.config, run.folder, run.config["split"]
    networks = [] if plain["checkpoint"] is None else [Path(plain["checkpoint"])]
    if split != POOLED:
        networks += [one.checkpoint for one in of_folds]
    settings = PostProcess.of(plain["postprocess"], max(len(tables), len(networks), 1))
    per_video = plain["submission_per_video"]
    if plain["submission"] is not None:
        check_destination(plain["submission"], per_video=per_video)
    taken = _predicted(run, settings, networks) if networks else _read(run, settings, tables, of_folds)
    if taken is None:
        return
    data, read, facts = taken
    curve = plain["curve"]
    if curve is not None:
        curve = sorted({curve} if isinstance(curve, int) else set(curve))
    shown: Shown = plain["scores"]
    pictures = partial(data.pictures, split) if plain["report"]["faces"] else None
    done = report(
        read, data.frames(split), folder, settings, split=split, pictures=pictures, curve_of=curve, shown=shown,
        facts=facts, dealt=data.dealt if split == POOLED else None,
    )  # fmt: skip
    if plain["submission"] is not None:
        submit(done, plain["submission"], plain["submission_task"], per_video=per_video)
    if shown == "main":
        print(after_evaluation(plain, folder, data.frames(split)))


def _read(run: Run, settings: PostProcess, tables: Sequence[str], of_folds: Sequence[FoldRun]) -> _Taken:
    """Read the tables, or put those of all folds together; and the lists that they are of."""
    plain, split = run.config, run.config["split"]
    files = [*tables, *(str(one.table) for one in of_folds)]
    read = [read_table(file) for file in files]
    if tables:
        check_tables(read, settings.blend, settings.gate)
    data = build_data(plain, IMAGENET, read[0].expressions)
    data.evaluate_only()
    settings.check_list(data.frames(split))
    if not tables:
        read = [pooled(of_folds, data)]
    run.started()
    write_folds(data, run.folder)
    return data, read, []


def _predicted(run: Run, settings: PostProcess, networks: Sequence[Path]) -> _Taken | None:
    """Predict the split with each network; None in all processes but the first."""
    plain, folder, split = run.config, run.folder, run.config["split"]
    module = load_scored(networks[0])
    data = build_data(plain, module.preprocessing, module.expressions)
    data.evaluate_only()
    if plain["checkpoint"] is not None:
        check_unlearnt(networks[0], data, split)
    check_settings(settings, module, data, split, submitted=plain["submission"] is not None)
    trainer = build_trainer(plain, folder)
    run.started()
    write_folds(data, folder)
    paths = []
    for number, checkpoint in enumerate(networks):
        module = load_scored(checkpoint) if number else module
        module.tta = plain["tta"]
        made = folder / "predictions" / (f"network{number}" if len(networks) > 1 else "")
        paths.append(
            predict_table(trainer, module, data, split=split, folder=made, checkpoint=checkpoint, tta=plain["tta"])
        )
    if not trainer.is_global_zero:
        return None
    return data, [read_table(path) for path in paths], predicting_speed(trainer)
