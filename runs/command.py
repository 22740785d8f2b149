"""From a command line to the work of an entry point, and from its end to an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from runs.config import CONFIG_DIR, check_command_line, literal_paths
from runs.ending import clear_errors
from runs.folder import is_first_process
from runs.slurm import queued_again
from runs.stored_config import stored_config
from runs.sweep_jobs import run_job


def command(name: str, act: Callable[[DictConfig], object], job: Callable[[DictConfig], object] | None = None) -> None:
    """Compose ``conf/<name>.yaml`` with the command line, and act on it; end with one message where that fails.

    Args:
        name: of the entry point and of its configuration.
        act: does the work.
        job: does it as one job of a sweep (Hydra's ``-m``); None: as ``act`` does.
    """

    def task(config: DictConfig) -> object:
        with clear_errors():  # inside Hydra, which would print its own account of an error
            return job(config) if job and HydraConfig.get().mode is RunMode.MULTIRUN else act(config)

    task.__module__ = name  # Hydra calls its help after the module
    with clear_errors():
        sys.argv[1:] = literal_paths(sys.argv[1:])
        check_command_line(name, sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)(task)()


def training_command(train: Callable[..., float]) -> None:
    """Train as the command line says: a new run, one that goes on from an earlier one, or the jobs of a sweep.

    Args:
        train: takes a configuration and, where it goes on, a checkpoint to resume from.
    """
    with clear_errors(), queued_again(first=is_first_process()):
        sys.argv[1:] = literal_paths(sys.argv[1:])
        stored = stored_config(sys.argv[1:])
        if stored is None:
            command("train", train, partial(run_job, train=train))
        else:
            train(*stored)
