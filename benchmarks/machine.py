"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "timm", "pytorch-lightning", "albumentations", "opencv-python-headless", "pillow")


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
