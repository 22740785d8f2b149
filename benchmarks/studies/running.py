"""Run an entry point into a folder, unless a finished run is there: what all studies are made of."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from omegaconf import DictConfig

from evaluators.metrics import Scores
from evaluators.report import read_scores
from runs.automl import automl
from runs.config import composed
from runs.evaluate import evaluate
from runs.extract import extract
from runs.folder import RUN_FOLDER_VARIABLE
from runs.train import train

ENTRIES: Final[Mapping[str, Callable[[DictConfig], object]]] = {
    "train": train, "evaluate": evaluate, "extract": extract, "automl": automl
}  # fmt: skip
DONE: Final = "done"
"""A file in the folder of a run that came to its end."""


def study_parser(doc: str | None) -> argparse.ArgumentParser:
    """Make a command line with the folder of a study.

    Args:
        doc: of the study's module; its first line is the description.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    return parser


def run(folder: Path, script: str, config: Sequence[str] | DictConfig) -> Path:
    """Run an entry point into a folder, unless a finished run is there.

    Args:
        folder: of the run; what an interruption left in it is removed first.
        script: a key of ``ENTRIES``.
        config: its configuration, or the overrides of its command line.

    Returns:
        The folder.

    Raises:
        UserError: the run failed.
    """
    if not any((folder / name).is_file() for name in (DONE, "scores.json")):
        print(f"\n== {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop(RUN_FOLDER_VARIABLE, None)  # of the run before
        config = config if isinstance(config, DictConfig) else composed(script, config)
        config.paths.run_dir = str(folder)
        ENTRIES[script](config)
        (folder / DONE).touch()
    return folder


def trained(folder: Path, config: Sequence[str] | DictConfig) -> Scores:
    """Run train.py into a folder, unless a finished run is there, and return its scores; arguments as for ``run``."""
    return read_scores(run(folder, "train", config) / "scores.json")
