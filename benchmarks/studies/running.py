"""What studies share: their command lines, what they read of finished runs, and how they write means."""

from __future__ import annotations

import argparse
import json
import statistics
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from affect.errors import DataError
from affect.files import put_in_place
from affect.frames import Frames
from affect.preprocessing import IMAGENET
from evaluators.names import Scores
from evaluators.report import read_scores
from runs.assembly import build_data
from runs.config import resolve
from runs.stages import run


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
