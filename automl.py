"""Train LightAutoML on stored features, or predict with it: ``python automl.py …``; conf/automl.yaml has the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from omegaconf import DictConfig

from affect.batch import Batch
from affect.errors import CheckpointError
from affect.hints import key_errors
from affect.labels import UNI_TASKS, Task, UniTask
from affect.preprocessing import IMAGENET
from affect.ranges import Count
from datamodules.base import Split
from evaluators.postprocess.chain import PostProcess
from evaluators.postprocess.unseen import KNOWN, label_means
from evaluators.submission import check_destination
from evaluators.table import table_of_rows
from features.datamodule import FeaturesDataModule, usable
from features.store import rows_by_video
from heads.automl import AutoML, AutoMLSettings, fit, require
from heads.network import Inputs
from runs.assembly import build_data
from runs.building import suggest
from runs.command import command
from runs.config import described_features
from runs.folder import Run, opened_run
from runs.scoring import report, submit


def automl(config: DictConfig) -> None:
    """Train unless a model is given, then predict a split, score it and write what is asked for."""
    with opened_run(config, _problems) as run:
        _automl(run)


class _Settings(TypedDict):
    """Keys of conf/automl.yaml that no node below it has."""

    task: UniTask
    max_rows: Count | None
    trust: bool
    split: Split
    submission: str | None
    overwrite: bool


def _problems(plain: Mapping[str, Any]) -> Iterator[str]:
    yield from key_errors(plain, _Settings)
    known = [field.name for field in fields(AutoMLSettings)]
    if unknown := [key for key in plain["settings"] if key not in known]:
        yield from (f"unknown key settings.{key}; {suggest(key, known)}" for key in unknown)
    else:
        yield from AutoMLSettings(**plain["settings"]).problems(UNI_TASKS.get(plain["task"], ""))
    yield from PostProcess.problems(plain["postprocess"])


def _automl(run: Run) -> None:
    plain, folder = run.config, run.folder
    postprocess = PostProcess.of(plain["postprocess"])
    task = UNI_TASKS[plain["task"]]
    if plain["submission"] is not None:
        check_destination(plain["submission"])
    require()
    made = (
        _checked(AutoML.load(Path(plain["trained"]), trust=plain["trust"]), plain, task) if plain["trained"] else None
    )
    data = build_data(plain, IMAGENET)
    assert isinstance(data, FeaturesDataModule)
    frames = data.frames(plain["split"])
    postprocess.check_list(frames)
    run.started()
    model = made or _train(data, task, plain)
    if made is None:
        model.save(folder)
        run.keep()
        print(model.description["model"])
    batch, found = usable(data, plain["split"])
    predictions: dict[str, Any] = {task: model.predict(_inputs(batch, plain))}
    metadata = {"automl": model.description, "features": data.store.info.sha256, "split": plain["split"]}
    metadata[KNOWN] = model.description.get(KNOWN, {})
    table = table_of_rows(frames, np.flatnonzero(found), predictions, metadata, str(folder))
    if model.description.get("validation") == "split":
        print("chosen on the validation split: its scores flatter (settings.validation=split)")
    done = report([table], frames, folder, split=plain["split"], settings=postprocess)
    submit(done, plain["submission"], plain["task"])


def _train(data: FeaturesDataModule, task: Task, plain: dict[str, Any]) -> AutoML:
    settings = AutoMLSettings(**plain["settings"])
    batch, found = usable(data, "train")
    videos = np.empty(len(found), dtype=np.int64)
    for number, rows in enumerate(rows_by_video(data.frames("train").video).values()):
        videos[rows] = number
    step = -(-len(batch["row"]) // plain["max_rows"]) if plain["max_rows"] else 1
    labels: Any = batch[task].numpy()
    held = None
    if settings.validation == "split":
        val, _ = usable(data, "val")
        held = _inputs(val, plain), val[task].numpy()
    model = fit(_inputs(batch, plain)[::step], labels[::step], videos[found][::step], task, settings, held)
    model.description |= {"input": plain["input"], "features": data.store.info.sha256}
    model.description[KNOWN] = label_means(data.frames("train"), np.flatnonzero(found), data.expressions)
    return model


def _inputs(batch: Batch, plain: dict[str, Any]) -> Any:
    """Return (N, F): what the model looks at."""
    inputs = Inputs(described_features(plain["data"]["store"]), plain["input"], "input")  # type: ignore[arg-type]
    return inputs(batch["embedding"], batch["outputs"]).numpy()


def _checked(model: AutoML, plain: dict[str, Any], task: Task) -> AutoML:
    """Refuse a model of another task, input or network."""
    wanted = {"input": plain["input"], "features": described_features(plain["data"]["store"])["sha256"]}
    differ = [key for key, value in wanted.items() if model.description.get(key) != value]
    differ += [] if model.task == task else ["task"]
    if differ:
        raise CheckpointError(
            f"trained={plain['trained']} was trained with another {', '.join(differ)}: give what it had"
        )
    return model


if __name__ == "__main__":
    command("automl", automl)
