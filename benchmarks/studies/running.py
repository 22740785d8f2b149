"""Run an entry point into a folder, unless a finished run is there: what all studies are made of."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError, DataError
from affect.files import put_in_place, write_whole
from affect.frames import Frames
from affect.preprocessing import IMAGENET
from evaluators.metrics import Scores
from evaluators.report import read_scores
from runs.assembly import build_data
from runs.automl import automl
from runs.config import composed, resolve
from runs.evaluate import evaluate
from runs.extract import extract
from runs.folder import RUN_FOLDER_VARIABLE
from runs.stored_config import stored_config
from runs.train import train

ENTRIES: Final[Mapping[str, Callable[[DictConfig], object]]] = {
    "train": train, "evaluate": evaluate, "extract": extract, "automl": automl
}  # fmt: skip


def study_parser(doc: str | None, *, seeds: Sequence[int] = ()) -> argparse.ArgumentParser:
    """Make a command line with the folder of a study.

    Args:
        doc: of the study's module; its first line is the description.
        seeds: what ``--seeds`` is where it is not given; none: the study has no such option.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    if seeds:
        parser.add_argument("--seeds", type=_seed, nargs="+", default=list(seeds), action=_Seeds)
    return parser


def timed_study(
    doc: str | None, study: Callable[[Path, Sequence[int], float, Sequence[str]], None], *, seconds: float
) -> None:
    """Read the command line of a study whose rows are trained for the same time, and make it.

    Args:
        doc: of the study's module.
        study: takes the folder, seeds, seconds of training steps for each row and seed, and overrides of every run.
        seconds: what ``--seconds`` is where it is not given.
    """
    parser = study_parser(doc, seeds=(0, 1, 2))
    parser.add_argument("--seconds", type=float, default=seconds, help="of training steps, for each row and seed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of every run")
    options = parser.parse_intermixed_args()
    study(options.folder.absolute(), options.seeds, options.seconds, options.overrides)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number; a key=value stands before --seeds")
    return int(text)


class _Seeds(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        twice = sorted({seed for seed in values if values.count(seed) > 1})
        if twice:
            parser.error(f"--seeds: {', '.join(map(str, twice))} is given twice, and would count twice in every mean")
        setattr(namespace, self.dest, values)


def unpacked(archive: Path, folder: Path) -> Path:
    """Return the folder of an archive's pictures, and unpack it there unless that was done before.

    Args:
        archive: a tar file, compressed or not; or a folder of pictures, which is returned as it is.
        folder: where the pictures go.

    Raises:
        DataError: there is no such file, or it is damaged, or it holds something that does not belong into a folder.
    """
    if archive.is_dir():
        return archive
    if not archive.is_file():
        raise DataError(f"there is no {archive}: give an archive of pictures, or a folder")
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
            try:
                with tarfile.open(archive) as file:
                    file.extractall(Path(place) / "pictures", filter="data")
            except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
                raise DataError(f"{archive} cannot be unpacked: {error}. Copy or fetch it again") from error
            put_in_place(Path(place) / "pictures", folder)
    return folder


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
    if before is not None and script == "train" and last.is_file():
        stored = stored_config([f"ckpt_path={last}"])
        assert stored is not None
        train(*stored)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        config = config if isinstance(config, DictConfig) else composed(script, config)
        config.paths.run_dir = str(folder)
        ENTRIES[script](config)
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


def logged(folder: Path, key: str) -> list[float]:
    """Return what a run has logged under a name, in order."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [float(line[key]) for line in lines if key in line]


def spread(values: Sequence[float]) -> str:
    """Write the mean over seeds ± the standard deviation, where there are several."""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


def trained(folder: Path, config: Sequence[str] | DictConfig) -> Scores:
    """Run train.py into a folder, unless a finished run is there, and return its scores; arguments as for ``run``."""
    return read_scores(run(folder, "train", config) / "scores.json")


def labels_of(folder: Path) -> Frames:
    """Return the rows of the validation split that a run was scored on."""
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    return build_data(resolve(config), IMAGENET).frames("val")
