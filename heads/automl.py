"""LightAutoML on stored features (extra ``automl``): the rows "LightAutoML" of the EmotiEffNet paper.

In the paper the time limit left LightAutoML with one random forest; ``algorithms=[rf]`` repeats that. Without
``algorithms``, LightAutoML chooses by itself.

Source: Vakhrushev et al. 2021, arXiv:2109.01528; https://github.com/sb-ai-lab/LightAutoML.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from affect.checksums import file_sha256, sealed, unsealed
from affect.errors import CheckpointError, ConfigError
from affect.files import whole_file, write_whole
from affect.hints import key_errors
from affect.labels import AU_NAMES, EXPRESSIONS, Task, label_names
from affect.settings import Count, Positive, Range, Whole

Validation = Literal["videos", "split", "cv"]
Array = npt.NDArray[np.float32]

INSTALL: Final = 'pip install -e ".[automl]"'
_log = logging.getLogger(__name__)
MODEL, DESCRIPTION = "automl.joblib", "automl.json"
_KINDS: Final = {"valence_arousal": "multi:reg", "expression": "multiclass", "action_units": "multilabel"}
_HELD_OUT: Final = 5
"""``validation=videos`` holds every fifth training video out."""


@dataclass(frozen=True)
class AutoMLSettings:
    """The settings of LightAutoML.

    Attributes:
        timeout: time for the search in seconds; a model that is being trained at its end is still finished.
        algorithms: LightAutoML's names of algorithms (``linear_l2``, ``cb``, ``rf``, ``lgb``, …); None: its own choice.
        validation: data on which it compares its models. ``videos``: a fifth of the training videos; ``cv``: folds of
            whole training videos; ``split``: the validation split, as published for valence and arousal, but then the
            scores on that split flatter.
        folds: number of folds of ``cv``.
        cpus: number of threads.
        memory_gib: memory that it may use, in GiB.
        seed: seed of everything random.
    """

    timeout: Positive = 600
    algorithms: Sequence[str] | None = None
    validation: Validation = "videos"
    folds: Annotated[int, Range(least=2)] = 5
    cpus: Count = 4
    memory_gib: Positive = 16
    seed: Whole = 42

    def problems(self, task: str) -> Iterator[str]:
        """Yield an error for each value out of range, and for algorithms that cannot learn the task."""
        yield from key_errors(vars(self), AutoMLSettings, "settings.")
        # otherwise LightAutoML 0.4.2 fails after its start
        if task != "expression" and any(str(name).startswith("lgb") for name in self.algorithms or ()):
            yield f"settings.algorithms={list(self.algorithms or ())}: LightGBM does not learn several targets at once"


class AutoML:
    """A LightAutoML model for one task.

    Args:
        model: a fitted ``TabularAutoML`` of ``lightautoml``.
        task: key of the task in predictions.
        classes: (C,) numbers of the expressions or action units that the model predicts, in the order of its columns.
        description: content of ``automl.json``.
    """

    def __init__(self, model: Any, task: Task, classes: npt.NDArray[np.int64], description: dict[str, Any]) -> None:
        self.model, self.task, self.classes, self.description = model, task, classes, description

    def predict(self, features: Array) -> Array:
        """Return (N, columns of the task) probabilities, or valence and arousal in [−1, 1]."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            said = np.asarray(self.model.predict(_frame(features)).data, dtype=np.float32)
        if self.task == "valence_arousal":
            return said.clip(-1, 1)
        # classes that were left out are never predicted
        whole = np.zeros((len(said), len(label_names()[self.task])), dtype=np.float32)
        whole[:, self.classes] = said.clip(0, 1)
        return whole

    def save(self, folder: Path) -> None:
        """Write the model as a pickle, then its hash and description, without which ``load`` refuses it."""
        import joblib

        with whole_file(folder / MODEL) as beside:
            joblib.dump(self.model, beside, compress=3)
        described = {
            **self.description,
            "task": self.task,
            "classes": self.classes.tolist(),
            "sha256": file_sha256(folder / MODEL),
        }
        write_whole(folder / DESCRIPTION, json.dumps(sealed(described), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, *, trust: bool) -> AutoML:
        """Read a model that ``save`` wrote.

        Raises:
            CheckpointError: there is no model, its description is damaged, it is not trusted, or its hash is wrong.
            ConfigError: LightAutoML is not installed.
        """
        if not (folder / DESCRIPTION).is_file() or not (folder / MODEL).is_file():
            raise CheckpointError(f"{folder} has no {DESCRIPTION} and {MODEL}: give trained=<run folder of automl.py>")
        if not trust:
            raise CheckpointError(
                f"{folder / MODEL} is a pickle, and reading it runs what it holds. If you, or somebody whom you trust, "
                "made it, give trust=true"
            )
        described = _described(folder / DESCRIPTION)
        if file_sha256(folder / MODEL) != described["sha256"]:
            raise CheckpointError(
                f"{folder / MODEL} is not the file that {DESCRIPTION} was written for: train it again"
            )
        require()
        import joblib

        return cls(joblib.load(folder / MODEL), described["task"], np.array(described["classes"]), described)


def _described(path: Path) -> dict[str, Any]:
    """Read the description that ``save`` wrote."""
    try:
        described = unsealed(dict(json.loads(path.read_text(encoding="utf-8"))), path, "a model of automl.py")
        task, classes = described["task"], described["classes"]
        columns = label_names()[task]
        if not all(type(number) is int and 0 <= number < len(columns) for number in classes):
            raise ValueError(f"classes {classes}")
        if type(described["sha256"]) is not str:
            raise TypeError("sha256 is no text")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not as automl.py wrote it ({error!r}): train it again") from error
    return described


def require() -> None:
    """Check that LightAutoML is installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("lightautoml") is None:
        fix = INSTALL if sys.version_info < (3, 13) else "it cannot be with Python 3.13 or newer: use 3.11 or 3.12"
        raise ConfigError([f"LightAutoML is not installed: {fix}"])


def fit(
    features: Array,
    labels: npt.NDArray[np.floating] | npt.NDArray[np.int64],
    videos: npt.NDArray[np.int64],
    task: Task,
    settings: AutoMLSettings,
    validation: tuple[Array, npt.NDArray[Any]] | None = None,
) -> AutoML:
    """Search for models that predict the labels, within the time limit.

    Args:
        features: (N, F) features.
        labels: (N, 2), (N,) or (N, 12) labels; rows in which one is missing are left out.
        videos: (N,) number of the video of each row.
        task: the task of the labels.
        settings: settings of the search.
        validation: features and labels of the validation split, for ``validation=split``.

    Raises:
        ConfigError: LightAutoML is not installed, a setting is wrong, or no row has all labels of the task.
    """
    if errors := list(settings.problems(task)):
        raise ConfigError(errors)
    require()
    known = _known(labels)
    if not known.any():
        raise ConfigError([f"no training row has all labels of {task}: nothing can be learnt"])
    table, valid, roles, classes = _prepared(features[known], labels[known], videos[known], task, settings, validation)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about optional parts that are not installed, and changes in its libraries
        from lightautoml.automl.presets.tabular_presets import TabularAutoML
        from lightautoml.tasks import Task as LamaTask

        model = TabularAutoML(
            task=LamaTask(_KINDS[task]),
            timeout=settings.timeout,
            cpu_limit=settings.cpus,
            memory_limit=settings.memory_gib,
            general_params={} if settings.algorithms is None else {"use_algos": [list(settings.algorithms)]},
            reader_params={"n_jobs": settings.cpus, "cv": settings.folds, "random_state": settings.seed},
        )
        try:
            model.fit_predict(table, roles=roles, valid_data=valid, verbose=1)
        except (AssertionError, ValueError) as error:
            problem = str(error).splitlines()[0]
            raise ConfigError([f"LightAutoML: {problem}: more rows, more time or other algorithms may do"]) from error
    description = {
        "rows": len(table),
        "held_out_rows": 0 if valid is None else len(valid),
        "validation": settings.validation,
        "model": model.create_model_str_desc(),
    }
    return AutoML(model, task, classes, description)


def _prepared(
    features: Array,
    labels: npt.NDArray[Any],
    videos: npt.NDArray[np.int64],
    task: Task,
    settings: AutoMLSettings,
    validation: tuple[Array, npt.NDArray[Any]] | None,
) -> tuple[Any, Any, dict[str, Any], npt.NDArray[np.int64]]:
    """Return the training table, the validation table (None for folds), LightAutoML's roles and ``AutoML.classes``."""
    out, held = np.zeros(len(labels), dtype=bool), None
    if settings.validation == "videos":
        out = hold_out(labels if task == "expression" else np.zeros(len(labels), dtype=np.int64), videos)
        if not out.any() or out.all():
            raise ConfigError(["validation=videos: too few training videos to hold some out; give validation=cv"])
        held = features[out], labels[out]
    elif settings.validation == "split":
        assert validation is not None
        seen = _known(validation[1])
        held = validation[0][seen], validation[1][seen]
    classes = np.arange(len(label_names()[task]))
    if task == "action_units":
        classes = _varying(labels[~out], None if held is None else held[1])
    elif task == "expression":
        classes = _comparable(labels[~out], None if held is None else held[1], settings.folds)
        out |= ~np.isin(labels, classes)
        if held is not None:
            known = np.isin(held[1], classes)
            held = held[0][known], held[1][known]
    table = _labelled(features[~out], labels[~out], task, classes)
    names = _names(task, classes)
    roles: dict[str, Any] = {"target": names[0] if task == "expression" else names}
    if held is None:
        table["video"], roles["group"] = videos[~out], "video"
    return table, None if held is None else _labelled(*held, task, classes), roles, classes


def _known(labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return (N,) true for the rows in which no label is missing."""
    known: npt.NDArray[np.bool_] = labels >= 0 if labels.ndim == 1 else ~np.isnan(labels).any(axis=1)
    return known


def hold_out(labels: npt.NDArray[np.int64], videos: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Choose the videos to hold out: every fifth, and one more for each class that these lack.

    If only one video has a class, it is not held out for that class.

    Args:
        labels: (N,) class of each row.
        videos: (N,) number of the video of each row.

    Returns:
        (N,) true for the rows of these videos.
    """
    out = np.isin(videos, np.unique(videos)[_HELD_OUT - 1 :: _HELD_OUT])
    for number in np.unique(labels):
        having = np.unique(videos[labels == number])
        if len(having) > 1 and not (labels[out] == number).any():
            out |= videos == having[-1]
    return out


def _comparable(labels: npt.NDArray[Any], held: npt.NDArray[Any] | None, least: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the expressions that LightAutoML can learn; the log names those that are left out.

    It fails if a class has fewer rows than there are folds, or has no row in the validation table.
    """
    counts = np.bincount(labels, minlength=len(EXPRESSIONS))
    usable = counts >= least
    if held is not None:
        usable &= np.bincount(held, minlength=len(EXPRESSIONS)) > 0
    rare = [EXPRESSIONS[number] for number in np.flatnonzero((counts > 0) & ~usable)]
    if rare:
        _log.warning("LightAutoML leaves out %s: too few rows, or too few videos that have it", ", ".join(rare))
    return np.flatnonzero(usable)


def _varying(labels: npt.NDArray[Any], held: npt.NDArray[Any] | None) -> npt.NDArray[np.int64]:
    """Return the columns of the action units that are sometimes present and sometimes not; the log names the others."""
    varying = (labels.min(axis=0) < labels.max(axis=0)) & (held is None or held.min(axis=0) < held.max(axis=0))
    if not varying.all():
        names = ", ".join(AU_NAMES[unit] for unit in np.flatnonzero(~varying))
        _log.warning("LightAutoML leaves out %s: always or never there; predicted as absent", names)
    return np.flatnonzero(varying)


def _names(task: Task, classes: npt.NDArray[np.int64]) -> list[str]:
    """Return the column names of the targets."""
    return ["expression"] if task == "expression" else [label_names()[task][number] for number in classes]


def _frame(features: Array) -> Any:
    """Make a pandas table with the columns f0, f1, …."""
    import pandas as pd

    return pd.DataFrame(features, columns=[f"f{number}" for number in range(features.shape[1])])


def _labelled(features: Array, labels: npt.NDArray[Any], task: Task, classes: npt.NDArray[np.int64]) -> Any:
    """Make a pandas table of features and targets."""
    table = _frame(features)
    values = np.searchsorted(classes, labels)[:, None] if task == "expression" else labels[:, classes]
    for name, column in zip(_names(task, classes), values.T, strict=True):
        table[name] = column if task == "valence_arousal" else column.astype(np.int64)
    return table
