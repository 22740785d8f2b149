"""Run an entry point into a folder, unless a finished run is there: what recipes and studies are made of."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError, UserError
from affect.files import write_whole
from runs.automl import automl
from runs.config import composed
from runs.evaluate import evaluate
from runs.extract import extract
from runs.folder import RUN_FOLDER_VARIABLE
from runs.stored_config import stored_config
from runs.train import train

ENTRIES: Final[Mapping[str, Callable[[DictConfig], object]]] = {
    "train": train, "evaluate": evaluate, "extract": extract, "automl": automl
}  # fmt: skip


def run(folder: Path, script: str, config: Sequence[str] | DictConfig) -> Path:
    """Run an entry point into a folder, unless a finished run is there.

    A training that was stopped goes on from its last epoch; whatever else was stopped begins anew.

    Args:
        folder: of the run.
        script: a key of ``ENTRIES``.
        config: its configuration, or the overrides of its command line.

    Returns:
        The folder.

    Raises:
        ConfigError: the folder has a run of other settings.
        UserError: the run failed.
    """
    made = OmegaConf.to_container(config) if isinstance(config, DictConfig) else list(config)
    record, last = _record(folder), folder / "checkpoints" / "last.ckpt"
    before = _begun(folder)
    if before is not None and before["made"] != made:
        differing = _differing(before["made"], made)
        raise ConfigError(
            [f"{folder} has a run of other settings: {differing}. Give another folder, or remove this one"]
        )
    if before is not None and before["seconds"] is not None:
        return folder
    print(f"\n== {folder}", flush=True)
    os.environ.pop(RUN_FOLDER_VARIABLE, None)  # of the run before
    folder.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    write_whole(record, json.dumps({"made": made, "seconds": None}))
    try:
        if before is not None and script == "train" and last.is_file():
            stored = stored_config([f"ckpt_path={last}"])
            assert stored is not None
            train(*stored)
        else:
            shutil.rmtree(folder, ignore_errors=True)
            config = config if isinstance(config, DictConfig) else composed(script, config)
            config.paths.run_dir = str(folder)
            ENTRIES[script](config)
    except UserError:
        if not folder.exists():  # nothing was begun
            record.unlink()
        raise
    write_whole(record, json.dumps({"made": made, "seconds": round(time.perf_counter() - start, 1)}))
    return folder


def _begun(folder: Path) -> dict[str, Any] | None:
    """Read what was begun in a folder; None where nothing is there.

    Raises:
        ConfigError: something is there that no study has begun, or one of an earlier version, or its record is damaged.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    try:
        before: dict[str, Any] = json.loads(_record(folder).read_text())
        if {"made", "seconds"} <= before.keys():
            return before
    except (OSError, ValueError, AttributeError):
        pass
    raise ConfigError(
        [f"{folder} holds something, but {_record(folder).name} beside it does not say what it was made with: give "
         "another folder, or remove this one"]
    )  # fmt: skip


def _record(folder: Path) -> Path:
    """Name the file beside a run's folder: what was asked for, and, once it came to its end, the seconds it took."""
    return folder.with_name(f"{folder.name}.json")


def _differing(before: Any, now: Any) -> str:
    if not isinstance(before, list) or not isinstance(now, list):
        return "its configuration differs"
    return "; ".join(
        f"{what} {' '.join(map(str, values))}"
        for what, values in (
            ("it has", [one for one in before if one not in now]),
            ("now asked for:", [one for one in now if one not in before]),
        )
        if values
    )


def seconds(folder: Path) -> float:
    """Return how long the run in a folder took; if it was stopped and went on, since then."""
    return float(json.loads(_record(folder).read_text())["seconds"])
