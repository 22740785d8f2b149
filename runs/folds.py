"""Runs of the folds of one data set: what each holds back, and all of them put together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from affect.errors import ConfigError, DataError
from affect.frames import Frames
from datamodules.folds import POOLED, fold_errors, fold_table
from datamodules.readers.folds import FILE, Dealt, units
from evaluators.names import MAIN, Scores
from evaluators.postprocess.unseen import mean_of_means
from evaluators.predictions import score_table
from evaluators.report import aligned, score_text
from evaluators.table import Table, check_same_list, read_table
from runs.plain import read_config
from runs.slurm import is_first_process
from runs.sweep_jobs import differences

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule
    from evaluators.postprocess.chain import Processed


class FoldRun(NamedTuple):
    """A training that held a fold back."""

    fold: int
    folder: Path

    @property
    def checkpoint(self) -> Path:
        """Its best one."""
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def table(self) -> Path:
        """Its predictions of the fold."""
        return self.folder / "predictions" / f"fold{self.fold}.parquet"


def default_split(data: Mapping[str, Any]) -> str:
    """Return the split that is scored unless another is named: of the node ``data`` of a run, what it held back."""
    if data.get("folds") is None:
        return "val"
    return POOLED if data.get("fold") is None else f"fold{data['fold']}"


def training_errors(data: Mapping[str, Any]) -> Iterator[str]:
    """Find what is wrong with the keys of a training that are about folds."""
    folds, fold = data.get("folds"), data.get("fold")
    yield from fold_errors(folds, fold, data.get("groups"), data.get("fold_splits", ["train"]))
    if folds is not None and fold is None:
        yield f"data.folds={folds}: give the one to hold back, too: data.fold=0; -m sweep=folds trains all of them"


def show_folds(data: FaceDataModule) -> None:
    """Print how much is in each fold, where there are any."""
    if data.dealt is not None and is_first_process():
        print(aligned(fold_table(data.frames(POOLED), data.dealt, data.expressions)))


def write_folds(data: FaceDataModule, folder: Path) -> None:
    """Write the file of the folds into a run folder, where there are any."""
    if data.dealt is not None and is_first_process():
        data.dealt.write(folder / FILE)


def fold_runs(given: str | Sequence[str]) -> list[FoldRun]:
    """Find the runs of all folds.

    Args:
        given: the folder of a sweep, or the run folders.

    Returns:
        One run for each fold, in their order.

    Raises:
        ConfigError: a fold has no run with a result, or several; the runs differ in more than the fold.
    """
    folders = sorted(path.parent for path in Path(given).glob("*/config.yaml")) if isinstance(given, str) else given
    where = f"folds={given}" if isinstance(given, str) else "folds=[…]"
    if missing := [folder for folder in map(Path, folders) if not (folder / "config.yaml").is_file()]:
        raise ConfigError([f"{folder}: no run folder, it has no config.yaml" for folder in missing], "the command line")
    configs = {Path(folder): read_config(Path(folder) / "config.yaml") for folder in folders}
    of_fold = {folder: config["data"] for folder, config in configs.items() if _held(config) is not None}
    runs = sorted(FoldRun(data["fold"], folder) for folder, data in of_fold.items())
    if not runs:
        raise ConfigError(
            [f"{where}: no run of a fold is in it; python train.py -m sweep=folds data.folds=5 … makes some"],
            "the command line",
        )
    dealt = {run: Dealt.read(run.folder / FILE) for run in runs if (run.folder / FILE).is_file()}
    errors = [
        f"{run.folder}: it has no result; the same command of the sweep goes on with it"
        for run in runs
        if run not in dealt or not run.table.is_file() or not run.checkpoint.is_file()
    ]
    if not errors:
        errors += _unlike(runs, dealt, configs)
    if errors:
        raise ConfigError(errors, where)
    return runs


def _held(config: Mapping[str, Any]) -> int | None:
    """Return the fold that a training held back; None for every other run."""
    data = config.get("data")
    fold = data.get("fold") if isinstance(data, dict) and "callbacks" in config else None
    return fold if isinstance(fold, int) else None


def check_unlearnt(checkpoint: Path, data: FaceDataModule, split: str) -> None:
    """Refuse to score a run of a fold on videos of the other folds, from which it learnt.

    Raises:
        ConfigError: the split has some; ``train`` may, as its name says it.
    """
    folder = checkpoint.parent.parent
    named = split == POOLED or split.startswith("fold")
    if not named or not (folder / FILE).is_file() or not (folder / "config.yaml").is_file():
        return
    held, dealt = _held(read_config(folder / "config.yaml")), Dealt.read(folder / FILE)
    names, _ = units(data.frames(split), dealt.key)
    learnt = [name for name in names if dealt.fold_of.get(name, held) != held]
    if held is not None and learnt:
        raise ConfigError(
            [
                f"split={split}: {folder} has learnt from {len(learnt)} of these {len(names)} {dealt.key}s, "
                f"{learnt[0]} for one. Give split=fold{held}, which it held back; split=train; or folds=<the sweep>"
            ],
            "the command line",
        )


def _unlike(runs: Sequence[FoldRun], dealt: Mapping[FoldRun, Dealt], configs: Mapping[Path, Any]) -> Iterator[str]:
    """Find folds with no run or several, and what the runs differ in."""
    first, held = runs[0], [run.fold for run in runs]
    for fold in range(dealt[first].count):
        if held.count(fold) != 1:
            there = " and ".join(str(run.folder) for run in runs if run.fold == fold) or "no run"
            yield f"fold {fold} of {dealt[first].count}: {there}; give one run for each: 'folds=[<run>,…]'"
    for run in runs[1:]:
        if dealt[run] != dealt[first]:
            yield f"{run.folder / FILE} and {first.folder / FILE} are not the same folds of the same lists"
        else:
            of_run, of_first = (_without_fold(configs[one.folder]) for one in (run, first))
            yield from (f"{run.folder} and {first.folder}: {text}" for text in differences(of_run, of_first))


def _without_fold(config: Mapping[str, Any]) -> dict[str, Any]:
    return {**config, "data": {**config["data"], "fold": None, "folds": None}}


def pooled(runs: Sequence[FoldRun], data: FaceDataModule) -> Table:
    """Put the tables of all folds together, in the order of the concatenated lists, every row once.

    Args:
        runs: one for each fold.
        data: that reads the same folds.

    Raises:
        DataError: a table is not of its fold, or predicts other tasks than the first.
    """
    frames, dealt = data.frames(POOLED), data.dealt
    assert dealt is not None
    fold = dealt.of_rows(frames)
    tables = [read_table(run.table) for run in runs]
    whole: dict[str, Any] = {}
    for run, table in zip(runs, tables, strict=True):
        rows = np.flatnonzero(fold == run.fold)
        check_same_list([table, frames.select(rows)])
        if table.predictions.keys() != tables[0].predictions.keys() or table.expressions != tables[0].expressions:
            raise DataError(f"{table.source} and {tables[0].source} have other predictions; evaluate the runs again")
        for key, values in table.predictions.items():
            whole.setdefault(key, np.full((len(frames), values.shape[1]), np.nan, np.float32))[rows] = values
    metadata = {
        "split": POOLED, "list_sha256": dealt.list_sha256, "label_files": dict(frames.files),
        "renderer": tables[0].metadata.get("renderer"), "pool_of": [dict(table.metadata) for table in tables],
        **mean_of_means(tables),
    }  # fmt: skip
    return Table(
        frames.video, frames.frame, frames.image, whole, tables[0].expressions, metadata,
        f"the pool of {len(tables)} folds",
    )  # fmt: skip


def fold_scores(done: Processed, frames: Frames, dealt: Dealt) -> list[Scores]:
    """Score the rows of each fold by themselves."""
    fold, predicted = dealt.of_rows(frames), ~done.table.null
    return [
        score_table(done.table, frames, au_thresholds=done.au_thresholds, only=predicted & (fold == number))
        for number in range(dealt.count)
    ]


def spread(scores: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Return the main scores of each fold, their mean, and their standard deviation (n − 1), by name."""
    found: dict[str, dict[str, Any]] = {}
    for name in [name for name in MAIN if name in scores[0]]:
        values = [value for one in scores if (value := one[name]) is not None]
        if len(values) == len(scores):
            deviation = float(np.std(values, ddof=1))
            found[name] = {"folds": values, "mean": float(np.mean(values)), "standard_deviation": deviation}
    return found


def spread_lines(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Write what ``spread`` returns: a line for each fold, then the mean and the standard deviation."""
    if not found:
        return ""
    columns = list(found.values())
    rows = [["of single folds", *found]]
    rows += [[f"fold {number}", *map(score_text, values)] for number, values in enumerate(_by_fold(columns))]
    rows.append(["mean", *(score_text(one["mean"]) for one in columns)])
    rows.append(["standard deviation", *(score_text(one["standard_deviation"]) for one in columns)])
    return aligned(rows)


def _by_fold(columns: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, ...]]:
    return zip(*(one["folds"] for one in columns), strict=True)
