from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.attention import AffinityLoss, partition_loss


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), missing=st.floats(0, 1))
def test_affinity_equals_numpy(seed, rows, missing):
    random = np.random.default_rng(seed)
    features, target = random.normal(size=(rows, 6, 3, 2)), random.integers(0, 4, rows)
    target[random.random(rows) < missing] = -1
    loss = AffinityLoss(4, 6).double()
    centers = loss.centers.detach().numpy()
    pooled = features.mean(axis=(2, 3))
    # The published form: all distances by the binomial formula, then the own class's.
    distances = (pooled**2).sum(1)[:, None] + (centers**2).sum(1) - 2 * pooled @ centers.T
    own = [distances[row, label] for row, label in enumerate(target) if label >= 0]
    expected = np.mean(own) / centers.var(axis=0, ddof=1).sum() if own else 0.0
    value = loss(torch.from_numpy(features), torch.from_numpy(target)).item()
    np.testing.assert_allclose(value, expected, rtol=1e-9)


def test_affinity_gradients():
    loss = AffinityLoss(3, 4).double()
    features = torch.randn(5, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 2, -1, 1, 2])
    assert torch.autograd.gradcheck(lambda x, _: loss(x, target), (features, loss.centers))


def test_affinity_without_labels():
    loss = AffinityLoss(3, 4)
    features = torch.randn(2, 4, 2, 2, requires_grad=True)
    value = loss(features, torch.tensor([-1, -1]))
    value.backward()
    assert value.item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert torch.equal(loss.centers.grad, torch.zeros_like(loss.centers))


def test_affinity_needs_two_classes():
    with pytest.raises(ValueError, match="at least 2"):
        AffinityLoss(1, 4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 9), heads=st.integers(2, 5))
def test_partition_equals_numpy(seed, rows, heads):
    values = np.random.default_rng(seed).normal(size=(rows, heads, 7))
    expected = np.log(1 + heads / values.var(axis=1, ddof=1).mean())
    np.testing.assert_allclose(partition_loss(torch.from_numpy(values)).item(), expected, rtol=1e-9)


@pytest.mark.parametrize("shape", [(3, 1, 7), (0, 4, 7), (3, 4, 7)], ids=["one head", "empty", "identical heads"])
def test_partition_is_finite(shape):
    heads = torch.zeros(shape, requires_grad=True)
    loss = partition_loss(heads)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss.item() == 0 or shape == (3, 4, 7)
    assert torch.equal(heads.grad, torch.zeros(shape))


def test_float32_under_autocast():
    loss = AffinityLoss(3, 4)
    features, target, heads = torch.randn(5, 4, 2, 2).bfloat16(), torch.tensor([0, 1, 2, -1, 0]), torch.randn(5, 4, 7)
    with torch.autocast("cpu", torch.bfloat16):
        affinity, partition = loss(features, target), partition_loss(heads.bfloat16())
    assert affinity.dtype == partition.dtype == torch.float32
    assert torch.equal(affinity, loss(features.float(), target))
    assert torch.equal(partition, partition_loss(heads.bfloat16().float()))
