"""The rows for a GPU, rehearsed on the CPU: each takes real steps and says so in one line."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from benchmarks import gpu
from benchmarks.reference.emma_step import PlainEMMA
from dan.network import DAN
from tests.benchmarks.test_masked_step import small_vit
from tests.datamodules.conftest import make_root  # noqa: F401  # a fixture


def test_the_plain_networks_have_the_size_of_ours() -> None:
    def size(*parts: torch.nn.Module) -> int:
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    with torch.device("meta"):
        plain, dan = PlainEMMA(), DAN()
    assert size(plain.vit) == 85_798_656
    assert size(plain.trunk, plain.heads, plain.last) == size(dan)


def test_the_plain_step_trains_all_but_the_dan(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.reference import emma_step
    from benchmarks.training_step import random_batch

    made: list[torch.nn.Module] = []

    class Kept(PlainEMMA):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **k: (small_vit if "vit" in name else create)(name, **k))
    monkeypatch.setattr(emma_step, "PlainEMMA", Kept)
    step = emma_step.plain_step()
    before = {name: parameter.clone() for name, parameter in made[0].named_parameters()}
    step([random_batch(4, 224), random_batch(4, 224)])
    moved = {name for name, parameter in made[0].named_parameters() if not torch.equal(parameter, before[name])}
    assert {name for name in before if name.startswith(("vit.", "head.", "va_head."))} >= moved
    assert {name.partition(".")[0] for name in moved} == {"vit", "head", "va_head"}


@pytest.mark.slow
def test_a_row_is_one_line(
    make_root: Callable[..., Path],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu, "WARM_UP", 1)
    gpu.main(["input", "--toy", "--steps", "2", "--root", str(make_root(train=8))])
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["row"] == "input"
    assert line["steps"] == 2
    assert line["images_per_s"] > 0
    assert 0 <= line["waiting_for_input"] < 1


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def which(package: str) -> str:
        if package == "timm":
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(gpu, "version", which)
    with pytest.raises(SystemExit, match=r"timm missing; nothing is installed here and nothing measured"):
        gpu.main(["check"])
    assert json.loads(capsys.readouterr().out)["timm"] == "missing"
    with pytest.raises(SystemExit, match=r"give --root=FOLDER"):
        gpu.main(["input"])


def test_the_script_runs_every_row() -> None:
    script = Path(gpu.__file__).with_suffix(".sh").read_text()
    for row in gpu.ROWS:
        assert script.count(f" {row} ") + script.count(f"({row} ") + script.count(f" {row})"), row
