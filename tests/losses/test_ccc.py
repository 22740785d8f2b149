from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.ccc import ccc_loss
from tests.golden import rebuild


def numpy_ccc(x, y):
    """Independent: NumPy's covariance matrix, population moments."""
    covariance = np.cov(x, y, ddof=0)
    denominator = covariance[0, 0] + covariance[1, 1] + (x.mean() - y.mean()) ** 2
    return 2 * covariance[0, 1] / denominator if denominator > 0 else 0.0


def golden_case():
    numbers = rebuild.numbers("losses")
    target = torch.from_numpy(numbers["valence_arousal"]).clone()
    target[target == -5] = float("nan")
    return numbers, torch.from_numpy(numbers["pred_va"]), target


def column(target, index):
    """The target with the other column missing, so that the sum is one column's loss."""
    alone = torch.full_like(target, float("nan"))
    alone[:, index] = target[:, index]
    return alone


@pytest.mark.parametrize(("index", "name"), [(0, "valence"), (1, "arousal")])
def test_golden_ccc_loss(index, name):
    numbers, pred, target = golden_case()
    ours = ccc_loss(pred, column(target, index))
    assert rebuild.relative_error(ours, numbers[f"ccc_loss_{name}_population"]) <= 1e-6
    published = ccc_loss(pred, column(target, index), reference=True)
    assert rebuild.relative_error(published, numbers[f"ccc_loss_{name}"]) <= 1e-6


def test_columns_are_summed():
    _, pred, target = golden_case()
    both = ccc_loss(pred, target)
    torch.testing.assert_close(both, ccc_loss(pred, column(target, 0)) + ccc_loss(pred, column(target, 1)))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 40), missing=st.floats(0, 0.9))
def test_equals_numpy(seed, rows, missing):
    random = np.random.default_rng(seed)
    pred, target = random.normal(size=(rows, 2)), random.uniform(-1, 1, size=(rows, 2))
    target[random.random((rows, 2)) < missing] = np.nan
    expected = 0.0
    for k in range(2):
        valid = ~np.isnan(target[:, k])
        expected += 1 - numpy_ccc(pred[valid, k], target[valid, k]) if valid.any() else 0.0
    ours = ccc_loss(torch.from_numpy(pred), torch.from_numpy(target))
    np.testing.assert_allclose(ours.item(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reference", [False, True])
def test_gradient(reference):
    generator = torch.Generator().manual_seed(1)
    pred = torch.randn(7, 2, dtype=torch.float64, generator=generator).requires_grad_()
    target = torch.rand(7, 2, dtype=torch.float64, generator=generator)
    target[2] = float("nan")
    assert torch.autograd.gradcheck(lambda x: ccc_loss(x, target, reference=reference), (pred,))


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_no_label_is_exactly_zero_and_connected(reference, rows):
    pred = torch.randn(rows, 2, requires_grad=True)
    loss = ccc_loss(pred, torch.full((rows, 2), float("nan")), reference=reference)
    loss.backward()
    assert loss.item() == 0
    assert pred.grad is not None
    assert torch.equal(pred.grad, torch.zeros(rows, 2))


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("agree", [False, True])
def test_one_labelled_row_is_finite(reference, agree):
    pred = torch.tensor([[0.3, -0.2], [5.0, 5.0]], requires_grad=True)
    target = torch.tensor([[0.3, -0.2] if agree else [0.5, 0.1], [float("nan")] * 2])
    loss = ccc_loss(pred, target, reference=reference)
    loss.backward()
    assert loss.item() == pytest.approx(2)
    assert torch.isfinite(pred.grad).all()


def test_float32_under_autocast():
    _, pred, target = golden_case()
    half = pred.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = ccc_loss(half, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, ccc_loss(half.float(), target))
