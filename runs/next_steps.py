"""What is printed under the scores: where the report is, and a command that goes on from here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from affect.frames import Frames
from evaluators.postprocess.timeline import lists_pictures
from runs.bar import WIDTH

_PRIORS: Final[Mapping[str, Sequence[str]]] = {
    "dan.pth": ("model.network.dan.weights={path}",),
    "encoder.pth": ("model.network.vit.weights={path}", "model.network.vit.stem=linear"),
}
"""Weights that a training leaves in its folder for EMMA, and how EMMA takes them."""


def after_training(plain: Mapping[str, Any], folder: Path) -> str:
    """Return the lines under the scores of a training: EMMA with what it has learnt, or the evaluation of it.

    Args:
        plain: the configuration.
        folder: of the run.
    """
    here = _short(folder)
    cpu = ["trainer=cpu"] if plain["trainer"].get("accelerator") == "cpu" else []
    for name, overrides in _PRIORS.items():
        if (folder / "weights" / name).is_file():
            drawn = ["data=synthetic"] if plain.get("render") else ["data=affwild2_mtl", "data.root=…"]
            given = [text.format(path=here / "weights" / name) for text in overrides]
            command = ["train.py", "experiment=emma", *drawn, f"scale={plain['scale']}", *cpu, *given]
            break
    else:
        command = ["evaluate.py", f"checkpoint={here}", *cpu]
    return _lines(here, command)


def after_evaluation(plain: Mapping[str, Any], folder: Path, frames: Frames) -> str:
    """Return the lines under the scores of tables: smoothing, where the list has time and it was not tried yet.

    Args:
        plain: the configuration.
        folder: of the run.
        frames: that were scored.
    """
    here, split = _short(folder), plain["split"]
    command = ["evaluate.py", f"predictions={here}/predictions/{split}.parquet"]
    command += [f"split={split}"] if split != "val" else []
    if plain["postprocess"]["smoothing"] is None and len(frames.frame) and not lists_pictures(frames):
        return _lines(here, [*command, "postprocess.smoothing=box", "curve=[0,1,2,5,10,25,50]"])
    return _lines(here, [])


def _short(folder: Path) -> Path:
    """Return a path below the working directory, where commands are typed, relative to it."""
    return Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder


def _lines(folder: Path, command: Sequence[str]) -> str:
    report = f"report: {folder / 'report.html'}"
    if not command:
        return report
    return f"{report}\n{wrapped('next: python', command)}"


def wrapped(start: str, command: Sequence[str]) -> str:
    """Return a command as a shell takes it, in lines that fit; the first begins with ``start``."""
    lines = [start]
    for word in map(shlex.quote, command):
        if len(f"{lines[-1]} {word} \\") <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}")
    return " \\\n".join(lines)
