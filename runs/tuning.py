"""A study: trials of train.py one after the other, each in a folder of its own, with values that Optuna chooses.

All that is known of a study is in its folder: ``study.db`` (SQLite), a run folder for each trial, ``table.csv``. One
process does it all, so a kill leaves nothing running; the trial that was under way goes on at the next start.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from affect.errors import ConfigError, DataError, UserError
from affect.files import locked, reached, whole_file
from evaluators.report import read_records
from runs.config import CONFIG_DIR, check_command_line, quoted, resolve
from runs.next_steps import wrapped
from runs.search_space import Asked, Space, read
from runs.sweep_jobs import attempted, differences, go_on, refuse_distributed
from runs.sweeps import shortened, show_table, table_of
from runs.train import problems, train
from training.module import MONITOR

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise UserError(
        f'tune.py searches with the package optuna, which cannot be loaded ({error}): pip install -e ".[tune]"'
    ) from error

DATABASE: Final = "study.db"
_MADE_FROM: Final = "made_from"
"""Attribute of a study: what it searches, and the configuration that its trials share."""

Train = Callable[..., float]


class Pruned(Exception):
    """A trial that ends early: it is worse than the others were after as many epochs."""


class Watch(pl.Callback):
    """Tell a study how each epoch of a trial ended, and end the trial where the study says so.

    At the start of an epoch ``last.ckpt`` has the one before: whatever is told can be resumed.

    Args:
        trial: of the study.
        monitor: what is told.
    """

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        self.trial, self.monitor = trial, monitor

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell the epochs before this one.

        Raises:
            Pruned: the study ends the trial.
            UserError: nothing was logged under the monitor's name.
        """
        if trainer.current_epoch and tell_epochs(
            self.trial, Path(trainer.default_root_dir), self.monitor, trainer.current_epoch
        ):
            reached("tune.told", Path(trainer.default_root_dir))
            if self.trial.should_prune():
                raise Pruned


def tell_epochs(trial: optuna.Trial, folder: Path, monitor: str, before: int | None = None) -> list[float]:
    """Tell a study what ``metrics.jsonl`` has of a trial; what is told already is left as it is.

    Args:
        trial: of the study.
        folder: its run folder.
        monitor: name of the value.
        before: the first epoch that is left out: it may be left over from a start that was killed in it.

    Returns:
        The values, epoch by epoch.

    Raises:
        UserError: there is none.
    """
    records = read_records(folder / "metrics.jsonl")
    values = {int(one["epoch"]): float(one[monitor]) for one in records if monitor in one}
    told = trial.storage.get_trial(trial._trial_id).intermediate_values
    kept = {epoch: value for epoch, value in sorted(values.items()) if before is None or epoch < before}
    for epoch, value in kept.items():
        if epoch not in told:
            trial.report(value, epoch)
    if not kept:
        others = sorted({key for one in records for key in one if key.startswith("val/")})
        raise UserError(
            f"{folder}: no epoch has logged {monitor}, so there is nothing to search for: validate on labelled data, or "
            f"give tune.monitor={' or '.join(others) or '…'}"
        )
    return list(kept.values())


def tune(arguments: Sequence[str], train: Train = train) -> None:
    """Do a study, or go on with it: the trials, one table of them, the best as a command line.

    Args:
        arguments: the command line without the program's name.
        train: makes one run, as ``runs.train.train`` does.

    Raises:
        ConfigError: the command line has errors.
        UserError: the folder holds another study; or no trial has a result.
    """
    asked = read(arguments)
    config = _checked(asked)
    _check_monitor(config, asked)
    folder = _folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "study"), _clear_storage(folder / DATABASE):
        study = _opened(folder / DATABASE, asked, resolve(config, problems, "the command line"))
        for number in range(asked.trials):
            _trial(study, asked, folder, number, train)
        _conclude(study, asked, folder)


def _checked(asked: Asked) -> DictConfig:
    """Compose the ends of all ranges, so that what a configuration does not take is told before the first trial.

    Returns:
        The configuration at the lower ends: all that trials share is in it.
    """
    ends = {key: space.ends() for key, space in asked.keys.items()}
    for index in range(max(map(len, ends.values()))):
        config = _composed(asked, {key: values[min(index, len(values) - 1)] for key, values in ends.items()})
        refuse_distributed(config)
        resolve(config, problems, "the command line")
    return _composed(asked, {key: values[0] for key, values in ends.items()})


def _composed(asked: Asked, values: Mapping[str, str], folder: Path | None = None) -> DictConfig:
    """Compose the configuration of one trial.

    Args:
        asked: the command line.
        values: of the searched keys.
        folder: of the run; None: as the command line has it.
    """
    words = [*asked.words, *(f"{key}={value}" for key, value in values.items())]
    check_command_line("train", words)
    if folder is not None:
        words.append(f"paths.run_dir={quoted(str(folder))}")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", overrides=words, return_hydra_config=True)
    HydraConfig.instance().set_config(config)  # the names of runs in dashboards come from its command line
    with open_dict(config):
        del config["hydra"]
    return config


def _check_monitor(config: DictConfig, asked: Asked) -> None:
    """Check that the best epoch is that of the value that is searched for.

    Raises:
        ConfigError: it is chosen by another one, or by a value that has no direction.
    """
    chosen = config.callbacks.best.get("monitor")
    if chosen is None and asked.monitor != MONITOR:
        message = f"tune.monitor={asked.monitor}: the last epoch is the result here, and only {MONITOR} compares those"
    elif chosen not in (None, asked.monitor):
        message = (
            f"tune.monitor is {asked.monitor}, but the best epoch of experiment={config.name} is chosen by {chosen}: give "
            f"tune.monitor={chosen}"
        )
    else:
        return
    raise ConfigError([message], "the command line")


def _folder(config: DictConfig) -> Path:
    unresolved = OmegaConf.to_container(config.paths, resolve=False)
    assert isinstance(unresolved, dict)
    timed = "${now" in str(unresolved["run_dir"])
    return Path(f"{config.paths.output_dir}/tune-{config.name}" if timed else config.paths.run_dir).absolute()


@contextmanager
def _clear_storage(path: Path) -> Iterator[None]:
    """Turn what SQLite and Optuna say of the study's file into one message."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, optuna.exceptions.DuplicatedStudyError) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise DataError(
            f"{path}: the study cannot be read or written ({reason}); make room, restore the file, or give another "
            "paths.run_dir"
        ) from error


def _opened(path: Path, asked: Asked, shared: Mapping[str, Any]) -> optuna.Study:
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
            mode = "minimize" if shared["callbacks"]["best"].get("mode") == "min" else "maximize"
            storage = RDBStorage(f"sqlite:///{beside}")
            optuna.create_study(storage=storage, study_name="study", direction=mode).set_user_attr(
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


def _trial(study: optuna.Study, asked: Asked, folder: Path, number: int, train: Train) -> None:
    """Do one trial, unless it has ended in an earlier start; one that was under way goes on."""
    trials = study.get_trials(deepcopy=False)
    if number < len(trials) and trials[number].state.is_finished():
        return
    if number == len(trials):
        _draw(study, asked, number)
        reached("tune.drawn", folder)
    frozen = study.get_trials(deepcopy=False)[number]
    trial, values = optuna.Trial(study, frozen._trial_id), _values(frozen, asked)
    run = _run(folder, number)
    print(f"trial {number} of {asked.trials}: {', '.join(f'{key}={value}' for key, value in values.items())}")
    state = TrialState.COMPLETE

    def work() -> None:
        nonlocal state
        config = _composed(asked, values, run)
        try:
            go_on(config, run, lambda *given: train(*given, watched_by=[Watch(trial, asked.monitor)]))
        except Pruned:
            state = TrialState.PRUNED
        told = tell_epochs(trial, run, asked.monitor)
        if state is TrialState.COMPLETE:
            # as the best checkpoint was chosen; without a monitor it is the last one
            best = max if study.direction == optuna.study.StudyDirection.MAXIMIZE else min
            value = told[-1] if config.callbacks.best.get("monitor") is None else best(told)
            reached("tune.trained", run)
            study.tell(number, value)
        else:
            study.tell(number, state=state)

    message = attempted(run, work)
    gc.collect()  # a module and its trainer hold each other: the next trial needs their memory
    if message is not None:
        trial.set_user_attr("failure", shortened(message))
        study.tell(number, state=TrialState.FAIL)
    print(f"trial {number}: {_outcome(study.get_trials(deepcopy=False)[number])}")


def _draw(study: optuna.Study, asked: Asked, number: int) -> None:
    """Add a trial with all of its values at once, so that a kill leaves none without them.

    The values follow from the seed, the number of the trial and the trials before it, however often the study was
    started: Optuna's own draws would begin anew with each start.
    """
    seed = next(int(one.partition("=")[2]) for one in [*asked.words, "seed=0"] if one.startswith("seed="))
    state = np.random.SeedSequence([seed, number]).generate_state(1)
    beside = optuna.create_study(direction=study.direction, sampler=optuna.samplers.TPESampler(seed=int(state[0])))
    beside.add_trials(study.get_trials(deepcopy=False))
    spaces = {key: _distribution(space) for key, space in asked.keys.items()}
    drawn = beside.ask(spaces)
    study.add_trial(optuna.create_trial(state=TrialState.RUNNING, params=drawn.params, distributions=spaces))


def _distribution(space: Space) -> BaseDistribution:
    if space.kind == "choices":
        return CategoricalDistribution(space.choices)
    if space.kind == "int":
        return IntDistribution(int(space.low), int(space.high), log=space.log, step=int(space.step or 1))
    return FloatDistribution(space.low, space.high, log=space.log, step=space.step)


def _values(trial: FrozenTrial, asked: Asked) -> dict[str, str]:
    """Return a trial's values as words of a command line, in the order of the keys."""
    return {key: one if isinstance(one := trial.params[key], str) else repr(one) for key in asked.keys}


def _run(folder: Path, number: int) -> Path:
    return folder / f"trial-{number}"


def _outcome(trial: FrozenTrial) -> str:
    if trial.state is TrialState.FAIL:
        return f"failed: {trial.user_attrs.get('failure', '')}"
    if trial.state is TrialState.PRUNED:
        return f"pruned after {len(trial.intermediate_values)} epochs"
    return f"{trial.value:.4f}"


def _conclude(study: optuna.Study, asked: Asked, folder: Path) -> None:
    """Print and write the table, and print the best trial as a command of train.py.

    Raises:
        UserError: no trial has a result.
    """
    trials = study.get_trials(deepcopy=False)
    ended = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    cells = {
        _run(folder, one.number): [
            *_values(one, asked).values(),
            ended[one.state],
            "" if one.value is None else f"{one.value:.4f}",
        ]
        for one in trials
    }
    show_table(table_of(folder, [*asked.keys, "state", asked.monitor], cells), folder / "table.csv")
    if all(one.state is not TrialState.COMPLETE for one in trials):
        failed = "".join(f"\n  - {_run(folder, one.number)}: {_outcome(one)}" for one in trials)
        raise UserError(f"none of the {len(trials)} trials of the study has a result:{failed}")
    best = study.best_trial
    words = [one for one in asked.words if not one.startswith("paths.run_dir=")]
    print(f"best: trial {best.number}, {asked.monitor} {best.value:.4f}, {_run(folder, best.number)}")
    print(wrapped("python", ["train.py", *words, *(f"{key}={value}" for key, value in _values(best, asked).items())]))
