from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losses.divergence import cotex_loss, js_divergence
from tests.golden import rebuild


def golden_views():
    numbers = rebuild.numbers("losses")
    return numbers, [torch.from_numpy(numbers[name]) for name in ("cotex_p1", "cotex_p2")]


def test_golden_js_divergence():
    numbers, logits = golden_views()
    views = [view.softmax(dim=1) for view in logits]
    assert rebuild.relative_error(js_divergence(views), numbers["js_paper_eq6_mean_over_batch"]) <= 1e-6
    published = js_divergence(views, reference=True)
    assert rebuild.relative_error(published, numbers["js_reference_mean_over_all_elements"]) <= 1e-6


def test_golden_cotex_loss():
    numbers, logits = golden_views()
    target = torch.from_numpy(numbers["cotex_y"])
    ours = cotex_loss(logits, target, js_weight=100 / 3)
    assert rebuild.relative_error(ours, numbers["cotex_total_paper_lambda33"]) <= 1e-6
    published = cotex_loss(logits, target, js_weight=100, reference=True)
    assert rebuild.relative_error(published, numbers["cotex_total_reference_lambda100"]) <= 1e-6


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 10),
    classes=st.integers(2, 9),
    count=st.integers(1, 4),
    scale=st.sampled_from([0.1, 1.0, 20.0]),
)
def test_equals_numpy_entropies(seed, rows, classes, count, scale):
    random = np.random.default_rng(seed)
    views = random.normal(size=(count, rows, classes)) * scale
    views = np.exp(views) / np.exp(views).sum(axis=2, keepdims=True)

    def entropy(p):
        return -(p * np.log(p)).sum(axis=-1)

    expected = (entropy(views.mean(axis=0)) - entropy(views).mean(axis=0)).mean()
    np.testing.assert_allclose(js_divergence(list(torch.from_numpy(views))).item(), expected, atol=1e-12)


def test_bounds_and_certain_views():
    certain = [torch.eye(3)[[0, 1]].requires_grad_(), torch.eye(3)[[1, 0]].requires_grad_()]
    loss = js_divergence(certain)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))  # the largest value of two views
    assert all(torch.isfinite(view.grad).all() for view in certain)
    assert js_divergence([certain[0], certain[0]]).item() == 0


@pytest.mark.parametrize("reference", [False, True])
def test_gradient(reference):
    generator = torch.Generator().manual_seed(2)
    logits = [torch.randn(4, 6, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(2)]
    target = torch.tensor([0, -1, 5, 2])
    assert torch.autograd.gradcheck(
        lambda *views: cotex_loss(views, target, js_weight=3.0, reference=reference), tuple(logits)
    )


@pytest.mark.parametrize("reference", [False, True])
def test_no_label_leaves_the_divergence(reference):
    _, logits = golden_views()
    target = torch.full((len(logits[0]),), -1)
    views = [view.softmax(dim=1) for view in logits]
    both = cotex_loss(logits, target, js_weight=2.0, reference=reference)
    torch.testing.assert_close(both, 2 * js_divergence(views, reference=reference))
    assert cotex_loss(logits, target, js_weight=0.0, reference=reference).item() == 0


def test_empty_batch_is_zero():
    views = [torch.zeros(0, 6, requires_grad=True) for _ in range(2)]
    loss = cotex_loss(views, torch.zeros(0, dtype=torch.int64), js_weight=1.0)
    loss.backward()
    assert loss.item() == 0


def test_float32_under_autocast():
    _, logits = golden_views()
    half = [view.bfloat16() for view in logits]
    target = torch.zeros(len(half[0]), dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = cotex_loss(half, target, js_weight=1.0)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, cotex_loss([view.float() for view in half], target, js_weight=1.0))
