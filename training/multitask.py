"""What the methods share that learn valence/arousal, expression and action units jointly."""

from __future__ import annotations

from typing import Final, Literal, TypedDict

import torch
from torch import Tensor, nn

from affect.batch import Batch, Predictions
from affect.preprocessing import Preprocessing
from affect.ranges import Probability
from evaluators.metrics import AffectScores
from losses.multitask import multitask_losses
from training.module import AffectModule

PUBLISHED_POS_WEIGHT: Final = (
    7.1008924, 15.63964869, 5.47108051, 2.80360066, 1.5152332, 1.89083564,
    3.04637044, 34.04600245, 32.47861156, 36.76637801, 0.58118674, 11.1586486,
)  # fmt: skip
"""Weights of positive action units in EMMA's published code; not the ratio of the ABAW4 training rows."""


class LossOptions(TypedDict, total=False):
    """The keywords of ``MultiTaskModule``, which its subclasses hand on."""

    au_pos_weight: Literal["none", "published", "train"]
    expression_weight: Literal["none", "train"]
    au_reduction: Literal["mean_valid", "sum_batch"]
    reference_ccc: bool
    label_smoothing: Probability


class MultiTaskModule(AffectModule):
    """Base of EMMA and of the baselines: the joint loss and the predictions of one network.

    Args:
        network: takes (B, 3, H, W) uint8 images and gives ``affect.batch.AffectLogits``.
        scores: of the tasks that it has.
        preprocessing: how its images must be prepared.
        au_pos_weight: none (equation 2), ``published`` (the code) or ``train`` (negatives / positives of the
            training labels).
        expression_weight: none (equation 3), or ``train``: every class of the training labels counts as much.
        au_reduction: mean over valid labels (equation 2) or sum over valid labels / batch size (the code).
        reference_ccc: the published code's CCC (n - 1 standard deviations and an epsilon).
        label_smoothing: of the expression loss.
    """

    au_pos_weight: Tensor | None
    expression_weight: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        scores: AffectScores,
        preprocessing: Preprocessing,
        *,
        au_pos_weight: Literal["none", "published", "train"] = "none",
        expression_weight: Literal["none", "train"] = "none",
        au_reduction: Literal["mean_valid", "sum_batch"] = "mean_valid",
        reference_ccc: bool = False,
        label_smoothing: Probability = 0.0,
    ) -> None:
        super().__init__(scores, preprocessing)
        self.network = network
        self.au_reduction: Literal["mean_valid", "sum_batch"] = au_reduction
        self.au_weighting = au_pos_weight
        self.reference_ccc, self.label_smoothing = reference_ccc, label_smoothing
        published = torch.tensor(PUBLISHED_POS_WEIGHT) if au_pos_weight == "published" else None
        self.register_buffer("au_pos_weight", published, persistent=False)
        self.expression_weighting = expression_weight
        self.register_buffer("expression_weight", None, persistent=False)

    def setup(self, stage: str) -> None:
        if stage != "fit" or "train" not in (self.au_weighting, self.expression_weighting):
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        labels = data.frames("train").select(data.train_rows)
        if self.au_weighting == "train":
            self.au_pos_weight = torch.as_tensor(labels.positive_weights(), device=self.device)
        if self.expression_weighting == "train":
            weights = labels.class_weights(len(self.expressions))
            self.expression_weight = torch.as_tensor(weights, device=self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of equation 1 on one batch; each is 0 where its task has no valid label."""
        return multitask_losses(
            self.network(batch["image"]),
            batch,
            au_pos_weight=self.au_pos_weight,
            au_reduction=self.au_reduction,
            expression_weight=self.expression_weight,
            label_smoothing=self.label_smoothing,
            reference_ccc=self.reference_ccc,
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        losses = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.log_losses(total, losses, len(batch["row"]))
        return total

    def predict(self, batch: Batch) -> Predictions:
        output = self.network(batch["image"])
        predictions = Predictions()
        if output.valence_arousal is not None:
            predictions["valence_arousal"] = output.valence_arousal.clamp(-1, 1)
        if output.expression is not None:
            predictions["expression"] = output.expression.softmax(dim=1)
        if output.action_units is not None:
            predictions["action_units"] = output.action_units.sigmoid()
        return predictions
