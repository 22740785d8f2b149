"""Compute the losses of the two classification tasks, for batches in which labels are missing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from losses.precision import divide, full_precision


def au_loss(
    logits: Tensor,
    target: Tensor,
    *,
    pos_weight: Tensor | None = None,
    neg_weight: Tensor | None = None,
    reduction: Literal["mean_valid", "sum_batch"] = "mean_valid",
) -> Tensor:
    """Return the binary cross entropy over the labelled action units (EMMA paper, equation 2).

    Args:
        logits: (B, U).
        target: (B, U) 0 or 1, NaN where missing.
        pos_weight: (U,) factor of each unit's positive term: usually negatives / positives of the training labels.
        neg_weight: (U,) factor of each unit's negative term.
        reduction: ``mean_valid`` divides the sum by the number of labelled values, ``sum_batch`` by the batch size B
            (the published code).

    Returns:
        Scalar, float32 or better; exactly 0 without a label.

    Raises:
        ValueError: the reduction is unknown.
    """
    logits = full_precision(logits)
    valid = ~torch.isnan(target)
    truth = torch.where(valid, target, 0).to(logits.dtype)
    weight = None if pos_weight is None else pos_weight.to(logits)
    values = F.binary_cross_entropy_with_logits(logits, truth, pos_weight=weight, reduction="none")
    if neg_weight is not None:
        values = torch.where(truth == 0, values * neg_weight.to(logits), values)
    total = torch.where(valid, values, 0).sum()
    if reduction == "mean_valid":
        return divide(total, valid.sum())
    if reduction == "sum_batch":
        return total / max(len(logits), 1)
    raise ValueError(f"au_loss reduction={reduction!r}: choose 'mean_valid' or 'sum_batch'")


def expression_loss(
    logits: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    reduction: Literal["mean_weight", "mean_valid"] = "mean_weight",
    gamma: float = 0.0,
) -> Tensor:
    """Return the cross entropy over the labelled rows (EMMA paper, equation 3).

    Args:
        logits: (B, C).
        target: (B,) int64 class index, -1 where missing.
        weight: (C,) factor of each class.
        label_smoothing: probability mass in [0, 1) spread evenly over the classes, each with its factor.
        reduction: ``mean_weight`` divides by the sum of the rows' factors, as ``torch.nn.CrossEntropyLoss`` does;
            ``mean_valid`` by the number of labelled rows, as Keras' class weights do.
        gamma: each row's entropy is multiplied by ``(1 - p) ** gamma``, where p is the probability of its true class
            (focal loss, Lin et al. 2017, arXiv:1708.02002); 0 for the plain one.

    Returns:
        Scalar, float32 or better; exactly 0 without a label.
    """
    logits = full_precision(logits)
    weight = None if weight is None else weight.to(logits)
    apart = "none" if gamma else "sum"
    entropy = F.cross_entropy(
        logits, target, weight=weight, ignore_index=-1, reduction=apart, label_smoothing=label_smoothing
    )
    valid = target >= 0
    if gamma:
        truth = logits.softmax(dim=1).gather(1, target.clamp(min=0)[:, None])[:, 0]
        # where the class is certain, (1 - p) ** gamma has no gradient for gamma < 1
        entropy = entropy * (1 - truth).clamp(min=torch.finfo(truth.dtype).tiny) ** gamma
    total = entropy.sum()
    if weight is None or reduction == "mean_valid":
        return divide(total, valid.sum())
    count = torch.where(valid, weight[target.clamp(min=0)], 0).sum()
    return divide(total, count)
