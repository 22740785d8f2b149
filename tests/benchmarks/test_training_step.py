"""The benchmark of the training step: that what it times are the optimiser steps of train.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from affect.errors import ConfigError
from benchmarks import training_step
from benchmarks.training_step import PRECISIONS, Step, configure, measure, take_steps
from runs.assembly import build_module

SMALL = (
    *("scale=tiny", "model.optimiser.muon=false", "model.network.dan.width=8"),
    *(f"model.network.vit.{key}" for key in ("image_size=32", "width=32", "depth=2", "heads=2", "patch_size=8")),
    "model.network.vit.stem=linear",
)


class Wire:
    """The connection as a process sees it."""

    def __init__(self) -> None:
        self.asked = 0
        self.steps: list[Step] = []

    def recv(self) -> str:
        self.asked += 1
        return "step"

    def send(self, step: Step) -> None:
        self.steps.append(step)


@pytest.mark.parametrize("precision", PRECISIONS.values())
def test_optimiser_steps_of_the_configured_run(precision: str) -> None:
    config = configure(precision, 4, 2, SMALL)
    wire = Wire()
    module = take_steps(config, 3, 1, wire)
    assert wire.asked == len(wire.steps) == 3
    assert all(step.seconds > 0 for step in wire.steps)

    trainer = module.trainer
    assert trainer.global_step == 3  # of six micro-batches
    assert trainer.fit_loop.total_batch_idx == 5
    assert trainer.precision == precision
    assert trainer.gradient_clip_val == config["trainer"]["gradient_clip_val"] > 0
    (optimizer,) = trainer.optimizers
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["name"] for group in optimizer.param_groups} >= {"va_head", "head", "layer0", "layer1_no_decay"}

    trained = [p for p in module.network.parameters() if p.requires_grad]
    assert all(optimizer.state[p]["step"] == 3 for p in trained)
    assert not any(p in optimizer.state for p in module.network.dan.parameters())


def test_paper_scale_is_the_default() -> None:
    config = configure("bf16-mixed", 8, 2, [])
    with torch.device("meta"):
        module = build_module(config["model"], initialise=False)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in module.network.named_children()}
    assert sizes["vit"] == 85_798_656  # ViT-B/16 without a head
    assert module.preprocessing.image_size == 224
    assert module.network.dan.num_features == 512
    trainer: dict[str, Any] = config["trainer"]
    assert (config["data"]["batch_size"], trainer["accumulate_grad_batches"]) == (8, 2)
    assert (trainer["gradient_clip_val"], trainer["precision"]) == (0.05, "bf16-mixed")


@pytest.mark.slow
def test_each_precision_has_its_process_and_its_rounds() -> None:
    configs = {name: configure(precision, 2, 1, SMALL) for name, precision in PRECISIONS.items()}
    steps = measure(configs, rounds=2, threads=1)
    assert {name: len(taken) for name, taken in steps.items()} == {"float32": 2, "bf16": 2}
    for step in (step for taken in steps.values() for step in taken):
        assert 0 < step.seconds < 60
        assert 0 < step.cores < 2  # one thread computes
        assert 100 * 2**20 < step.peak_memory < 8 * 2**30


def test_a_process_that_ends_early_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_step, "take_steps", print)  # takes no step
    with pytest.raises(RuntimeError, match="the float32 process ended at step 0"):
        measure({"float32": {}}, rounds=1, threads=1)


def test_unknown_override_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.network\.vit\.width"):
        configure("32-true", 2, 1, ["model.network.vit.widht=3"])
