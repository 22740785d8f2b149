"""A whole sweep: its jobs are known before the first starts, and its end shows one table and what failed."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from affect.errors import UserError
from affect.files import whole_file
from evaluators.names import MAIN
from evaluators.report import NO_LABELS, aligned, read_records, read_scores
from runs.config import quoted
from runs.ending import clear_errors
from runs.names import NO_SWEEP
from runs.plain import read_config
from runs.slurm import job_name
from runs.sweep_jobs import failure_note, is_listed, is_parallel, refuse_distributed


@dataclass(frozen=True)
class Job:
    """One job of a sweep: its number, the values of the swept keys, and its run folder."""

    number: int
    swept: Mapping[str, str]
    folder: Path

    def __str__(self) -> str:
        values = ", ".join(f"{key}={value}" for key, value in self.swept.items())
        return f"job {self.number} ({values})" if values else f"job {self.number}"

    def failure(self) -> str:
        """Say why it has no result, in one line; nothing where it has one."""
        note = failure_note(self.folder)
        if not note.is_file():
            return "" if (self.folder / "scores.json").is_file() else "it left no scores; its own output says why"
        return shortened(note.read_text(encoding="utf-8"))


def shortened(message: str) -> str:
    """Return the message of a job that failed as one line."""
    return textwrap.shorten(message.removeprefix("error: ").partition("\n\nTraceback")[0], 500, placeholder=" …")


def plan(config: DictConfig) -> list[Job]:
    """List the jobs of a sweep before any is started.

    Where their folders are named after the time, that time is fixed for all of them, in ``config`` too; in a SLURM job
    they are named after the job, which goes on with them if it is queued again.

    Args:
        config: the composed configuration of the sweep, with the node ``hydra``.

    Raises:
        UserError: two jobs have one run folder.
        ConfigError: a job wants more than one device.
    """
    paths = _unresolved_paths(config)
    now, slurm_job = datetime.now(), job_name()
    fixed = {
        key: re.sub(r"\$\{now:([^}]*)\}", lambda time: slurm_job or now.strftime(time[1]), text)
        for key, text in paths.items()
        if "${now:" in text
    }
    jobs = _jobs(config, fixed)
    if fixed:
        if len({job.folder for job in jobs}) < len(jobs):
            fixed["run_dir"] = fixed.get("run_dir", paths["run_dir"]) + "/${hydra:job.num}"
            jobs = _jobs(config, fixed)
        with read_write(config.hydra.overrides), open_dict(config.hydra.overrides):
            config.hydra.overrides.task.extend(_path_overrides(fixed))
        keys = " ".join(f"'paths.{key}={text}'" for key, text in fixed.items())
        named, new = ("SLURM job", "another job starts") if slurm_job else ("time", "the same command will start")
        print(
            f"the run folders of this sweep are named after the {named}, so {new} a new sweep; to go on with this one, "
            f"add {keys}"
        )
    first: dict[Path, Job] = {}
    for job in jobs:
        other = first.setdefault(job.folder, job)
        if other is not job:
            swept = "-".join(f"${{{key}}}" for key in job.swept) or "${hydra:job.num}"
            raise UserError(
                f"{other} and {job} have the same run folder {job.folder}: put what differs between them into its "
                f"name, for example 'paths.run_dir=logs/sweep/{swept}'"
            )
    return jobs


def place(config: DictConfig, folder: Path) -> None:
    """Tell a sweep's folder to its launcher, and to its jobs, which are one group in a dashboard by its name.

    Args:
        config: the composed configuration of the sweep; one whose command line gives ``hydra.sweep.dir`` keeps it.
        folder: of the sweep.
    """
    if config.hydra.sweep.dir == NO_SWEEP:
        with read_write(config.hydra), open_dict(config.hydra):
            config.hydra.sweep.dir = str(folder)
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")


def _unresolved_paths(config: DictConfig) -> dict[str, str]:
    paths = OmegaConf.to_container(config.paths, resolve=False)
    assert isinstance(paths, dict)
    return {str(key): str(value) for key, value in paths.items()}


def _path_overrides(paths: Mapping[str, str]) -> list[str]:
    quoted = {key: text.replace("'", "\\'") for key, text in paths.items()}
    return [f"paths.{key}='{text}'" for key, text in quoted.items()]


def _jobs(config: DictConfig, paths: Mapping[str, str]) -> list[Job]:
    """Compose every job as Hydra's sweeper and launchers will, with other paths."""
    loader = GlobalHydra.instance().config_loader()
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    task = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(task, list)
    arguments = [*params, *map(str, task), *_path_overrides(paths)]
    last = {one.get_key_element(): one for one in OverridesParser.create(loader).parse_overrides(arguments)}
    swept = [key for key, one in last.items() if one.is_sweep_override()]
    before, jobs = HydraConfig.instance().cfg, []
    try:
        for number, overrides in enumerate(BasicSweeper.split_arguments(list(last.values()), None)[0]):
            job = loader.load_sweep_config(config, overrides)
            with read_write(job.hydra.job), open_dict(job.hydra.job):
                job.hydra.job.id = job.hydra.job.num = number
            HydraConfig.instance().set_config(job)
            refuse_distributed(job)
            values = dict(text.split("=", 1) for text in overrides)
            try:
                folder = Path(job.paths.run_dir).absolute()
            except OmegaConfBaseException as error:
                raise UserError(f"job {number} has no run folder: {str(error).splitlines()[0]}") from error
            jobs.append(Job(number, {key: values[key] for key in swept}, folder))
    finally:
        HydraConfig.instance().cfg = before
    return jobs


@contextmanager
def _ending_the_sweep() -> Iterator[None]:
    """End the process where a callback fails, which Hydra would turn into a warning."""
    try:
        with clear_errors():
            yield
    except HydraException as error:
        sys.exit(f"error: {error}")
    except Exception:
        traceback.print_exc()
        sys.exit(1)


class Sweep(Callback):
    """Plan a sweep before it starts, and write and print its table and its failures when it is over.

    conf/train.yaml has it for every sweep of Hydra's own sweeper; the presets in conf/sweep say what their tables show.

    Args:
        columns: name of a column, and the configuration key that it shows. The table then has the other runs that
            stand beside those of the sweep, too. By default it has the sweep's, and the keys that differ.
        scores: names in ``scores.json`` to show; by default the main ones.
        logged: name of a column, and the value in ``metrics.jsonl`` of which it shows the median over the epochs.
    """

    def __init__(
        self,
        columns: Mapping[str, str] | None = None,
        scores: Sequence[str] | None = None,
        logged: Mapping[str, str] | None = None,
    ) -> None:
        self.columns = None if columns is None else dict(columns)
        self.scores = None if scores is None else list(scores)
        self.logged = dict(logged or {})
        self.jobs: list[Job] = []

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Plan the sweep; Hydra calls this before it."""
        with _ending_the_sweep():
            if is_listed(config.hydra):
                self.jobs = plan(config)
                place(config, self.folder)
                for job in self.jobs:
                    failure_note(job.folder).unlink(missing_ok=True)
                    if is_parallel(config.hydra):
                        print(f"{job}: {job.folder}")

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print the table; Hydra calls this after the sweep. The exit code is 1 where a result is missing."""
        if not self.jobs:
            return
        with _ending_the_sweep():
            failed = [f"{job}, {job.folder}: {reason}" for job in self.jobs if (reason := job.failure())]
            rows = self.rows()
            if len(rows) > 1:
                show_table(rows, self.folder / "table.csv")
            if failed:
                lines = "\n".join(f"  - {line}" for line in failed)
                raise UserError(f"{len(failed)} of {len(self.jobs)} jobs of the sweep have no result:\n{lines}")

    @property
    def folder(self) -> Path:
        """The innermost folder that all run folders of the sweep are in."""
        return Path(os.path.commonpath([job.folder.parent for job in self.jobs]))

    def rows(self) -> list[list[str]]:
        """List results: a header and one row a run, those of the sweep first and in its order.

        A job that failed has no row. Other runs follow in the order in which they were started; where they have no
        scores yet, the cells are empty.
        """
        runs = {job.folder: list(job.swept.values()) for job in self.jobs if not job.failure()}
        if self.columns is not None:
            own = {job.folder for job in self.jobs}
            stored = sorted(self.folder.glob("*/config.yaml"), key=lambda path: path.stat().st_mtime)
            runs = {run: _shown(run, self.columns.values()) for run in runs}
            for run in (path.parent for path in stored if path.parent not in own):
                try:
                    runs[run] = _shown(run, self.columns.values())
                except UserError as error:
                    print(f"left out of the table: {error}")
        head = list(self.jobs[0].swept if self.columns is None else self.columns)
        return table_of(self.folder, head, runs, self.scores, self.logged)


def table_of(
    folder: Path,
    head: Sequence[str],
    runs: Mapping[Path, Sequence[str]],
    scores: Sequence[str] | None = None,
    logged: Mapping[str, str] | None = None,
) -> list[list[str]]:
    """List results of runs: a header and one row a run.

    Args:
        folder: that the run folders are in.
        head: names of the columns that come first, beside the run's name.
        runs: their cells, by run folder.
        scores: names in ``scores.json`` to show; by default the main ones. Cells are empty where a run has none yet.
        logged: as ``Sweep`` takes it.
    """
    found = {run: read_scores(run / "scores.json") for run in runs if (run / "scores.json").is_file()}
    names = list(dict.fromkeys(name for values in found.values() for name in values))
    shown = scores if scores is not None else [name for name in MAIN if name in names] or names
    logged = logged or {}
    table = [["run", *head, *shown, *logged]]
    for run, cells in runs.items():
        records = read_records(run / "metrics.jsonl") if logged else []
        table.append(
            [str(run.relative_to(folder)), *cells]
            + [_score(found.get(run, {}), name) for name in shown]
            + [_median(records, name) for name in logged.values()]
        )
    return table


def show_table(rows: Sequence[Sequence[str]], path: Path) -> None:
    """Print a table, and write it as CSV."""
    with whole_file(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    print(aligned(rows))
    print(f"table: {path}")


def _shown(run: Path, keys: Iterable[str]) -> list[str]:
    """Return the values of some keys in a run's configuration as cells of the table, empty where it has no such key."""
    config = read_config(run / "config.yaml")
    return [_text(_look_up(config, key)) for key in keys]


def _look_up(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part, "") if isinstance(config, Mapping) else ""
    return config


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _score(scores: Mapping[str, float | None], name: str) -> str:
    if name not in scores:
        return ""
    value = scores[name]
    return NO_LABELS if value is None else f"{value:.4f}"


def _median(records: Sequence[Mapping[str, Any]], name: str) -> str:
    values = sorted(record[name] for record in records if name in record)
    return f"{values[len(values) // 2]:.4g}" if values else ""
