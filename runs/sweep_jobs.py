"""One job of a sweep: skipped where it has its result, resumed where it was interrupted, noted where it fails."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf import DictConfig

from affect.errors import ConfigError, UserError
from affect.files import write_whole
from runs.config import LAUNCHER, resolve
from runs.ending import Stopped, clear_errors
from runs.numbered import numbered
from runs.plain import read_config

FREE_NODES: Final = (
    *("paths", "logger", "callbacks.progress", "ckpt_path", "overwrite", "scores", "report", "timeout_s"),
    # of earlier versions; both are fixed now
    *("trainer.enable_model_summary", "trainer.num_sanity_val_steps"),
    # choices, and tables to choose from: what is chosen stands where it is used
    *("scale", "backbone", "layout", "warmup_epochs", "base_batch", "batch_cap", "batch_factor", "sizes"),
)
"""Nodes of a configuration that may differ between two runs of equal results."""

_FULL_ERROR: Final = "HYDRA_FULL_ERROR"

FREE_KEYS: Final = ("workers", "num_workers", "pin_memory", "cache_dir", "follow_outside")
"""Keys, wherever they stand, that may differ between two runs of equal results."""


def run_job(config: DictConfig, train: Callable[[DictConfig, Path | None], float]) -> float | None:
    """Run one job of a sweep, where it has no result yet.

    Whatever goes wrong is printed and left beside the run folder for the end of the sweep, which goes on. What is
    meant for the whole sweep, Ctrl-C and SIGTERM, ends it. Where jobs run at the same time, a SIGTERM is meant for one.

    Args:
        config: the job's configuration, composed by Hydra.
        train: takes the configuration and a checkpoint to go on from, or None.

    Returns:
        What ``train`` returns, for a sweeper that searches for it (such a sweeper deals with failures by itself);
        None where the jobs were known at the start.
    """
    hydra = HydraConfig.get()
    parallel = is_parallel(hydra)
    with numbered(hydra.job.num) if parallel else nullcontext():
        refuse_distributed(config)
        if not is_listed(hydra):
            return train(config, None)
        folder = Path(config.paths.run_dir).absolute()
        attempted(folder, lambda: go_on(config, folder, train), alone=parallel)
    return None


def attempted(folder: Path, work: Callable[[], object], *, alone: bool = False) -> str | None:
    """Do the work of one run among several; print what goes wrong, and leave it beside the run folder.

    What is meant for all of them, Ctrl-C and SIGTERM, is passed on.

    Args:
        folder: of the run.
        work: the rest of it.
        alone: a SIGTERM to this process is meant for this run: its SLURM job was cancelled or ran out of time.

    Returns:
        What went wrong; None where nothing did.
    """
    try:
        with clear_errors():
            work()
        return None
    except Stopped as end:
        if not alone or end.code != 128 + signal.SIGTERM:
            raise
        message = "SIGTERM ended it, as a cancelled job or a time limit does; the same command goes on with it"
    except SystemExit as end:
        message = end.code if isinstance(end.code, str) else f"the job ended itself with exit code {end.code}"
    except Exception as error:
        message = f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}"
    print(message, file=sys.stderr)
    with suppress(OSError, UserError):  # a full disk: the end of the sweep then says that there is no result
        write_whole(failure_note(folder), message)
    return message


def go_on(config: DictConfig, folder: Path, train: Callable[[DictConfig, Path | None], float]) -> None:
    """Skip a finished run, resume an interrupted one, start any other, over what it left if it was killed too early.

    Raises:
        UserError: the folder holds a run of another configuration.
    """
    stored = folder / "config.yaml"
    if stored.is_file():
        differing = differences(read_config(stored), resolve(config))
        if differing:
            raise UserError(
                f"the run folder {folder} holds a run of another configuration: {'; '.join(differing)}. Give another "
                "paths.run_dir=…, or move that run elsewhere"
            )
        if all((folder / name).is_file() for name in ("scores.json", "report.html")):  # in the order of writing
            print(f"{folder}: skipped, it has the scores of this configuration")
            return
        # a kill between the files of the first epoch leaves another than last.ckpt alone
        checkpoints = sorted((folder / "checkpoints").glob("*.ckpt"), key=lambda path: path.name == "last.ckpt")
        if checkpoints:
            print(f"{folder}: resumed from checkpoints/{checkpoints[-1].name}")
            train(config, checkpoints[-1])
            return
    config.overwrite = True  # there is nothing to go on from
    train(config, None)


def differences(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Compare two resolved configurations in all that may change a result.

    A missing key counts as null. Left out are ``FREE_NODES`` and ``FREE_KEYS``, and where drawn faces are: ``render``
    says what they are.

    Returns:
        One phrase for each key, with both values; empty where both lead to the same result.
    """
    there, here = dict(_leaves(stored)), dict(_leaves(wanted))
    drawn = stored.get("render") is not None and wanted.get("render") is not None
    return [
        f"{key} is {json.dumps(there.get(key))} there and {json.dumps(here.get(key))} here"
        for key in dict.fromkeys([*there, *here])
        if there.get(key) != here.get(key)
        and not any(f"{key}.".startswith(f"{node}.") for node in FREE_NODES)
        and key.rpartition(".")[2] not in FREE_KEYS
        and not (drawn and key in ("data.root", "render.elsewhere"))
    ]


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def failure_note(folder: Path) -> Path:
    """Name the file beside a run folder that says why a job of a sweep failed."""
    return folder.with_name(f"{folder.name}.failed.txt")


def refuse_distributed(config: DictConfig) -> None:
    """Refuse several devices: every rank of a distributed job would start the whole sweep again.

    Raises:
        ConfigError: more than one device or node.
    """
    if str(config.trainer.devices) != "1" or config.trainer.num_nodes != 1:
        raise ConfigError(["a sweep runs one device per job: give trainer.devices=1"], "the command line")


def is_listed(hydra: DictConfig | HydraConf) -> bool:
    """Tell whether the jobs of a sweep are known at its start, as they are to Hydra's own sweeper.

    Args:
        hydra: the node ``hydra``.
    """
    return str(hydra.sweeper._target_).endswith(f".{BasicSweeper.__name__}")


def is_parallel(hydra: DictConfig | HydraConf) -> bool:
    """Tell whether the jobs of a sweep may run at the same time, as those of every launcher but Hydra's own do.

    Args:
        hydra: the node ``hydra``.
    """
    return not str(hydra.launcher._target_).endswith(f".{BasicLauncher.__name__}")


@contextmanager
def launching(arguments: Sequence[str]) -> Iterator[None]:
    """Tell in one message what a launcher cannot do; where it can, go on after a job that was killed.

    Args:
        arguments: the command line; nothing changes where it names no launcher.

    Raises:
        UserError: there is no SLURM, say, or the process of a job was killed, which ends the others of joblib.
    """
    launcher = next((word for word in arguments if word.startswith(f"{LAUNCHER}=")), None)
    if launcher is None:
        yield
        return
    if "=submitit" in launcher:
        _wait_for_all()
    former = os.environ.get(_FULL_ERROR)
    os.environ[_FULL_ERROR] = "1"  # or Hydra prints a traceback
    try:
        yield
    except (HydraException, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise UserError(f"{launcher}: {reason}. The same command goes on with what was begun") from error
    finally:
        if former is None:
            del os.environ[_FULL_ERROR]
        else:
            os.environ[_FULL_ERROR] = former


def _wait_for_all() -> None:
    """Have submitit's launcher wait for every job: it would end with a traceback at the first that was killed.

    What became of that one is told at the end of the sweep, as that of every job without scores.
    """
    core, errors = import_module("submitit.core.core"), import_module("submitit.core.utils")
    results = core.Job.results
    if results.__module__ == __name__:
        return

    def ended(job: Any) -> Any:
        try:
            return results(job)
        except (errors.UncompletedJobError, errors.FailedJobError):
            print(f"job {job.job_id} of the launcher ended without a result: {job.paths.stderr}")
            return [JobReturn(status=JobStatus.COMPLETED)]

    core.Job.results = ended
