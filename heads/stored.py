"""Train LightAutoML on a feature store."""

from __future__ import annotations

from typing import Any

import numpy as np

from affect.batch import Batch
from affect.errors import CheckpointError
from affect.frames import rows_by_video
from affect.labels import Task
from evaluators.postprocess.unseen import KNOWN, label_means
from features.datamodule import FeaturesDataModule, usable
from heads.automl import Array, AutoML, AutoMLSettings, fit
from heads.network import Inputs


def inputs_of(batch: Batch, inputs: Inputs) -> Array:
    """Return the (N, F) inputs of a model from N rows of stored features."""
    chosen: Array = inputs(batch["embedding"], batch["outputs"]).numpy()
    return chosen


def train(
    data: FeaturesDataModule, inputs: Inputs, task: Task, settings: AutoMLSettings, max_rows: int | None
) -> AutoML:
    """Train a model on the training split of a store.

    Args:
        data: the features and their labels.
        inputs: what the model sees of the features.
        task: the task to learn.
        settings: settings of LightAutoML.
        max_rows: largest number of training rows, which are taken at equal distances; None for all.

    Raises:
        ConfigError: as ``heads.automl.fit``.
    """
    batch, found = usable(data, "train")
    videos = np.empty(len(found), dtype=np.int64)
    for number, rows in enumerate(rows_by_video(data.frames("train").video).values()):
        videos[rows] = number
    step = -(-len(batch["row"]) // max_rows) if max_rows else 1
    labels: Any = batch[task].numpy()
    held = None
    if settings.validation == "split":
        val, _ = usable(data, data.held)
        held = inputs_of(val, inputs), val[task].numpy()
    model = fit(inputs_of(batch, inputs)[::step], labels[::step], videos[found][::step], task, settings, held)
    model.description |= {"input": inputs.kind, "features": data.store.info.sha256}
    model.description[KNOWN] = label_means(data.frames("train"), np.flatnonzero(found), data.expressions)
    return model


def check_fits(model: AutoML, task: Task, wanted: dict[str, str], trained: str) -> None:
    """Check that a model was trained for a task, and on what its description must say.

    Args:
        model: the model.
        task: the task.
        wanted: the ``input`` and the hash of the ``features``.
        trained: folder of the model, for the message.

    Raises:
        CheckpointError: it was trained for another task, on other inputs or on the features of another network.
    """
    differ = [key for key, value in wanted.items() if model.description.get(key) != value]
    differ += [] if model.task == task else ["task"]
    if differ:
        raise CheckpointError(f"trained={trained} was trained with another {', '.join(differ)}: give what it had")
