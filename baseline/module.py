"""The baselines as a LightningModule: the same losses and scores as the methods that they stand beside."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]

from affect.ranges import Count, NotNegative, Positive
from baseline.network import Baseline
from evaluators.metrics import AffectScores
from training.multitask import LossOptions, MultiTaskModule
from training.optimisation import plain_groups, scaled_lr, warmup_cosine_scheduler


class BaselineModule(MultiTaskModule):
    """Trains a row of Table 1 or 2 of the EMMA paper.

    Args:
        network: the network.
        base_lr: per 256 samples; scaled by batch, accumulation and devices.
        batch_size: per device and step, as the datamodule has it.
        weight_decay: of matrices.
        layer_decay: factor of the learning rate per layer of the backbone, from the head down.
        min_lr: last value of the schedule.
        warmup_epochs: linear warm-up.
        epochs: length of the schedule.
        compile: run the network through ``torch.compile``.
        **losses: see ``training.multitask.MultiTaskModule``.
    """

    network: Baseline

    def __init__(
        self,
        network: Baseline,
        *,
        base_lr: Positive = 5e-4,
        batch_size: Count = 100,
        weight_decay: NotNegative = 0.05,
        layer_decay: Positive = 1.0,
        min_lr: NotNegative = 1e-6,
        warmup_epochs: NotNegative = 5,
        epochs: Count = 30,
        compile: bool = False,
        **losses: Unpack[LossOptions],
    ) -> None:
        scores = AffectScores(tasks=tuple(network.sizes), expressions=network.expressions)
        super().__init__(network, scores, network.preprocessing, **losses)
        self.base_lr, self.batch_size = base_lr, batch_size
        self.weight_decay, self.layer_decay = weight_decay, layer_decay
        self.min_lr, self.warmup_epochs, self.epochs = min_lr, warmup_epochs, epochs
        if compile:
            network.compile()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        lr = scaled_lr(
            self.base_lr,
            batch_size=self.batch_size,
            accumulation=self.trainer.accumulate_grad_batches,
            devices=self.trainer.world_size,
        )
        groups: list[dict[str, Any]] = plain_groups(self.network.head, "head", lr=lr, weight_decay=self.weight_decay)
        if not self.network.frozen:
            backbone: Any = self.network.backbone
            undecayed = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else ()
            for number, group in enumerate(
                param_groups_layer_decay(backbone, self.weight_decay, undecayed, layer_decay=self.layer_decay)
            ):
                # timm only writes the factor down; torch's optimisers do not look at it
                groups.append({**group, "name": f"backbone{number}", "lr": lr * group["lr_scale"]})
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999))
        scheduler = warmup_cosine_scheduler(
            optimizer,
            lr=lr,
            min_lr=self.min_lr,
            warmup_epochs=self.warmup_epochs,
            epochs=self.epochs,
            total_steps=int(self.trainer.estimated_stepping_batches),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def exports(self) -> dict[str, dict[str, Any]]:
        return {"backbone.pth": {"state_dict": self.network.backbone.state_dict()}}
