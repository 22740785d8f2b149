"""What all speeds share: what they were measured on, the rounds, and the file of figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "albumentations", "opencv-python-headless", "pillow")


def benchmark_parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Make a command line with ``--rounds`` and ``--json``.

    Args:
        doc: of the benchmark's module; its first line is the description.
        rounds: the default.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def take_turns(
    ways: Mapping[str, Callable[[int], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, list[float]]:
    """Return the seconds that each way takes in each of ``rounds``, one way after the other, after one that warms up.

    Args:
        ways: what is measured; called with the number of the round, from 0, which warms up.
        rounds: that count.
        clock: tells the seconds.
        before: what is done before each turn of a way, and not measured.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            if before and name in before:
                before[name]()
            start = clock()
            way(turn)
            if turn:
                seconds[name].append(clock() - start)
    return seconds


def write_figures(path: Path | None, figures: Any) -> None:
    """Write figures as JSON, where a path is given."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")


def machine() -> dict[str, str]:
    """Return processor, cores, instructions that decide the figures, load, versions and date."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "bf16": " ".join(flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags) or "no instructions found",
        "torch_isa": torch.backends.cpu.get_cpu_capability(),
        "load": f"{os.getloadavg()[0]:.2f}",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def print_machine(facts: dict[str, str]) -> None:
    """Print the facts in one line."""
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
