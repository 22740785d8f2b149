"""Run folders: refuse to overwrite, and record what made the run."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from affect.errors import UserError
from affect.files import LOCK, write_whole
from backbones.files import weights_file
from backbones.weights import file_sha256

RUN_FOLDER_VARIABLE = "EMMA_COTEX_RUN_DIR"
REPOSITORY = Path(__file__).resolve().parents[1]


class RunFolderError(UserError):
    """The folder of a run cannot be used."""


_ADVICE = {
    errno.ENOSPC: "the disk is full: make room and give the same command again",
    errno.EDQUOT: "the quota of the disk is used up: make room and give the same command again",
    errno.EROFS: "the file system is read-only: give a place that can be written to",
    errno.EACCES: "no permission: change it, or give another place",
    errno.EPERM: "no permission: change it, or give another place",
    errno.ENOLCK: "the file system has no locks left: give a place on another one",
}


@contextmanager
def clear_errors() -> Iterator[None]:
    """Ends the process with the message alone where a user can mend the error; anything else keeps its traceback."""
    try:
        yield
    except (UserError, OSError, MisconfigurationException) as error:
        message = _told(error) if isinstance(error, OSError) else str(error)
        # an error inside a loader process arrives with that process's traceback around it
        if "Original Traceback" in message:
            message = message.strip().splitlines()[-1].partition(": ")[2]
        sys.exit(f"error: {message}")


def _told(error: OSError) -> str:
    """Say what the system refused, at which place, and what to do."""
    if error.errno is None:  # raised by this framework, with a message of its own
        return str(error)
    places = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    advice = _ADVICE.get(error.errno, os.strerror(error.errno))
    return f"{places}: {advice}" if places else advice


def is_first_process() -> bool:
    """Whether this process is rank 0, before Lightning has started the others or the process group."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def run_folder(config: DictConfig) -> Path:
    """Where this run writes; the same in every process of it.

    The default name holds the time, on which processes that torchrun or SLURM started by themselves would not agree;
    those that Lightning starts are told by the first through the environment.

    Raises:
        RunFolderError: the processes cannot agree on a folder.
    """
    unresolved = OmegaConf.to_container(config.paths, resolve=False)
    assert isinstance(unresolved, dict)
    timed = "${now" in str(unresolved["run_dir"])
    if timed and not is_first_process() and RUN_FOLDER_VARIABLE in os.environ:
        return Path(os.environ[RUN_FOLDER_VARIABLE])
    processes = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1")))
    if timed and processes > 1:
        raise RunFolderError(f"{processes} processes need one folder to write to: give paths.run_dir=<folder>")
    folder = Path(config.paths.run_dir).absolute()
    os.environ[RUN_FOLDER_VARIABLE] = str(folder)
    return folder


def finish_tracking(*, failed: bool) -> None:
    """Closes a Weights & Biases run, if one is open, so that a failed run is not left as running."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))


def check_run_folder(path: Path) -> None:
    """Refuses a run folder that has something in it.

    Raises:
        RunFolderError: with the two ways out.
    """
    if path.exists() and (not path.is_dir() or any(one.name != LOCK for one in path.iterdir())):
        raise RunFolderError(
            f"the run folder {path} is not empty: give another paths.run_dir=…, or resume the run that is in it with "
            f"ckpt_path={path}/checkpoints/last.ckpt"
        )


def write_provenance(path: Path, config: dict[str, Any]) -> None:
    """Writes ``config.yaml`` (resolved) and ``environment.json`` (packages, git commit, hashes of weight files).

    A file that says this already is left as it is. Where a run is resumed in another environment, the new one is
    added to the list ``resumed`` in ``environment.json``.
    """
    path.mkdir(parents=True, exist_ok=True)
    _write_changed(path / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    environment: dict[str, Any] = {
        "git": git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": dict(sorted((d.metadata["Name"], d.version) for d in distributions())),
        "weights": {str(file): file_sha256(file) for file in sorted(set(_weight_files(config)))},
    }
    first = _read_environment(path / "environment.json")
    later = first.pop("resumed", [])
    if first and environment not in (first, *later):
        later = [*later, environment]
    content = {**(first or environment), **({"resumed": later} if later else {})}
    _write_changed(path / "environment.json", json.dumps(content, indent=2) + "\n")


def _write_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_whole(path, text)


def _read_environment(path: Path) -> dict[str, Any]:
    """What an earlier start wrote; nothing where there was none, or it could not be written whole then."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("resumed", []), list) else {}


def _weight_files(node: Any, key: str = "") -> Iterator[Path]:
    """The files behind the values, and the items of lists, under keys that end in ``weights``."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _weight_files(value, str(name))
    elif isinstance(node, list):
        for item in node:
            yield from _weight_files(item, key)
    elif isinstance(node, str) and key.endswith("weights") and (file := weights_file(node)) is not None:
        yield file


def git_state() -> dict[str, str | bool] | None:
    """Commit of the code and whether it has uncommitted changes; None outside a git checkout."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "uncommitted_changes": bool(changed)}
