"""EMMA as a LightningModule: the joint loss of equation 1 and one AdamW with a group per family of parameters."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

from affect.ranges import Count, NotNegative, Positive
from backbones.weights import same_preprocessing
from emma.network import EMMA
from evaluators.metrics import AffectScores
from training.multitask import LossOptions, MultiTaskModule
from training.optimisation import plain_groups, scaled_lr, vit_groups, warmup_cosine_scheduler


class EMMAModule(MultiTaskModule):
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
        compile: run the network through ``torch.compile``.
        **losses: see ``training.multitask.MultiTaskModule``.

    Raises:
        WeightsError: the ViT and the DAN want different image sizes or interpolations.
    """

    network: EMMA

    def __init__(
        self,
        network: EMMA,
        *,
        base_lr: Positive = 5e-4,
        batch_size: Count = 100,
        weight_decay: NotNegative = 0.05,
        layer_decay: Positive = 0.65,
        va_lr: NotNegative = 1e-4,
        min_lr: NotNegative = 1e-6,
        warmup_epochs: NotNegative = 5,
        epochs: Count = 30,
        compile: bool = False,
        **losses: Unpack[LossOptions],
    ) -> None:
        networks = [network.vit] if network.dan is None else [network.vit, network.dan]
        preprocessing = same_preprocessing(*networks)
        super().__init__(network, AffectScores(), preprocessing, **losses)
        self.base_lr, self.batch_size = base_lr, batch_size
        self.weight_decay, self.layer_decay, self.va_lr = weight_decay, layer_decay, va_lr
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
