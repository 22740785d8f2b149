"""Compute the Jensen-Shannon divergence of several views, and the CoTEX loss (EMMA/CoTEX paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from losses.partial import expression_loss
from losses.precision import full_precision

_REFERENCE_CLAMP = 1e-4


def js_divergence(probabilities: Sequence[Tensor], *, reference: bool = False) -> Tensor:
    """Return the Jensen-Shannon divergence of the views' distributions, averaged over the batch (equation 6), in nats.

    It is the mean Kullback-Leibler divergence to the mean of the views. That equals ``H(mean) - mean of H``, but does
    not subtract two large numbers.

    Args:
        probabilities: one (B, C) tensor of class probabilities per view; rows need no label.
        reference: use the published code's form: values under 1e-4 are clamped in the logarithms, and the mean is taken
            over batch *and* classes (github.com/JackYFL/EMMA_CoTEX_ABAW4, utils/loss.py).

    Returns:
        Scalar >= 0, float32 or better; exactly 0 for an empty batch.
    """
    views = torch.stack([full_precision(view) for view in probabilities])
    smallest = _REFERENCE_CLAMP if reference else torch.finfo(views.dtype).tiny  # the clamp keeps 0 log 0 = 0 finite
    mean = views.mean(dim=0)
    total = (views * (views.clamp(min=smallest).log() - mean.clamp(min=smallest).log())).sum() / len(views)
    rows, classes = mean.shape
    return total / max(rows * classes if reference else rows, 1)


def cotex_loss(logits: Sequence[Tensor], target: Tensor, *, js_weight: float, reference: bool = False) -> Tensor:
    """Return ``js_weight * JS + sum over the views of the cross entropy`` (equation 5).

    Args:
        logits: one (B, C) tensor per view.
        target: (B,) int64, -1 where missing. Rows without a label count in the divergence only.
        js_weight: the paper's lambda; 100 / 3 gives the published code's balance.
        reference: use the published code's form: the *mean* of the cross entropies, and its form of the divergence.
            With ``js_weight=100`` it is half of the default form with 100 / 3.

    Returns:
        Scalar, float32 or better.
    """
    entropies = torch.stack([expression_loss(view, target) for view in logits])
    divergence = js_divergence([full_precision(view).softmax(dim=-1) for view in logits], reference=reference)
    return js_weight * divergence + (entropies.mean() if reference else entropies.sum())
