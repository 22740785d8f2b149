"""The LightningModule of masked CoTEX: each view gets its own mask, and the loss makes the views agree (eq. 5)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from affect.batch import Batch, Predictions
from affect.errors import ConfigError
from affect.settings import Count, Dropped, NotNegative, buildable
from backbones.masks import kept_patches
from cotex.network import CoTEX
from losses.divergence import cotex_loss, js_divergence
from training.module import AffectModule
from training.optimisation import AdamW, Groups, plain_groups, vit_groups


@buildable("model")
class CoTEXModule(AffectModule):
    """Trains masked CoTEX (Li et al. 2022, section 3.3 and Table 3).

    Besides the scores it logs, per epoch and split, ``js`` (equation 6, in nats) and ``agreement``, the share of faces
    for which all views predict the same class. They show whether the views have collapsed or drifted apart.

    Args:
        network: the network to train.
        mask_ratio: share of the patches that each view does not see in training; in evaluation it sees all of them.
        js_weight: lambda of equation 5; 0 trains the views independently.
        reference_js: use the published code's form of the loss, which goes with a ``js_weight`` of 100.
        repeats: number of masks drawn for each loaded batch (``repeat_count`` of the published code); their losses are
            averaged.
        average: how the views become one prediction: by the mean of their ``probabilities``, or by the softmax of the
            sum of their ``logits`` (the published code).
        seed: seed of the masks.
        **options: keywords of ``AffectModule``.

    Raises:
        ConfigError: the mask ratio leaves no patch.
    """

    network: CoTEX
    optimiser: AdamW
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
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        patches = network.num_patches
        if not 0 <= mask_ratio < 1 or int(patches * (1 - mask_ratio)) < 1:
            raise ConfigError(
                [f"model.mask_ratio={mask_ratio} leaves none of the {patches} patches: at most {1 - 1 / patches:.4g}"]
            )
        self.mask_ratio, self.repeats, self.seed = mask_ratio, repeats, seed
        self.js_weight, self.reference_js = js_weight, reference_js
        self.average: Literal["probabilities", "logits"] = average
        views = len(network.backbones)
        self.tables = ("", *(f"view{view + 1}" for view in range(views))) if views > 1 else ("",)

    def masks(self, rows: Tensor, repeat: int) -> list[Tensor] | None:
        """Return the patches that each view keeps of these rows in this epoch; None at ratio 0, which keeps all."""
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

    def parameter_groups(self, lr: float) -> Groups:
        groups: Groups = []
        decay, layer_decay = self.optimiser.weight_decay, self.optimiser.layer_decay
        for view, (vit, head) in enumerate(zip(self.network.backbones, self.network.heads, strict=True), start=1):
            for group in [
                *vit_groups(vit, lr=lr, weight_decay=decay, layer_decay=layer_decay),
                *plain_groups(head, "head", lr=lr, weight_decay=decay),
            ]:
                groups.append({**group, "name": f"view{view}_{group['name']}"})
        return groups


def agreement(views: list[Tensor]) -> Tensor:
    """Return the share of rows to which all (B, C) views give the same class; 1 for one view, or without rows."""
    classes = torch.stack([view.argmax(dim=1) for view in views])
    same = (classes == classes[0]).all(dim=0).float()
    return same.mean() if len(same) else same.new_ones(())
