"""From a command line to the work of an entry point, and from its end to an exit code.

What can be told without torch and Lightning, whose import takes seconds, is told before they are imported: help,
unknown keys and options, malformed arguments, values that are not set.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from runs.config import CONFIG_DIR, check_command_line, check_set, literal_paths, quoted
from runs.ending import clear_errors
from runs.help import help_text
from runs.slurm import is_first_process, queued_again
from runs.sweep_jobs import launching, run_job


def command(name: str) -> None:
    """Do what the command line says with ``runs.<name>``; end with one message where that fails.

    Args:
        name: of the entry point, of its configuration ``conf/<name>.yaml``, and of the module and the function that
            do the work. ``train`` also goes on with earlier runs, and does the jobs of sweeps.
    """
    with clear_errors(), queued_again(first=is_first_process()) if name == "train" else nullcontext():
        arguments = sys.argv[1:] = as_given(name, sys.argv[1:])
        text = help_text(name, arguments)
        if text is not None:
            print(text)
        elif name == "train" and (stored := _earlier(arguments)) is not None:
            import_module("runs.train").train(*stored)
        else:
            check_command_line(name, arguments)
            check_set(name, arguments)
            _compose(name)


def as_given(name: str, arguments: Sequence[str]) -> list[str]:
    """Return a command line as Hydra is to take it.

    Paths and addresses are quoted; and ``sweep=<folder>`` of compare.py is its key ``folder``, for ``sweep`` is a group
    of train.py, in which Hydra would look for that folder.
    """
    if name == "predict":
        arguments = [
            re.sub(r"(?s)^source=(\w{2,}:.*)$", lambda one: f"source={quoted(one[1])}", word) for word in arguments
        ]
    words = literal_paths(arguments)
    return [re.sub("^sweep=", "folder=", word) for word in words] if name == "compare" else words


def _earlier(arguments: Sequence[str]) -> tuple[DictConfig, Path | None] | None:
    """Return the configuration of the earlier run that a training goes on with, and its checkpoint, as stored."""
    if not any(word.startswith(("ckpt_path=", "fork_from=")) for word in arguments):
        return None
    return import_module("runs.stored_config").stored_config(arguments)  # type: ignore[no-any-return]


def _compose(name: str) -> None:
    """Have Hydra compose the configuration, for one run or for each job of a sweep."""

    def task(config: DictConfig) -> object:
        with clear_errors():  # inside Hydra, which would print its own account of an error
            act = getattr(import_module(f"runs.{name}"), name)
            swept = name == "train" and HydraConfig.get().mode is RunMode.MULTIRUN
            return run_job(config, act) if swept else act(config)

    task.__module__ = name  # Hydra names the job after the module
    with launching(sys.argv[1:]):
        hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=name)(task)()
