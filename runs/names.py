"""What a run is called in a dashboard: its experiment, and what the command line changes; and what it is grouped by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hydra.core.hydra_config import HydraConfig

NO_SWEEP: Final = "."
"""``hydra.sweep.dir`` in conf/train.yaml; a sweep and a study fill in their folder."""

_ELSEWHERE: Final = ("paths", "logger", "hydra", "callbacks", "experiment", "trainer", "draws", "overwrite", "scores")
_PLACES: Final = ("root", "store", "list", "cache_dir", "workers", "num_workers", "timeout_s", "devices", "accelerator")
_LONGEST: Final = 120


def told(name: str, overrides: Iterable[str], without: str = "") -> str:
    """Return a name such as ``emma scale=tiny base_lr=0.001 seed=1``.

    Args:
        name: of the experiment.
        overrides: ``key=value`` of the command line; those that say where things are have no part in the name.
        without: a key that has none, either: runs that differ in it alone are a group.
    """
    return " ".join([name, *_words(overrides, without)])[:_LONGEST]


def _words(overrides: Iterable[str], without: str) -> Iterator[str]:
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        last = key.rpartition(".")[2]
        # a group chooses what the name of the experiment, or a key below it, tells
        group = key in _ELSEWHERE or key == "data" or key.startswith(tuple(f"{one}." for one in _ELSEWHERE[:4]))
        if not group and key != without and not last.endswith(_PLACES):
            yield f"{last}={value.strip(chr(39)).rpartition('/')[2]}"


def called(name: str) -> str:
    """Return ``told`` for the command line of the job that Hydra runs."""
    return told(name, _given())


def grouped(name: str, output_dir: str) -> str:
    """Return the group of the job that Hydra runs: of a sweep or a study its folder, whatever start of it this is.

    Args:
        name: of the experiment. Runs that are no part of a sweep are a group where they differ in their seed alone.
        output_dir: the name of a sweep is its folder below this one; of one elsewhere, the last part of it.
    """
    folder = HydraConfig.get().sweep.dir if HydraConfig.initialized() else NO_SWEEP
    if folder == NO_SWEEP:
        return told(name, _given(), "seed")
    below, parent = Path(folder).absolute(), Path(output_dir).absolute()
    inside = below != parent and below.is_relative_to(parent)
    return (below.relative_to(parent).as_posix() if inside else below.name)[-_LONGEST:]


def _given() -> list[str]:
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
