"""Compute the joint loss of valence/arousal, expression and action units, for networks that predict some of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from affect.batch import AffectLogits, Batch
from affect.frames import FloatArray, Frames
from affect.labels import AU_NAMES
from affect.settings import NotNegative, Probability, buildable
from losses.ccc import ccc_loss
from losses.partial import au_loss, expression_loss

PUBLISHED_POS_WEIGHT: Final = (
    7.1008924, 15.63964869, 5.47108051, 2.80360066, 1.5152332, 1.89083564,
    3.04637044, 34.04600245, 32.47861156, 36.76637801, 0.58118674, 11.1586486,
)  # fmt: skip
"""Weights of positive action units in the published codes of EMMA and of EmotionNet.

They count the uni-task labels of ABAW3; they are not the ratios of the ABAW4 training rows.
"""

PUBLISHED_EXPRESSION_WEIGHT: Final = (1.0517, 11.9966, 17.3346, 15.5712, 2.1438, 2.5946, 6.4138, 1.0)
"""Weights of ABAW's expressions in EmotionNet's published code: those of ABAW3's uni-task labels."""

_log = logging.getLogger(__name__)


@buildable("model")
class MultiTaskLoss(nn.Module):
    """Computes the losses that equation 1 of the EMMA paper adds up, with the weights of other methods as options.

    Args:
        au_pos_weight: weight of positive action units: ``none`` (equation 2), ``published`` (EMMA's and EmotionNet's
            code), ``train`` (negatives / positives of the training labels), or ``balanced`` (N / (2 N_positive), and
            N / (2 N_negative) for negative ones).
        au_reduction: ``mean_valid``: mean over the valid labels (equation 2); ``sum_batch``: their sum / batch size
            (EMMA's code).
        expression_weight: weight of each class: ``none`` (equation 3), ``published`` (EmotionNet's code), ``train``
            (n / (C n_c) of the training labels, so that all classes count the same; 1 for a class without a row), or
            ``relative`` (n_max / max(n_c, 1)).
        expression_reduction: ``mean_weight`` divides by the sum of the rows' weights; ``mean_valid`` divides by the
            number of rows, and the weights of ``train`` by the smallest one, so that they are n_max / n_c.
        label_smoothing: label smoothing of the expression loss.
        focal_gamma: gamma of the focal expression loss; 0 for the plain cross entropy.
        reference_ccc: use the CCC of EMMA's code (n - 1 standard deviations and an epsilon).
        va_weight: factor of the loss of valence and arousal.
    """

    au_pos_weight: Tensor | None
    au_neg_weight: Tensor | None
    expression_weight: Tensor | None

    def __init__(
        self,
        *,
        au_pos_weight: Literal["none", "published", "train", "balanced"] = "none",
        au_reduction: Literal["mean_valid", "sum_batch"] = "mean_valid",
        expression_weight: Literal["none", "published", "train", "relative"] = "none",
        expression_reduction: Literal["mean_weight", "mean_valid"] = "mean_weight",
        label_smoothing: Probability = 0.0,
        focal_gamma: NotNegative = 0.0,
        reference_ccc: bool = False,
        va_weight: NotNegative = 1.0,
    ) -> None:
        super().__init__()
        self.au_weighting, self.expression_weighting = au_pos_weight, expression_weight
        self.au_reduction: Literal["mean_valid", "sum_batch"] = au_reduction
        self.expression_reduction: Literal["mean_weight", "mean_valid"] = expression_reduction
        self.label_smoothing, self.reference_ccc, self.va_weight = label_smoothing, reference_ccc, va_weight
        self.focal_gamma = focal_gamma
        published = torch.tensor(PUBLISHED_POS_WEIGHT) if au_pos_weight == "published" else None
        self.register_buffer("au_pos_weight", published, persistent=False)
        self.register_buffer("au_neg_weight", None, persistent=False)
        expression = torch.tensor(PUBLISHED_EXPRESSION_WEIGHT) if expression_weight == "published" else None
        self.register_buffer("expression_weight", expression, persistent=False)

    @property
    def counts_labels(self) -> bool:
        """Return whether a weight comes from the training labels."""
        return self.au_weighting in ("train", "balanced") or self.expression_weighting in ("train", "relative")

    def count(self, labels: Frames, tasks: Sequence[str], *, classes: int, device: torch.device) -> None:
        """Compute the weights that come from the training labels.

        Args:
            labels: the training labels.
            tasks: the tasks of the network; labels of other tasks are not used.
            classes: number of expressions.
            device: device for the weights.
        """

        def on_device(weights: np.ndarray) -> Tensor:  # type: ignore[type-arg]
            return torch.as_tensor(weights, dtype=torch.float32, device=device)

        if "action_units" in tasks and self.au_weighting == "train":
            self.au_pos_weight = on_device(labels.positive_weights())
        if "action_units" in tasks and self.au_weighting == "balanced":
            self.au_neg_weight, self.au_pos_weight = map(on_device, balanced_weights(labels.action_units))
        if "expression" in tasks and self.expression_weighting == "train":
            weights = labels.class_weights(classes)
            self.expression_weight = on_device(
                weights / weights.min() if self.expression_reduction == "mean_valid" else weights
            )
        if "expression" in tasks and self.expression_weighting == "relative":
            counts = labels.class_counts(classes)
            self.expression_weight = on_device(counts.max(initial=1) / np.maximum(counts, 1))

    def forward(self, output: AffectLogits, batch: Batch) -> dict[str, Tensor]:
        """Return a scalar for each task that the network has; 0 where the task has no valid label in the batch."""
        losses: dict[str, Tensor] = {}
        if output.action_units is not None:
            losses["action_units"] = au_loss(
                output.action_units,
                batch["action_units"],
                pos_weight=self.au_pos_weight,
                neg_weight=self.au_neg_weight,
                reduction=self.au_reduction,
            )
        if output.expression is not None:
            losses["expression"] = expression_loss(
                output.expression,
                batch["expression"],
                weight=self.expression_weight,
                label_smoothing=self.label_smoothing,
                reduction=self.expression_reduction,
                gamma=self.focal_gamma,
            )
        if output.valence_arousal is not None:
            va_loss = ccc_loss(output.valence_arousal, batch["valence_arousal"], reference=self.reference_ccc)
            losses["valence_arousal"] = va_loss * self.va_weight
        return losses


def balanced_weights(labels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return N / (2 N_negative) and N / (2 N_positive) of each action unit, (12,) each.

    A unit that is always or never present gets 1 and 1, and the log warns that nothing can be learnt of it.

    Args:
        labels: (N, 12) 0 or 1, NaN where missing.
    """
    positive, known = np.nansum(labels, axis=0), (~np.isnan(labels)).sum(axis=0)
    negative = known - positive
    both = (positive > 0) & (negative > 0)
    if not both.all():
        lacking = ", ".join(AU_NAMES[unit] for unit in np.flatnonzero(~both))
        _log.warning("training has only one kind of label of %s: nothing can be learnt of it", lacking)
    return (
        np.where(both, known / (2 * np.maximum(negative, 1)), 1.0),
        np.where(both, known / (2 * np.maximum(positive, 1)), 1.0),
    )
