"""The whole network fine-tuned on expression frames of Aff-Wild2, as a LightningModule."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from affect.batch import Batch, Predictions
from affect.labels import EXPRESSIONS
from affect.ranges import Positive, Probability
from emotieffnet.network import FineTunedNet
from evaluators.metrics import AffectScores
from losses.partial import expression_loss
from training.multitask import MultiTaskModule
from training.sam import has_climbed, with_sam


class FineTuneModule(MultiTaskModule):
    """Trains all layers on the eight expressions: SAM around Adam, without decay and without a schedule.

    The loss is the mean over the rows of ``sum_c w_c q_c (−log p_c)``: q is the smoothed label, w_c = N_max / N_c of
    the training labels (the published code; the paper does not tell).

    Args:
        network: the network.
        lr: Adam's learning rate.
        sam_rho: see ``training.sam.SAM``; None: Adam by itself.
        expression_weight: ``train``: as above; none: every w_c is 1.
        label_smoothing: probability mass spread evenly over the classes.
        compile: run the network through ``torch.compile``.
    """

    network: FineTunedNet

    def __init__(
        self,
        network: FineTunedNet,
        *,
        lr: Positive = 1e-4,
        sam_rho: Positive | None = 0.05,
        expression_weight: Literal["none", "train"] = "train",
        label_smoothing: Probability = 0.1,
        compile: bool = False,
    ) -> None:
        super().__init__(
            network,
            AffectScores(tasks=("expression",), expressions=EXPRESSIONS),
            network.preprocessing,
            expression_weight=expression_weight,
            label_smoothing=label_smoothing,
        )
        self.lr, self.sam_rho = lr, sam_rho
        if compile:
            network.compile()

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit" and self.expression_weight is not None:
            # n / (C n_c) is least for the most frequent class: what is left is N_max / N_c
            self.expression_weight = self.expression_weight / self.expression_weight.min()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.network(batch["image"]).expression
        loss = expression_loss(
            logits,
            batch["expression"],
            weight=self.expression_weight,
            label_smoothing=self.label_smoothing,
            reduction="mean_valid",
        )
        return {"expression": loss}

    def predict(self, batch: Batch) -> Predictions:
        logits = self.network(batch["image"]).expression
        return Predictions(expression=logits.softmax(dim=1), logits_expression=logits)  # which published blends add up

    def log_losses(self, total: Tensor, parts: dict[str, Tensor], batch_size: int) -> None:
        if not has_climbed(self):
            super().log_losses(total, parts, batch_size)

    def configure_optimizers(self) -> Optimizer:
        return with_sam(torch.optim.Adam(self.parameters(), lr=self.lr), self.sam_rho, self.trainer)
