"""A study: trials of train.py one after the other, each in a folder of its own, with values that Optuna chooses.

All that is known of a study is in its folder: ``study.db`` (SQLite), a run folder for each trial, ``table.csv``. One
process does it all, so a kill leaves nothing running; the trial that was under way goes on at the next start.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import optuna
import pytorch_lightning as pl
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from affect.errors import ConfigError, UserError
from affect.files import locked, reached
from evaluators.report import read_records
from runs.config import CONFIG_DIR, check_command_line, quoted, resolve
from runs.ending import Stopped
from runs.next_steps import wrapped
from runs.search_space import Asked
from runs.study import DATABASE, clear_storage, draw, opened, values_of
from runs.sweep_jobs import attempted, go_on, refuse_distributed
from runs.sweeps import shortened, show_table, table_of
from runs.train import problems, train
from training.optimisation import MONITOR

Train = Callable[..., float]

_STARTS: Final = 3
"""So many starts of a trial may end in the same epoch without a word: what kills the process would kill every one."""


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
            TrialPruned: it is worse than the others were after as many epochs.
            UserError: nothing was logged under the monitor's name.
        """
        if trainer.current_epoch and tell_epochs(
            self.trial, Path(trainer.default_root_dir), self.monitor, trainer.current_epoch
        ):
            reached("tune.told", Path(trainer.default_root_dir))
            if self.trial.should_prune():
                raise optuna.TrialPruned


def tell_epochs(trial: optuna.Trial, folder: Path, monitor: str, before: int | None = None) -> list[float]:
    """Tell a study what ``metrics.jsonl`` has of a trial; what is told already is left as it is.

    Args:
        trial: of the study.
        folder: its run folder.
        monitor: name of the value.
        before: the first epoch that is left out: it may be left over from a start that was killed in it.

    Returns:
        All values, in their order; an epoch may have several.

    Raises:
        UserError: there is none.
    """
    records = read_records(folder / "metrics.jsonl")
    kept = [one for one in records if monitor in one and (before is None or one["epoch"] < before)]
    told = trial.storage.get_trial(trial._trial_id).intermediate_values
    for epoch, value in {int(one["epoch"]): one[monitor] for one in kept}.items():
        if epoch not in told:
            trial.report(value, epoch)
    if not kept:
        others = sorted({key for one in records for key in one if key.startswith("val/")})
        raise UserError(
            f"{folder}: no epoch has logged a number as {monitor}, so there is nothing to search for: validate on data "
            f"with labels, or search for another value by tune.monitor (logged: {', '.join(others) or 'none of val/'})"
        )
    return [float(one[monitor]) for one in kept]


def tune(asked: Asked, train: Train = train) -> None:
    """Do a study, or go on with it: the trials, one table of them, the best as a command line.

    Args:
        asked: the command line.
        train: makes one run, as ``runs.train.train`` does.

    Raises:
        ConfigError: the command line has errors.
        UserError: the folder holds another study; or no trial has a result.
    """
    config = _checked(asked)
    _check_monitor(config, asked)
    folder = _folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "study"), clear_storage(folder / DATABASE):
        study = opened(folder / DATABASE, asked, resolve(config, problems, "the command line"))
        for number in range(asked.trials):
            _trial(study, asked, folder, number, config.seed, train)
        _conclude(study, asked, folder)


def _checked(asked: Asked) -> DictConfig:
    """Compose the ends of all ranges, so that what a configuration does not take is told before the first trial.

    Returns:
        The configuration at the lower ends: all that trials share is in it.
    """
    ends = {key: space.ends() for key, space in asked.keys.items()}
    configs = []
    for index in range(max(map(len, ends.values()))):
        values = {key: found[min(index, len(found) - 1)] for key, found in ends.items()}
        check_command_line("train", [*asked.words, *(f"{key}={value}" for key, value in values.items())])
        configs.append(_composed(asked, values))
        refuse_distributed(configs[-1])
        resolve(configs[-1], problems, "the command line")
    return configs[0]


def _composed(asked: Asked, values: Mapping[str, str], folder: Path | None = None) -> DictConfig:
    """Compose the configuration of one trial.

    Args:
        asked: the command line.
        values: of the searched keys.
        folder: of the run; None: as the command line has it.
    """
    words = [*asked.words, *(f"{key}={value}" for key, value in values.items())]
    if folder is not None:
        # the study is a group in dashboards, as a sweep is
        words += [f"paths.run_dir={quoted(str(folder))}", f"hydra.sweep.dir={quoted(str(folder.parent))}"]
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
            f"tune.monitor is {asked.monitor}, but the best epoch of experiment={config.name} is chosen by {chosen}: "
            f"give tune.monitor={chosen}"
        )
    else:
        return
    raise ConfigError([message], "the command line")


def _folder(config: DictConfig) -> Path:
    unresolved = OmegaConf.to_container(config.paths, resolve=False)
    assert isinstance(unresolved, dict)
    timed = "${now" in str(unresolved["run_dir"])
    return Path(f"{config.paths.output_dir}/tune-{config.name}" if timed else config.paths.run_dir).absolute()


def _trial(study: optuna.Study, asked: Asked, folder: Path, number: int, seed: int, train: Train) -> None:
    """Do one trial, unless it has ended in an earlier start; one that was under way goes on."""
    trials = study.get_trials(deepcopy=False)
    if number < len(trials) and trials[number].state.is_finished():
        return
    if number == len(trials):
        draw(study, asked, number, seed)
        reached("tune.drawn", folder)
    frozen = study.get_trials(deepcopy=False)[number]
    trial, values, run = optuna.Trial(study, frozen._trial_id), values_of(frozen, asked), _run(folder, number)
    print(f"trial {number} of {asked.trials}: {', '.join(f'{key}={value}' for key, value in values.items())}")
    message = attempted(run, lambda: _work(trial, asked, values, run, train))
    gc.collect()  # a module and its trainer hold each other: the next trial needs their memory
    if message is not None:
        trial.set_user_attr("failure", shortened(message))
        study.tell(number, state=TrialState.FAIL)
    print(f"trial {number}: {_outcome(study.get_trials(deepcopy=False)[number])}")


def _work(trial: optuna.Trial, asked: Asked, values: Mapping[str, str], run: Path, train: Train) -> None:
    """Train, and tell the study how it ended; whatever fails is raised."""
    told = trial.storage.get_trial(trial._trial_id)
    starts = [*told.user_attrs.get("starts", []), len(told.intermediate_values)]
    if starts.count(starts[-1]) > _STARTS:
        raise UserError(
            f"{_STARTS} starts of this trial were killed after epoch {starts[-1]}, for want of memory perhaps: the "
            "study goes on without it"
        )
    trial.set_user_attr("starts", starts)
    config = _composed(asked, values, run)
    watch = Watch(trial, asked.monitor)
    try:
        go_on(config, run, lambda *given: train(*given, watched_by=[watch]))
    except optuna.TrialPruned:
        trial.study.tell(trial, state=TrialState.PRUNED)
        return
    except Stopped:
        trial.set_user_attr("starts", starts[:-1])  # that was no accident
        raise
    reached("tune.trained", run)
    # as best.ckpt was chosen: without a monitor it is the last epoch's
    found = tell_epochs(trial, run, asked.monitor)
    best = max if trial.study.direction is StudyDirection.MAXIMIZE else min
    trial.study.tell(trial, found[-1] if config.callbacks.best.get("monitor") is None else best(found))


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
            *values_of(one, asked).values(),
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
    print(wrapped("python", ["train.py", *words, *(f"{key}={value}" for key, value in values_of(best, asked).items())]))
