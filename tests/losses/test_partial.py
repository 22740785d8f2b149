from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.partial import au_loss, expression_loss
from tests.golden import rebuild


def golden_case():
    numbers = rebuild.numbers("losses")
    units = torch.from_numpy(numbers["action_units"]).clone()
    units[units == -1] = float("nan")
    return numbers, units


def test_golden_au_loss():
    numbers, units = golden_case()
    logits = torch.from_numpy(numbers["pred_au"])
    assert rebuild.relative_error(au_loss(logits, units), numbers["au_loss_mean_over_valid"]) <= 1e-6
    weighted = au_loss(logits, units, pos_weight=torch.from_numpy(numbers["au_pos_weight"]), reduction="sum_batch")
    assert rebuild.relative_error(weighted, numbers["au_loss_posweight_sum_over_batch"]) <= 1e-6


def test_golden_expression_loss():
    numbers, _ = golden_case()
    loss = expression_loss(torch.from_numpy(numbers["pred_expr"]), torch.from_numpy(numbers["expression"]))
    assert rebuild.relative_error(loss, numbers["ce_loss"]) <= 1e-6


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 20), missing=st.floats(0, 1), weighted=st.booleans())
def test_au_loss_equals_numpy(seed, rows, missing, weighted):
    random = np.random.default_rng(seed)
    logits, target = random.normal(size=(rows, 12)) * 3, (random.random((rows, 12)) < 0.3).astype(float)
    target[random.random((rows, 12)) < missing] = np.nan
    weight = random.uniform(0.5, 30, 12) if weighted else np.ones(12)
    probability = 1 / (1 + np.exp(-logits))
    values = -(weight * target * np.log(probability) + (1 - target) * np.log(1 - probability))
    total, count = np.nansum(values), (~np.isnan(target)).sum()
    tensors = torch.from_numpy(logits), torch.from_numpy(target)
    pos_weight = torch.from_numpy(weight) if weighted else None
    np.testing.assert_allclose(au_loss(*tensors, pos_weight=pos_weight).item(), total / max(count, 1), rtol=1e-9)
    by_batch = au_loss(*tensors, pos_weight=pos_weight, reduction="sum_batch").item()
    np.testing.assert_allclose(by_batch, total / rows, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 20),
    missing=st.floats(0, 1),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1, 0.5]),
)
def test_expression_loss_equals_numpy(seed, rows, missing, weighted, smoothing):
    random = np.random.default_rng(seed)
    logits, target = random.normal(size=(rows, 8)) * 3, random.integers(0, 8, rows)
    target[random.random(rows) < missing] = -1
    weight = random.uniform(0.1, 5, 8) if weighted else np.ones(8)
    valid = target >= 0
    log_probability = logits[valid] - np.log(np.exp(logits[valid]).sum(axis=1, keepdims=True))
    truth = (1 - smoothing) * np.eye(8)[target[valid]] + smoothing / 8
    total, count = -(truth * weight * log_probability).sum(), weight[target[valid]].sum()
    ours = expression_loss(
        torch.from_numpy(logits),
        torch.from_numpy(target),
        weight=torch.from_numpy(weight) if weighted else None,
        label_smoothing=smoothing,
    )
    np.testing.assert_allclose(ours.item(), total / count if count else 0.0, rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), missing=st.floats(0, 1), smoothing=st.floats(0, 0.9))
def test_expression_loss_by_rows_is_a_plain_loop_over_soft_targets(seed, rows, missing, smoothing):
    random = np.random.default_rng(seed)
    logits, target, weight = random.normal(size=(rows, 8)), random.integers(0, 8, rows), random.uniform(1, 20, 8)
    target[random.random(rows) < missing] = -1
    total, count = 0.0, 0
    for scores, label in zip(logits, target, strict=True):
        if label < 0:
            continue
        count += 1
        probability = np.exp(scores) / sum(np.exp(scores))
        for c in range(8):
            q = smoothing / 8 + (1 - smoothing) * (c == label)
            total += weight[c] * q * -np.log(probability[c])
    tensors = torch.from_numpy(logits), torch.from_numpy(target)
    ours = expression_loss(*tensors, weight=torch.from_numpy(weight), label_smoothing=smoothing, reduction="mean_valid")
    np.testing.assert_allclose(ours.item(), total / count if count else 0.0, rtol=1e-9)


@pytest.mark.parametrize("rows", [0, 1, 4])
@pytest.mark.parametrize(
    "loss_of",
    [
        lambda logits: au_loss(logits, torch.full(logits.shape, float("nan"))),
        lambda logits: au_loss(logits, torch.full(logits.shape, float("nan")), reduction="sum_batch"),
        lambda logits: expression_loss(logits, torch.full((len(logits),), -1)),
        lambda logits: expression_loss(logits, torch.full((len(logits),), -1), weight=torch.ones(12)),
    ],
    ids=["au mean", "au sum", "expression", "expression weighted"],
)
def test_no_label_is_exactly_zero_and_connected(rows, loss_of):
    logits = torch.randn(rows, 12, requires_grad=True)
    loss = loss_of(logits)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(rows, 12))


def test_missing_values_get_no_gradient():
    numbers, units = golden_case()
    logits = torch.from_numpy(numbers["pred_au"]).clone().requires_grad_()
    au_loss(logits, units).backward()
    assert torch.equal(logits.grad == 0, units.isnan())


def test_float32_under_autocast():
    numbers, units = golden_case()
    logits, expression = torch.from_numpy(numbers["pred_au"]).bfloat16(), torch.from_numpy(numbers["expression"])
    with torch.autocast("cpu", torch.bfloat16):
        au, expr = au_loss(logits, units), expression_loss(logits[:, :8], expression)
    assert au.dtype == expr.dtype == torch.float32
    assert torch.equal(au, au_loss(logits.float(), units))
    assert torch.equal(expr, expression_loss(logits[:, :8].float(), expression))


def test_unknown_reduction():
    with pytest.raises(ValueError, match="mean_valid"):
        au_loss(torch.zeros(1, 12), torch.zeros(1, 12), reduction="mean")  # type: ignore[arg-type]
