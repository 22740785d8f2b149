"""Masked CoTEX as a LightningModule: each view gets a mask of its own, and the views are held together (eq. 5)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from affect.batch import Batch, Predictions
from affect.errors import ConfigError
from affect.labels import LSD_EXPRESSIONS
from affect.ranges import Count, Dropped, NotNegative, Positive
from backbones.masks import kept_patches
from cotex.network import CoTEX
from evaluators.metrics import AffectScores
from losses.divergence import cotex_loss, js_divergence
from training.module import AffectModule
from training.optimisation import plain_groups, scaled_lr, vit_groups, warmup_cosine_scheduler


class CoTEXModule(AffectModule):
    """Trains masked CoTEX (Li et al. 2022, section 3.3 and Table 3).

    Beside the scores it logs, per epoch and split, ``js`` (equation 6, nats) and ``agreement``, the share of faces
    that all views give the same class: co-training that has collapsed or come apart shows there.

    Args:
        network: the network.
        mask_ratio: share of the patches that each view does not see in training; evaluation shows all.
        js_weight: lambda of equation 5; 0 trains the views apart.
        reference_js: the published code's form of the loss, with a ``js_weight`` of 100.
        repeats: masks drawn for each loaded batch (``repeat_count`` of the published code); their losses are averaged.
        average: how views become one prediction: the mean of ``probabilities``, or softmax of the sum of ``logits``
            (the published code).
        lr: of the topmost layer.
        scale_lr: scale ``lr`` by batch, accumulation and devices / 256; the published code does not.
        batch_size: per device and step, as the datamodule has it.
        weight_decay: of matrices.
        layer_decay: factor of the learning rate per ViT layer.
        min_lr: last value of the schedule.
        warmup_epochs: linear warm-up.
        epochs: length of the schedule.
        seed: of the masks.
        compile: run the network through ``torch.compile``.

    Raises:
        ConfigError: the mask ratio leaves no patch.
    """

    network: CoTEX
    augments = True

    def __init__(
        self,
        network: CoTEX,
        *,
        mask_ratio: Dropped = 0.75,
        js_weight: NotNegative = 100 / 3,
        reference_js: bool = False,
        repeats: Count = 1,
        average: Literal["probabilities", "logits"] = "probabilities",
        lr: Positive = 5e-4,
        scale_lr: bool = False,
        batch_size: Count = 256,
        weight_decay: NotNegative = 0.15,
        layer_decay: Positive = 0.65,
        min_lr: NotNegative = 1e-6,
        warmup_epochs: NotNegative = 5,
        epochs: Count = 6,
        seed: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__(AffectScores(tasks=("expression",), expressions=LSD_EXPRESSIONS), network.preprocessing)
        patches = network.num_patches
        if not 0 <= mask_ratio < 1 or int(patches * (1 - mask_ratio)) < 1:
            raise ConfigError(
                [f"model.mask_ratio={mask_ratio} leaves none of the {patches} patches: at most {1 - 1 / patches:.4g}"]
            )
        self.network = network
        self.mask_ratio, self.repeats, self.seed = mask_ratio, repeats, seed
        self.js_weight, self.reference_js = js_weight, reference_js
        self.average: Literal["probabilities", "logits"] = average
        self.lr, self.scale_lr, self.batch_size = lr, scale_lr, batch_size
        self.weight_decay, self.layer_decay = weight_decay, layer_decay
        self.min_lr, self.warmup_epochs, self.epochs = min_lr, warmup_epochs, epochs
        views = len(network.backbones)
        self.tables = ("", *(f"view{view + 1}" for view in range(views))) if views > 1 else ("",)
        if compile:
            network.compile()

    def masks(self, rows: Tensor, repeat: int) -> list[Tensor] | None:
        """Patches that each view keeps of these rows in this epoch; None at ratio 0, where it is all of them."""
        if self.mask_ratio == 0:
            return None
        return [
            kept_patches(
                rows,
                patches=self.network.num_patches,
                ratio=self.mask_ratio,
                seed=self.seed,
                epoch=self.current_epoch,
                view=view,
                repeat=repeat,
            )
            for view in range(len(self.network.backbones))
        ]

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        target, totals, divergences, agreements = batch["expression"], [], [], []
        for repeat in range(self.repeats):
            logits = self.network(batch["image"], self.masks(batch["row"], repeat), batch.get("augmentation"))
            totals.append(cotex_loss(logits, target, js_weight=self.js_weight, reference=self.reference_js))
            with torch.no_grad():
                views = [view.float().softmax(dim=1) for view in logits]
                divergences.append(js_divergence(views))
                agreements.append(agreement(views))
        total = torch.stack(totals).mean()
        self.log_losses(
            total,
            {"js": torch.stack(divergences).mean(), "agreement": torch.stack(agreements).mean()},
            len(target),
        )
        return total

    def predict_tables(self, batch: Batch) -> dict[str, Predictions]:
        logits = self.network(batch["image"])
        views = [view.softmax(dim=1) for view in logits]
        mean = torch.stack(views).mean(dim=0) if self.average == "probabilities" else sum(logits).softmax(dim=1)
        values = [mean, *views] if len(views) > 1 else [mean]
        return {name: Predictions(expression=value) for name, value in zip(self.tables, values, strict=True)}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        predicted = self.predict_float32(batch)
        self.scores.update(predicted[""], batch)
        views = [table["expression"] for name, table in predicted.items() if name]
        if views:
            values = {"val/js": js_divergence(views), "val/agreement": agreement(views)}
            self.log_dict(values, on_step=False, on_epoch=True, batch_size=len(batch["row"]), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        lr = self.lr
        if self.scale_lr:
            lr = scaled_lr(
                self.lr,
                batch_size=self.batch_size,
                accumulation=self.trainer.accumulate_grad_batches,
                devices=self.trainer.world_size,
            )
        groups: list[dict[str, Any]] = []
        for view, (vit, head) in enumerate(zip(self.network.backbones, self.network.heads, strict=True), start=1):
            for group in [
                *vit_groups(vit, lr=lr, weight_decay=self.weight_decay, layer_decay=self.layer_decay),
                *plain_groups(head, "head", lr=lr, weight_decay=self.weight_decay),
            ]:
                groups.append({**group, "name": f"view{view}_{group['name']}"})
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


def agreement(views: list[Tensor]) -> Tensor:
    """Share of the rows that all (B, C) views give the same class; 1 for a single view, or without a row."""
    classes = torch.stack([view.argmax(dim=1) for view in views])
    same = (classes == classes[0]).all(dim=0).float()
    return same.mean() if len(same) else same.new_ones(())
