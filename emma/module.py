"""EMMA as a LightningModule: the joint loss of equation 1 and one AdamW with a group per family of parameters."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from backbones.weights import WeightsError
from datamodules.labels import Batch
from emma.network import EMMA
from evaluators.metrics import AffectScores, Predictions
from losses.ccc import ccc_loss
from losses.partial import au_loss, expression_loss
from training.module import AffectModule
from training.optimisation import plain_groups, scaled_lr, vit_groups, warmup_cosine_scheduler

PUBLISHED_POS_WEIGHT = (
    7.1008924, 15.63964869, 5.47108051, 2.80360066, 1.5152332, 1.89083564,
    3.04637044, 34.04600245, 32.47861156, 36.76637801, 0.58118674, 11.1586486,
)  # fmt: skip
"""Weights of positive action units in the published code; not the ratio of the ABAW4 training rows."""


class EMMAModule(AffectModule):
    """Trains EMMA (Li et al. 2022, section 3.2 and Table 3).

    Args:
        network: the network.
        base_lr: of the ViT per 256 samples; scaled by batch, accumulation and devices.
        batch_size: per device and step, as the datamodule has it.
        weight_decay: of the ViT's matrices.
        layer_decay: factor of the learning rate per ViT layer.
        va_lr: constant learning rate of the valence/arousal head, which is not decayed (the code's Adam).
        min_lr: last value of the schedule.
        warmup_epochs: linear warm-up.
        epochs: length of the schedule.
        au_pos_weight: none (equation 2), ``published`` (the code) or ``train`` (negatives / positives of the
            training labels).
        expression_weight: none (equation 3), or ``train``: every class of the training labels counts as much.
        au_reduction: mean over valid labels (equation 2) or sum over valid labels / batch size (the code).
        reference_ccc: the published code's CCC (n - 1 standard deviations and an epsilon).
        label_smoothing: of the expression loss.
        compile: run the network through ``torch.compile``.

    Raises:
        WeightsError: the ViT and the DAN want different image sizes or interpolations.
    """

    au_pos_weight: Tensor | None
    expression_weight: Tensor | None

    def __init__(
        self,
        network: EMMA,
        *,
        base_lr: float = 5e-4,
        batch_size: int = 100,
        weight_decay: float = 0.05,
        layer_decay: float = 0.65,
        va_lr: float = 1e-4,
        min_lr: float = 1e-6,
        warmup_epochs: float = 5,
        epochs: int = 30,
        au_pos_weight: Literal["none", "published", "train"] = "none",
        expression_weight: Literal["none", "train"] = "none",
        au_reduction: Literal["mean_valid", "sum_batch"] = "mean_valid",
        reference_ccc: bool = False,
        label_smoothing: float = 0.0,
        compile: bool = False,
    ) -> None:
        preprocessing, dan = network.vit.preprocessing, network.dan
        if dan is not None and (dan.preprocessing.image_size, dan.preprocessing.interpolation) != (
            preprocessing.image_size,
            preprocessing.interpolation,
        ):
            raise WeightsError(
                "ViT and DAN see the same images, but their weights want them differently: "
                f"{preprocessing.image_size} px {preprocessing.interpolation}, and "
                f"{dan.preprocessing.image_size} px {dan.preprocessing.interpolation}"
            )
        super().__init__(AffectScores(), preprocessing)
        self.network = network
        self.base_lr, self.batch_size = base_lr, batch_size
        self.weight_decay, self.layer_decay, self.va_lr = weight_decay, layer_decay, va_lr
        self.min_lr, self.warmup_epochs, self.epochs = min_lr, warmup_epochs, epochs
        self.au_reduction: Literal["mean_valid", "sum_batch"] = au_reduction
        self.au_weighting = au_pos_weight
        self.reference_ccc, self.label_smoothing = reference_ccc, label_smoothing
        published = torch.tensor(PUBLISHED_POS_WEIGHT) if au_pos_weight == "published" else None
        self.register_buffer("au_pos_weight", published, persistent=False)
        self.expression_weighting = expression_weight
        self.register_buffer("expression_weight", None, persistent=False)
        if compile:
            network.compile()

    def setup(self, stage: str) -> None:
        if stage != "fit" or "train" not in (self.au_weighting, self.expression_weighting):
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        labels = data.frames("train").select(data.train_rows)
        if self.au_weighting == "train":
            self.au_pos_weight = torch.as_tensor(labels.positive_weights(), device=self.device)
        if self.expression_weighting == "train":
            self.expression_weight = torch.as_tensor(labels.class_weights(), device=self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The three losses of equation 1 on one batch; each is 0 where its task has no valid label."""
        output = self.network(batch["image"])
        return {
            "action_units": au_loss(
                output.action_units, batch["action_units"], pos_weight=self.au_pos_weight, reduction=self.au_reduction
            ),
            "expression": expression_loss(
                output.expression,
                batch["expression"],
                weight=self.expression_weight,
                label_smoothing=self.label_smoothing,
            ),
            "valence_arousal": ccc_loss(output.valence_arousal, batch["valence_arousal"], reference=self.reference_ccc),
        }

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        losses = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.log_losses(total, losses, len(batch["row"]))
        return total

    def predict(self, batch: Batch) -> Predictions:
        output = self.network(batch["image"])
        return Predictions(
            valence_arousal=output.valence_arousal.clamp(-1, 1),
            expression=output.expression.softmax(dim=1),
            action_units=output.action_units.sigmoid(),
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        lr = scaled_lr(
            self.base_lr,
            batch_size=self.batch_size,
            accumulation=self.trainer.accumulate_grad_batches,
            devices=self.trainer.world_size,
        )
        network = self.network
        groups: list[dict[str, Any]] = vit_groups(
            network.vit, lr=lr, weight_decay=self.weight_decay, layer_decay=self.layer_decay
        )
        groups += plain_groups(network.head, "head", lr=lr, weight_decay=self.weight_decay)
        if network.dan is not None:
            groups += plain_groups(network.va_head, "va_head", lr=self.va_lr, weight_decay=0.0)
        optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999))
        scheduler = warmup_cosine_scheduler(
            optimizer,
            lr=lr,
            min_lr=self.min_lr,
            warmup_epochs=self.warmup_epochs,
            epochs=self.epochs,
            total_steps=int(self.trainer.estimated_stepping_batches),
            constant=["va_head"],
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
