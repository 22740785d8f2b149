"""What automl.py does: LightAutoML trained on stored features, or predicting with what was trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from omegaconf import DictConfig

from affect.hints import key_errors, suggest
from affect.labels import UNI_TASKS, UniTask
from affect.preprocessing import IMAGENET
from affect.settings import Count
from datamodules.base import Split
from datamodules.folds import split_errors
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.unseen import KNOWN
from evaluators.report import Shown
from evaluators.submission import check_destination
from evaluators.table import table_of_rows
from features.datamodule import FeaturesDataModule, usable
from heads.automl import AutoML, AutoMLSettings, require
from heads.network import Inputs
from heads.stored import check_fits, inputs_of, train
from runs.assembly import build_data
from runs.described import described_features
from runs.folder import opened_run
from runs.next_steps import after_evaluation
from runs.scoring import report, submit


def automl(config: DictConfig) -> None:
    """Train unless a model is given, then predict a split, score it and write what is asked for."""
    with opened_run(config, _problems) as run:
        plain, folder = run.config, run.folder
        postprocess = PostProcess.of(plain["postprocess"])
        task = UNI_TASKS[plain["task"]]
        if plain["submission"] is not None:
            check_destination(plain["submission"])
        require()
        model = None
        if plain["trained"]:
            model = AutoML.load(Path(plain["trained"]), trust=plain["trust"])
            store = described_features(plain["data"]["store"])
            check_fits(model, task, {"input": plain["input"], "features": store["sha256"]}, plain["trained"])
        data = build_data(plain, IMAGENET)
        assert isinstance(data, FeaturesDataModule)
        frames = data.frames(plain["split"])
        postprocess.check_list(frames)
        run.started()
        inputs = Inputs(described_features(plain["data"]["store"]), plain["input"], "input")  # type: ignore[arg-type]
        if model is None:
            model = train(data, inputs, task, AutoMLSettings(**plain["settings"]), plain["max_rows"])
            model.save(folder)
            run.keep()
            print(model.description["model"])
        batch, found = usable(data, plain["split"])
        predictions: dict[str, Any] = {task: model.predict(inputs_of(batch, inputs))}
        metadata = {"automl": model.description, "features": data.store.info.sha256, "split": plain["split"]}
        metadata[KNOWN] = model.description.get(KNOWN, {})
        table = table_of_rows(frames, np.flatnonzero(found), predictions, metadata, str(folder))
        if model.description.get("validation") == "split":
            print("chosen on the validation split: its scores flatter (settings.validation=split)")
        done = report([table], frames, folder, postprocess, split=plain["split"], shown=plain["scores"])
        if plain["submission"] is not None:
            submit(done, plain["submission"], plain["task"])
        if plain["scores"] == "main":
            print(after_evaluation(plain, folder, frames))


class _Settings(TypedDict):
    """Keys of conf/automl.yaml that no node below it has."""

    task: UniTask
    max_rows: Count | None
    trust: bool
    split: Split
    submission: str | None
    scores: Shown
    overwrite: bool


def _problems(plain: Mapping[str, Any]) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    yield from split_errors(plain["split"])
    known = [field.name for field in fields(AutoMLSettings)]
    if unknown := [key for key in plain["settings"] if key not in known]:
        yield from (f"unknown key settings.{key}; {suggest(key, known)}" for key in unknown)
    else:
        yield from AutoMLSettings(**plain["settings"]).problems(UNI_TASKS.get(plain["task"], ""))
    yield from PostProcess.problems(plain["postprocess"])
