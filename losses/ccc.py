"""Compute the concordance correlation loss of valence and arousal."""

from __future__ import annotations

import torch
from torch import Tensor

from losses.precision import divide, full_precision

_REFERENCE_EPSILON = 1e-4


def ccc_loss(pred: Tensor, target: Tensor, *, reference: bool = False) -> Tensor:
    """Return the sum over the columns of ``1 - CCC``, the concordance correlation over the batch's labelled rows.

    Of several windows, it is the mean over those that have a label, for each column by itself.

    The EMMA paper prints ``1 - (CCC_A + CCC_V)`` (equation 4). Its code computes ``(1 - CCC_A) + (1 - CCC_V)``, which
    has the same gradient; so do we. The CCC is 0 if its denominator is 0: for a single row, or for equal constants.

    Args:
        pred: (N, 2) valence and arousal, any float type, not clamped; or (B, N, 2), of B windows.
        target: as large, in [-1, 1], NaN where missing; each column has its own missing rows.
        reference: use the published code's form: standard deviations with n - 1, and 1e-4 added to both denominators
            (github.com/JackYFL/EMMA_CoTEX_ABAW4, utils/loss.py).

    Returns:
        Scalar, float32 (float64 for float64 input). A column without a label adds exactly 0.
    """
    pred, target = full_precision(pred), full_precision(target)
    valid = ~torch.isnan(target)
    count = valid.sum(dim=-2, keepdim=True).to(pred.dtype)
    x = torch.where(valid, pred, 0)
    y = torch.where(valid, target, 0).to(pred.dtype)
    mean_x, mean_y = (divide(one.sum(dim=-2, keepdim=True), count) for one in (x, y))
    x, y = torch.where(valid, x - mean_x, 0), torch.where(valid, y - mean_y, 0)
    xx, yy, xy = ((one * other).sum(dim=-2, keepdim=True) for one, other in ((x, x), (y, y), (x, y)))
    bias = (mean_x - mean_y).square()
    ccc = _reference_ccc(xx, yy, xy, bias, count) if reference else divide(2 * xy, xx + yy + count * bias)
    windows = (count > 0).reshape(-1, count.shape[-1]).sum(dim=0)
    losses = torch.where(count > 0, 1 - ccc, 0).reshape(-1, count.shape[-1])
    return divide(losses.sum(dim=0), windows).sum()


def _reference_ccc(xx: Tensor, yy: Tensor, xy: Tensor, bias: Tensor, count: Tensor) -> Tensor:
    """Return the published code's CCC from centred sums of squares; for a single row, it and its gradient are 0."""
    tiny = torch.finfo(xx.dtype).tiny  # the square root's gradient at 0 would be infinite
    norm_x, norm_y = xx.clamp(min=tiny).sqrt(), yy.clamp(min=tiny).sqrt()
    rho = xy / (norm_x * norm_y + _REFERENCE_EPSILON)
    freedom = (count - 1).clamp(min=1)
    return 2 * rho * norm_x * norm_y / freedom / ((xx + yy) / freedom + bias + _REFERENCE_EPSILON)
