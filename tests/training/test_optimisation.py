"""Layer decay and schedule against the published values, and the schedule as Lightning steps it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision

from affect.errors import ConfigError
from backbones.vit import build_vit
from tests.golden.rebuild import FOLDER
from training.optimisation import SGD, Adam, AdamW, Groups, muon, plain_groups, vit_groups, warmup_cosine


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


def trainer(batch_size: int = 256, accumulation: int = 1, devices: int = 1, epochs: int = 4, steps: int = 8) -> Any:
    return SimpleNamespace(
        datamodule=SimpleNamespace(batch_size=batch_size),
        accumulate_grad_batches=accumulation,
        world_size=devices,
        max_epochs=epochs,
        estimated_stepping_batches=steps,
    )


def test_the_rate_is_linear_in_all_that_a_step_sees() -> None:
    assert AdamW(base_lr=5e-4).lr(trainer(batch_size=100, accumulation=4)) == pytest.approx(5e-4 * 400 / 256)
    assert AdamW(base_lr=5e-4).lr(trainer(batch_size=64, devices=4)) == pytest.approx(5e-4)
    assert AdamW(base_lr=5e-4, scale_lr=False).lr(trainer(batch_size=64, devices=2)) == 5e-4


def test_schedule_keeps_each_groups_own_rate_and_the_constant_ones() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]

    def groups(lr: float) -> Groups:
        return [
            {"params": [parameters[0]], "lr": lr, "name": "top"},
            {"params": [parameters[1]], "lr": 0.25 * lr, "name": "deep"},
            {"params": [parameters[2]], "lr": 0.5, "name": "va_head", "constant": True},
        ]

    configured: Any = AdamW(base_lr=1.0, min_lr=0.1, warmup_epochs=1, beta2=0.95).configured(groups, trainer())
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
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
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.95)}
    assert configured["lr_scheduler"]["interval"] == "step"


@pytest.mark.parametrize("settings", [AdamW(warmup_epochs=0), Adam()])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_one_kernel_does_the_step_of_clipped_gradients(settings: Adam | AdamW, precision: str) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    made: Any = settings.configured(lambda lr: [{"params": [parameter], "lr": lr}], trainer())
    optimizer = made["optimizer"] if isinstance(made, dict) else made
    assert optimizer.defaults["fused"]
    plugins: dict[str, Any] = {"bf16-mixed": MixedPrecision, "16-mixed": MixedPrecision}
    plugin = plugins[precision](precision, "cpu") if precision in plugins else Precision()
    parameter.grad = torch.full((1,), 3.0)
    plugin.connect(torch.nn.Linear(1, 1), [optimizer], [])
    plugin.clip_gradients(optimizer, 0.5)
    assert parameter.grad.item() == pytest.approx(0.5)


@pytest.mark.parametrize("epochs", [5, -1, None])
def test_warm_up_as_long_as_the_run_is_refused(epochs: int | None) -> None:
    with pytest.raises(ConfigError, match=r"model\.optimiser\.warmup_epochs=5 does not fit into trainer\.max_epochs="):
        AdamW(warmup_epochs=5).configured(lambda lr: [], trainer(epochs=epochs))  # type: ignore[arg-type]


def test_adam_with_and_without_a_rate_that_falls() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))

    def groups(lr: float) -> Groups:
        return [{"params": [parameter], "lr": lr}]

    plain: Any = Adam(lr=0.1, eps=1e-7).configured(groups, trainer())
    assert (plain.defaults["lr"], plain.defaults["eps"]) == (0.1, 1e-7)
    falling: Any = Adam(lr=0.1, lr_decay=0.5).configured(groups, trainer())
    falling["optimizer"].step()
    falling["lr_scheduler"]["scheduler"].step()
    assert falling["optimizer"].param_groups[0]["lr"] == pytest.approx(0.05)
    assert "interval" not in falling["lr_scheduler"]  # Lightning steps it once per epoch


@pytest.mark.parametrize("schedule", ["cosine", "published"])
def test_sgd_follows_a_cosine_which_rises_again_in_the_published_code(schedule: Literal["cosine", "published"]) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    settings = SGD(lr=1e-3, momentum=0.9, schedule=schedule)
    configured: Any = settings.configured(lambda lr: [{"params": [parameter], "lr": lr}], trainer(steps=25_000))
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(25_000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    period = 10_000 if schedule == "published" else 25_000
    steps = np.arange(25_000)
    np.testing.assert_allclose(rates, 5e-4 * (1 + np.cos(np.pi * steps / period)), rtol=1e-9, atol=1e-15)
    assert (rates[20_000] == pytest.approx(1e-3)) == (schedule == "published")


def test_sgd_keeps_a_share_of_the_step_before() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    configured: Any = SGD(lr=0.1, momentum=0.5).configured(lambda lr: [{"params": [parameter], "lr": lr}], trainer())
    for gradient in ([1.0, 2.0], [3.0, -1.0]):
        parameter.grad = torch.tensor(gradient)
        configured["optimizer"].step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.1 - 0.35, -0.2 - 0.0]))


def test_muon_turns_matrices_and_leaves_the_rest_to_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"matrix": (24, 8), "kernel": (6, 4, 3, 3), "vector": (8,), "positions": (1, 17, 8)}
    start = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    gradients = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}

    def steps(settings: Adam | AdamW) -> dict[str, torch.Tensor]:
        parameters = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
        configured: Any = settings.configured(lambda lr: [{"params": list(parameters.values()), "lr": lr}], trainer())
        optimizer = configured["optimizer"] if isinstance(configured, dict) else configured
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        optimizer.step()
        return {name: (parameter - start[name]).detach() for name, parameter in parameters.items()}

    ours = steps(Adam(lr=0.1, muon=True))
    for name in ("vector", "positions"):  # Adam with Nesterov's momentum: lr * (1 + beta1), whatever the gradient
        torch.testing.assert_close(ours[name], -0.19 * gradients[name].sign())
    for name in ("matrix", "kernel"):
        u, _, v = torch.linalg.svd(gradients[name].flatten(1), full_matrices=False)
        longest = max(gradients[name].flatten(1).shape)
        u_moved, length, v_moved = torch.linalg.svd(-ours[name].flatten(1) / (0.1 * 0.2 * longest**0.5), False)
        assert ((length > 0.6) & (length < 1.3)).all(), length
        torch.testing.assert_close(u_moved @ v_moved, u @ v, atol=0.03, rtol=0)
    decayed = steps(AdamW(base_lr=0.1, warmup_epochs=0, muon=True, weight_decay=0.0))
    torch.testing.assert_close(decayed["matrix"], ours["matrix"])


@pytest.mark.parametrize("has_bf16", [True, False])
def test_muon_multiplies_float32_on_a_cpu_without_bf16(monkeypatch: pytest.MonkeyPatch, has_bf16: bool) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bf16)
    parameter = torch.nn.Parameter(torch.zeros(24, 8))
    gradient = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
    optimizer = muon([{"params": [parameter], "lr": 1.0}], lr=1.0)
    parameter.grad = gradient.clone()
    optimizer.step()
    direction = parameter.detach() / (0.2 * 24**0.5)  # the step is as long as that
    rounding = float((direction - direction.to(torch.bfloat16)).abs().max())
    assert (rounding < 1e-6) == has_bf16


def test_plain_groups_do_not_decay_vectors() -> None:
    groups = plain_groups(torch.nn.Linear(3, 2), "head", lr=0.1, weight_decay=0.05)
    assert {group["name"]: group["weight_decay"] for group in groups} == {"head": 0.05, "head_no_decay": 0.0}


def test_a_plateau_takes_the_rate_to_a_tenth_and_leaves_constant_groups() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.5, "constant": True}]
    settings = AdamW(base_lr=1.0, scale_lr=False, min_lr=0.0, warmup_epochs=0, plateau=2)
    configured: Any = settings.configured(lambda lr: groups, trainer())
    assert configured["lr_scheduler"]["monitor"] == "val/score"
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for score in [-0.2, -0.1, -0.1, -0.15, float("nan"), -0.09, -0.2, -0.2, -0.2]:
        optimizer.step()
        scheduler.step(score)
        rates.append([group["lr"] for group in optimizer.param_groups])
    falls = [1.0] * 4 + [0.1] * 4 + [0.01]
    assert rates == [pytest.approx([rate, 0.5]) for rate in falls]


def test_a_plateau_has_no_warm_up() -> None:
    with pytest.raises(ConfigError, match=r"model\.optimiser\.warmup_epochs=1: there is no warm-up before a plateau"):
        AdamW(warmup_epochs=1, plateau=5).configured(lambda lr: [], trainer())
