"""What a run is called in a dashboard: its experiment, and what the command line changes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from hydra.core.hydra_config import HydraConfig

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


def called(name: str, without: str = "") -> str:
    """Return ``told`` for the command line of the job that Hydra runs."""
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return told(name, overrides, without)
