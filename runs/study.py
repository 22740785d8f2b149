"""The file of a study, which Optuna keeps in SQLite: made whole, opened again, and given its next trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from affect.errors import DataError, UserError
from affect.files import whole_file
from runs.search_space import Asked, Space
from runs.sweep_jobs import differences

DATABASE: Final = "study.db"
_MADE_FROM: Final = "made_from"
"""Attribute of a study: what it searches, and the configuration that its trials share."""


@contextmanager
def clear_storage(path: Path) -> Iterator[None]:
    """Turn what SQLite and Optuna say of the study's file into one message."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, optuna.exceptions.DuplicatedStudyError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise DataError(
            f"{path}: the study cannot be read or written ({reason}); make room, restore the file, or give another "
            "paths.run_dir"
        ) from error


def opened(path: Path, asked: Asked, shared: Mapping[str, Any]) -> optuna.Study:
    """Open a study, or make it.

    Args:
        path: its file.
        asked: the command line.
        shared: the resolved configuration at the lower ends of the ranges.

    Raises:
        UserError: it is a study of something else.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made_from = {
        "form": 1,
        "keys": {key: space.plain() for key, space in asked.keys.items()},
        "monitor": asked.monitor,
        "config": json.loads(json.dumps(shared)),
    }
    if not path.is_file():
        if left := sorted(one.name for one in path.parent.iterdir() if not one.name.startswith(".")):
            raise UserError(
                f"the folder {path.parent} holds {left[0]} but no study: give another paths.run_dir=… for the study"
            )
        with whole_file(path) as beside:
            for one in (beside, beside.with_name(f"{beside.name}-journal")):  # a killed start's
                one.unlink(missing_ok=True)
            lower = shared["callbacks"]["best"].get("mode") == "min"
            direction = StudyDirection.MINIMIZE if lower else StudyDirection.MAXIMIZE
            storage = RDBStorage(f"sqlite:///{beside}")
            optuna.create_study(storage=storage, study_name="study", direction=direction).set_user_attr(
                _MADE_FROM, made_from
            )
            storage.engine.dispose()
    with suppress(KeyError, RuntimeError):  # no such study; tables of another version
        study = optuna.load_study(
            study_name="study", storage=RDBStorage(f"sqlite:///{path}"), pruner=optuna.pruners.MedianPruner()
        )
        if not asked.prune:
            study.pruner = optuna.pruners.NopPruner()
        _check_same(path, study.user_attrs[_MADE_FROM], made_from)
        return study
    raise DataError(f"{path}: no study of this version of tune.py and Optuna; give another paths.run_dir")


def _check_same(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse to go on with a study of something else."""
    others = [
        f"{key} is {_shown(stored['keys'].get(key))} there and {_shown(wanted['keys'].get(key))} here"
        for key in dict.fromkeys([*stored["keys"], *wanted["keys"]])
        if stored["keys"].get(key) != wanted["keys"].get(key)
    ]
    if stored["monitor"] != wanted["monitor"]:
        others.append(f"tune.monitor is {stored['monitor']} there and {wanted['monitor']} here")
    others = others or differences(stored["config"], wanted["config"])
    if others:
        raise UserError(
            f"{path} is a study of something else: {'; '.join(others)}. Give the command that it was made with, or "
            "another paths.run_dir=…"
        )


def _shown(space: Mapping[str, Any] | None) -> str:
    if space is None:
        return "not searched"
    if space["choices"]:
        return ",".join(space["choices"])
    step = f", step {space['step']}" if space["step"] else ""
    return f"{space['kind']} {space['low']} to {space['high']}{step}{', log' if space['log'] else ''}"


def draw(study: optuna.Study, asked: Asked, number: int, seed: int) -> None:
    """Add a trial with all of its values at once, so that a kill leaves none without them.

    The values follow from the seed, the number of the trial and the trials before it, however often the study was
    started: Optuna's own draws would begin anew with each start.

    Args:
        study: to add it to.
        asked: the command line.
        number: of the trial, counted from 0.
        seed: of the study.
    """
    state = np.random.SeedSequence([seed, number]).generate_state(1)
    beside = optuna.create_study(direction=study.direction, sampler=optuna.samplers.TPESampler(seed=int(state[0])))
    beside.add_trials(study.get_trials(deepcopy=False))
    spaces = {key: _distribution(space) for key, space in asked.keys.items()}
    drawn = beside.ask(spaces)
    params = {key: _short(value, asked.keys[key]) for key, value in drawn.params.items()}
    study.add_trial(optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=spaces))


def _short(value: Any, space: Space) -> Any:
    """Round a number to four digits: a table and a command line are to be read."""
    short = space.kind == "float" and space.step is None
    return min(max(float(f"{value:.4g}"), space.low), space.high) if short else value


def _distribution(space: Space) -> BaseDistribution:
    if space.kind == "choices":
        return CategoricalDistribution(space.choices)
    if space.kind == "int":
        return IntDistribution(int(space.low), int(space.high), log=space.log, step=int(space.step or 1))
    return FloatDistribution(space.low, space.high, log=space.log, step=space.step)


def values_of(trial: FrozenTrial, asked: Asked) -> dict[str, str]:
    """Return a trial's values as words of a command line, in the order of the keys."""
    return {key: one if isinstance(one := trial.params[key], str) else repr(one) for key in asked.keys}
