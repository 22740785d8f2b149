"""Run folders, from their check to their end: one writer, nothing overwritten, what made the run recorded."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from affect.checksums import file_sha256
from affect.errors import UserError
from affect.files import LOCK, locked, reached, write_whole
from backbones.files import weights_file
from runs import slurm
from runs.building import REPOSITORY
from runs.config import Problems, resolve
from runs.quiet import quiet

RUN_FOLDER_VARIABLE = "EMMA_COTEX_RUN_DIR"


_WRITTEN = (
    "config.yaml",
    "environment.json",
    "folds.csv",
    "metrics.jsonl",
    ".ranks",
    "checkpoints",
    "predictions",
    "weights",
    "csv",
    "tensorboard",
    "wandb",
)
"""What a run writes into its folder before it has a result."""
_RESULTS = ("*.ckpt", "checkpoints/*.ckpt", "automl.joblib", "scores.json")


def run_folder(config: DictConfig) -> Path:
    """Fix where this run writes, in ``config``, too: the same in every process and at every start of a job.

    The default name holds the time, or under SLURM the job. Processes that torchrun started by themselves would not
    agree on a time; those that Lightning starts are told by the first through the environment.

    Raises:
        UserError: the processes cannot agree on a folder.
    """
    unresolved = OmegaConf.to_container(config.paths, resolve=False)
    assert isinstance(unresolved, dict)
    pattern, job = str(unresolved["run_dir"]), slurm.job_name()
    timed = "${now" in pattern
    if timed and not slurm.is_first_process() and RUN_FOLDER_VARIABLE in os.environ:
        config.paths.run_dir = os.environ[RUN_FOLDER_VARIABLE]
        return Path(config.paths.run_dir)
    if timed and job:
        config.paths.run_dir = re.sub(r"\$\{now:[^}]*\}", job, pattern)
    elif timed and (processes := int(os.environ.get("WORLD_SIZE", "1"))) > 1:
        raise UserError(f"{processes} processes need one folder to write to: give paths.run_dir=<folder>")
    folder = Path(config.paths.run_dir).absolute()
    if timed and job:
        folder = _unused(folder)
    config.paths.run_dir = os.environ[RUN_FOLDER_VARIABLE] = str(folder)
    return folder


def _unused(folder: Path) -> Path:
    """Return the folder, or where other runs of the same SLURM job have it, the first without one: ``…-2``, ``…-3``."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([folder], others) if not _content(one) or is_own(one))


def is_own(folder: Path) -> bool:
    """Tell whether the run in a folder is this very one: its SLURM job was queued again."""
    return slurm.is_own(folder, first=slurm.is_first_process())


def checkpoint_of(key: str, given: str | Path, name: str) -> Path:
    """Return the checkpoint that a command line names: a file, or the run folder that it is in.

    Args:
        key: of the command line, for the message.
        given: its value.
        name: of the checkpoint of a run folder: ``best`` or ``last``.

    Raises:
        UserError: there is no such file.
    """
    path = Path(given)
    if path.is_dir():
        path = path / "checkpoints" / f"{name}.ckpt"
    if not path.is_file():
        raise UserError(f"{key}={given}: no such file{'' if path == Path(given) else f': {path}'}")
    return path


@dataclass
class Run:
    """A run folder while this process writes to it; ``opened_run`` gives it.

    Attributes:
        folder: absolute.
        config: the resolved configuration as plain containers.
        kept: whether the folder stays as it is if the run fails.
    """

    folder: Path
    config: dict[str, Any]
    kept: bool

    def started(self) -> None:
        """Say in the folder what makes the run, once all that it needs has been built; the first process writes it.

        That is ``environment.json`` (packages, git commit, hashes of weight files) and ``config.yaml`` (resolved). A
        file that says this already is left as it is. Where a run is resumed in another environment, the new one is
        added to the list ``resumed`` in ``environment.json``.
        """
        if not slurm.is_first_process():
            return
        environment: dict[str, Any] = {
            "git": git_state(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": dict(sorted((d.metadata["Name"], d.version) for d in distributions())),
            "weights": {str(file): file_sha256(file) for file in sorted(set(_weight_files(self.config)))},
        }
        first = _read_environment(self.folder / "environment.json")
        job = first.pop("slurm", None) if first else slurm.this_start()
        later = first.pop("resumed", [])
        if first and environment not in (first, *later):
            later = [*later, environment]
        content = {**(first or environment), "slurm": job, **({"resumed": later} if later else {})}
        # before the other: it tells a SLURM job that was queued again that this folder is its own
        _write_changed(self.folder / "environment.json", json.dumps(content, indent=2) + "\n")
        _write_changed(self.folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))

    def keep(self) -> None:
        """Keep the folder from now on, even if the run fails: there is something in it."""
        self.kept = True
        reached("run.kept", self.folder)


@contextmanager
def opened_run(config: DictConfig, problems: Problems | None = None, *, resume: bool = False) -> Iterator[Run]:
    """Open a run and close it: its configuration, its folder, the folder's lock and the tracking.

    A run that fails before ``Run.keep`` leaves nothing. The first process alone checks, locks and tidies up.

    Args:
        config: the composed or stored configuration; ``paths.run_dir`` in it becomes the folder.
        problems: finds what is wrong with the resolved configuration beyond types and targets.
        resume: go on in the folder of an earlier run, whose configuration this is.

    Raises:
        ConfigError: the configuration has errors; all of them are listed.
        UserError: the folder cannot be used.
        LockedError: another process writes to it.
    """
    quiet(first=slurm.is_first_process())
    folder = run_folder(config)
    source = folder if resume else config.get("fork_from")
    plain = resolve(config, problems, f"{source}/config.yaml" if source else "the configuration")
    run = Run(folder, plain, kept=resume)
    overwrite, run.config["overwrite"] = run.config.get("overwrite", False), False  # of this start, not of the run
    with nullcontext() if not slurm.is_first_process() else _held(run, overwrite=overwrite):
        failed = True
        try:
            yield run
            failed = False
        finally:
            finish_tracking(failed=failed)


@contextmanager
def _held(run: Run, *, overwrite: bool) -> Iterator[None]:
    """Hold the run folder; afterwards remove what a failed start has made."""
    folder = run.folder
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"paths.run_dir={folder} is below a file, or is one: give a folder") from error
        with locked(folder, "run folder"):
            if not run.kept:
                _check(folder, overwrite=overwrite)
            before = set(_content(folder))
            try:
                yield
            except BaseException:
                if not run.kept:
                    _remove(one for one in _content(folder) if one not in before)
                elif hint := way_on(folder):
                    print(f"stopped: {hint}", file=sys.stderr)
                raise
    finally:
        for one in made:
            with suppress(OSError):  # there is something in it
                one.rmdir()


def _content(folder: Path) -> list[Path]:
    """Return what is in a run folder, without its lock and halves of files that a killed process left."""
    if not folder.is_dir():
        return []
    return [one for one in folder.iterdir() if one.name != LOCK and one.suffix != ".writing"]


def _check(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that has something in it; empty that of an unfinished first epoch, if told to.

    Told or not, a SLURM job that was queued again starts over where it has nothing to go on from.

    Raises:
        UserError: with the ways out that there are.
    """
    if is_own(folder) or (overwrite and is_unfinished(folder)):
        _remove(folder / name for name in _WRITTEN)
    elif _content(folder):
        hint = way_on(folder)
        raise UserError(
            f"the run folder {folder} is not empty: give another paths.run_dir=…" + (f", or {hint}" if hint else "")
        )


def is_unfinished(folder: Path) -> bool:
    """Tell whether a folder holds a run that was killed before it had anything to go on from."""
    ours = any((folder / name).is_file() for name in ("config.yaml", "environment.json"))
    return ours and not any(True for name in _RESULTS for _ in folder.glob(name))


def way_on(folder: Path) -> str:
    """Say how to go on with the run in a folder; empty where there is no way."""
    for name in ("last", "best"):
        checkpoint = folder / "checkpoints" / f"{name}.ckpt"
        if checkpoint.is_file():
            return f"resume the training that is in it: train.py ckpt_path={checkpoint}"
    if is_unfinished(folder):
        return "start over in it with the same command and overwrite=true (it holds no checkpoint)"
    return ""


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def finish_tracking(*, failed: bool) -> None:
    """Close a Weights & Biases run, if one is open, so that a failed run is not left as running."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))


def _write_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        write_whole(path, text)


def _read_environment(path: Path) -> dict[str, Any]:
    """Return what an earlier start wrote; nothing where there was none, or it could not be written whole then."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("resumed", []), list) else {}


def _weight_files(node: Any, key: str = "") -> Iterator[Path]:
    """Return the files behind the values, and the items of lists, under keys that end in ``weights``."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _weight_files(value, str(name))
    elif isinstance(node, list):
        for item in node:
            yield from _weight_files(item, key)
    elif isinstance(node, str) and key.endswith("weights") and (file := weights_file(node)) is not None:
        yield file


def git_state() -> dict[str, str | bool] | None:
    """Return the commit of the code, and whether it has uncommitted changes; None outside a git checkout."""

    def said(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return {"commit": said("rev-parse", "HEAD"), "uncommitted_changes": bool(said("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
