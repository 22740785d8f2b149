"""Layer decay and schedule against the published values, and the schedule as Lightning steps it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from affect.errors import ConfigError
from backbones.vit import build_vit
from tests.golden.rebuild import FOLDER
from training.optimisation import plain_groups, scaled_lr, vit_groups, warmup_cosine, warmup_cosine_scheduler


def test_golden_layer_decay_of_every_tensor() -> None:
    golden = json.loads((FOLDER / "layer_decay.json").read_text())
    with torch.device("meta"):
        vit = build_vit(image_size=224, weights=None)
    groups = vit_groups(vit, lr=1.0, weight_decay=golden["weight_decay"], layer_decay=golden["layer_decay"])
    ours = {name: (group["lr"], group["weight_decay"]) for group in groups for name in group["parameter_names"]}
    head = {name for name in golden["vit_base_patch16"] if name.startswith("head.")}
    assert set(ours) == set(golden["vit_base_patch16"]) - head
    for name, values in ours.items():
        assert values == pytest.approx(golden["vit_base_patch16"][name], rel=1e-12), name


def test_golden_schedule_at_fractional_epochs() -> None:
    golden = np.load(FOLDER / "schedule.npz")
    ours = [
        warmup_cosine(e, lr=golden["base_lr"], min_lr=golden["min_lr"], warmup_epochs=5, epochs=30)
        for e in golden["epoch"]
    ]
    np.testing.assert_allclose(ours, golden["lr"], rtol=1e-6, atol=1e-12)


def test_scaled_lr_is_linear_in_everything() -> None:
    assert scaled_lr(5e-4, batch_size=100, accumulation=4, devices=1) == pytest.approx(5e-4 * 400 / 256)
    assert scaled_lr(5e-4, batch_size=64, accumulation=1, devices=4) == pytest.approx(5e-4)


def test_schedule_keeps_each_groups_own_rate_and_the_constant_ones() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    groups = [
        {"params": [parameters[0]], "lr": 1.0, "name": "top"},
        {"params": [parameters[1]], "lr": 0.25, "name": "deep"},
        {"params": [parameters[2]], "lr": 0.5, "name": "va_head"},
    ]
    optimizer = torch.optim.AdamW(groups)
    scheduler = warmup_cosine_scheduler(
        optimizer, lr=1.0, min_lr=0.1, warmup_epochs=1, epochs=4, total_steps=8, constant=["va_head"]
    )
    seen = []
    for _ in range(8):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert seen[0] == [0.0, 0.0, 0.5]
    assert seen[2] == pytest.approx([1.0, 0.25, 0.5])
    assert scheduler.get_last_lr() == pytest.approx([0.1, 0.025, 0.5])
    for row in seen:
        assert row[1] == pytest.approx(0.25 * row[0])
        assert row[2] == 0.5


def test_warm_up_as_long_as_the_run_is_refused() -> None:
    optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))], "name": "a"}])
    with pytest.raises(ConfigError, match=r"model\.warmup_epochs=5 does not fit"):
        warmup_cosine_scheduler(optimizer, lr=1, min_lr=0, warmup_epochs=5, epochs=5, total_steps=10)


def test_plain_groups_do_not_decay_vectors() -> None:
    groups = plain_groups(torch.nn.Linear(3, 2), "head", lr=0.1, weight_decay=0.05)
    assert {group["name"]: group["weight_decay"] for group in groups} == {"head": 0.05, "head_no_decay": 0.0}
