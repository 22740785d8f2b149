"""Help and misspelt arguments come before anything heavy is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.house import ROOT
from tests.runs.test_help import PROGRAMS

HEAVY = ("torch", "timm", "pytorch_lightning", "albumentations", "matplotlib", "pyarrow")
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("imported:", *(name for name in {heavy} if name in sys.modules))
"""


def output_of(*arguments: str) -> tuple[int, str, str]:
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-c", RUN.format(heavy=HEAVY), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    said, _, imported = done.stdout.rpartition("imported:")
    assert imported.split() == []
    return done.returncode, said, done.stderr


@pytest.mark.parametrize(
    "program",
    [f"{name}.py" for name in (*PROGRAMS, "prepare", "tune")],
)
def test_help_comes_without_heavy_imports(program: str) -> None:
    code, said, _ = output_of(program, "--help")
    assert code == 0
    assert program in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune.py", "sed=1,2"], "unknown key 'sed'; did you mean seed?"),
        (["tune.py", "data.root=."], "no key has a range"),
        (["train.py", "sed=1"], "unknown key 'sed'; did you mean seed?"),
        (["train.py", "experiment=ema"], "experiment=ema: no such option; did you mean emma or mae?"),
        (["train.py", "seed=["], "'seed=[' is not of the form key=value"),
        (["train.py"], "data.root is not set: give data.root=…"),
        (["train.py", "help=modle"], "help=modle: no such group; did you mean model?"),
        (["evaluate.py"], "give one of checkpoint=<file>, predictions=[<file>, …] and folds="),
        (["extract.py", "data.root=x", "data.task=va"], "store is not set: give store=…"),
        (["automl.py"], "data.store is not set: give data.store=…"),
        (["export.py"], "checkpoint is not set: give checkpoint=…"),
        (["prepare.py", "faces"], "the following arguments are required: VIDEO, --out"),
    ],
)
def test_what_is_misspelt_or_missing_is_told_without_heavy_imports(arguments: list[str], message: str) -> None:
    code, _, told = output_of(*arguments)
    assert code != 0
    assert message in told
    assert "Traceback" not in told


def test_values_of_another_model_need_not_be_set_where_a_checkpoint_brings_it() -> None:
    code, _, told = output_of("extract.py", "checkpoint=x", "backbone=timm")
    assert code != 0
    assert "backbone" not in told
    assert "store is not set" in told
