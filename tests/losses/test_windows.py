"""Losses of windows against NumPy: CCC a window or over all, focal entropy, uncertainty weights, missing labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.batch import AffectLogits
from losses.partial import expression_loss
from losses.windows import WindowLoss

SEEDS = st.integers(0, 2**32 - 1)


def made(seed: int, windows: int, frames: int, missing: float) -> tuple[AffectLogits, dict[str, Any]]:
    random = np.random.default_rng(seed)
    shape = windows, frames
    labels = {
        "valence_arousal": random.uniform(-1, 1, (*shape, 2)),
        "expression": random.integers(0, 8, shape),
        "action_units": (random.random((*shape, 12)) < 0.4).astype(float),
    }
    labels["valence_arousal"][random.random((*shape, 2)) < missing] = np.nan
    labels["expression"][random.random(shape) < missing] = -1
    labels["action_units"][random.random((*shape, 12)) < missing] = np.nan
    scores = {
        task: torch.from_numpy(random.normal(size=(*shape, size))).requires_grad_()
        for task, size in (("expression", 8), ("action_units", 12), ("valence_arousal", 2))
    }
    return AffectLogits(**scores), {task: torch.from_numpy(value) for task, value in labels.items()}


def ccc(x: np.ndarray, y: np.ndarray) -> float:
    below = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    return float(2 * ((x - x.mean()) * (y - y.mean())).mean() / below) if below > 0 else 0.0


def entropy(logits: np.ndarray, truth: int) -> float:
    return float(np.log(np.exp(logits).sum()) - logits[truth])


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, windows=st.integers(1, 4), frames=st.integers(1, 6), missing=st.sampled_from([0.0, 0.4, 0.9, 1.0]))
def test_ccc_of_each_window_or_of_all_frames(seed: int, windows: int, frames: int, missing: float) -> None:
    scores, labels = made(seed, windows, frames, missing)
    pred, true = (one.detach().numpy() for one in (scores.valence_arousal, labels["valence_arousal"]))
    apart, together = 0.0, 0.0
    for column in (0, 1):
        losses = []
        for window in range(windows):
            valid = ~np.isnan(true[window, :, column])
            if valid.any():
                losses.append(1 - ccc(pred[window, valid, column], true[window, valid, column]))
        apart += sum(losses) / max(len(losses), 1)
        valid = ~np.isnan(true[..., column])
        together += 1 - ccc(pred[..., column][valid], true[..., column][valid]) if valid.any() else 0.0
    of = {kind: WindowLoss(ccc=kind, va_weight=0.5)(scores, labels) for kind in ("window", "batch")}
    np.testing.assert_allclose(of["window"]["valence_arousal"].item(), apart / 2, atol=1e-9)
    np.testing.assert_allclose(of["batch"]["valence_arousal"].item(), together / 2, atol=1e-9)
    assert of["window"]["expression"] == of["batch"]["expression"]


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, rows=st.integers(1, 9), missing=st.sampled_from([0.0, 0.5, 1.0]), gamma=st.sampled_from([0.5, 2.0]))
def test_focal_loss_is_a_plain_loop(seed: int, rows: int, missing: float, gamma: float) -> None:
    random = np.random.default_rng(seed)
    logits, truth, weight = random.normal(size=(rows, 8)) * 3, random.integers(0, 8, rows), random.uniform(0.2, 4, 8)
    truth[random.random(rows) < missing] = -1
    total, weights, count = 0.0, 0.0, 0
    for row, true in zip(logits, truth, strict=True):
        if true >= 0:
            plain = entropy(row, true)
            total += weight[true] * (1 - np.exp(-plain)) ** gamma * plain
            weights, count = weights + weight[true], count + 1
    tensors = torch.from_numpy(logits), torch.from_numpy(truth)
    options: dict[str, Any] = {"weight": torch.from_numpy(weight), "gamma": gamma}
    np.testing.assert_allclose(expression_loss(*tensors, **options).item(), total / max(weights, 1e-9), atol=1e-9)
    by_rows = expression_loss(*tensors, **options, reduction="mean_valid").item()
    np.testing.assert_allclose(by_rows, total / max(count, 1), atol=1e-9)


def test_focal_loss_of_a_certain_class_has_a_finite_gradient() -> None:
    logits = torch.tensor([[200.0] + [0.0] * 7], requires_grad=True)
    for gamma in (0.5, 2.0):
        expression_loss(logits, torch.tensor([0]), gamma=gamma).backward()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("without", ["", "expression", "valence_arousal"])
def test_uncertainty_weighs_the_tasks_that_have_labels(without: str) -> None:
    scores, labels = made(1, 3, 4, 0.2)
    if without:
        labels[without] = torch.full_like(labels[without], -1 if without == "expression" else torch.nan)
    plain = WindowLoss()(scores, labels)
    loss = WindowLoss(uncertainty=True).double()
    assert loss.log_variance is not None
    noise = {"valence_arousal": 0.7, "expression": -0.4, "action_units": 0.1}
    loss.log_variance.data = torch.tensor(list(noise.values()), dtype=torch.float64)
    found = loss(scores, labels)
    torch.stack(list(found.values())).sum().backward()
    for number, (task, s) in enumerate(noise.items()):
        value = plain[task].item()
        expected = 0.0 if task == without else (np.exp(-s) * value + s) / 2
        slope = 0.0 if task == without else (1 - np.exp(-s) * value) / 2
        np.testing.assert_allclose(found[task].item(), expected, atol=1e-9)
        np.testing.assert_allclose(loss.log_variance.grad[number].item(), slope, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"ccc": "window", "focal_gamma": 2.0, "uncertainty": True}])
def test_a_batch_without_labels_gives_0_with_a_graph(options: dict[str, Any]) -> None:
    scores, labels = made(2, 2, 3, 1.0)
    losses = WindowLoss(**options)(scores, labels)
    assert {task: loss.item() for task, loss in losses.items()} == dict.fromkeys(losses, 0.0)
    torch.stack(list(losses.values())).sum().backward()
    assert all(one.grad is not None and not one.grad.any() for one in scores if one is not None)


def test_frames_in_a_row_are_as_windows() -> None:
    scores, labels = made(3, 3, 4, 0.3)
    flat = AffectLogits(*(None if one is None else one.flatten(0, 1) for one in scores))
    row = {task: value.flatten(0, 1) for task, value in labels.items()}
    loss = WindowLoss(au_pos_weight="published", label_smoothing=0.1)
    for one, other in zip(loss(scores, labels).values(), loss(flat, row).values(), strict=True):
        torch.testing.assert_close(one, other)


def test_some_tasks() -> None:
    scores, labels = made(4, 2, 3, 0.0)
    assert set(WindowLoss(ccc="window")(scores._replace(valence_arousal=None), labels)) == {
        "expression",
        "action_units",
    }
    only = AffectLogits(valence_arousal=scores.valence_arousal)
    assert set(WindowLoss(ccc="window", uncertainty=True)(only, labels)) == {"valence_arousal"}
