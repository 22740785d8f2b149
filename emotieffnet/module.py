"""EmotiEffNet as a LightningModule: the backbone that the heads look through, trained on AffectNet-like faces."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from affect.batch import Batch
from affect.errors import ConfigError
from affect.ranges import Positive, Whole
from emotieffnet.network import EmotiEffNet
from evaluators.metrics import AffectScores
from training.multitask import MultiTaskModule
from training.sam import has_climbed, with_sam


class EmotiEffNetModule(MultiTaskModule):
    """Trains EmotiEffNet, or MT-EmotiEffNet where the network gives valence and arousal.

    The loss is the cross entropy of the expressions + (1 − CCC_V) / 2 + (1 − CCC_A) / 2. First the classifier alone is
    trained, then all layers; SAM around Adam, without a schedule. Labels and predictions are in AffectNet's own
    numbering, the first ``network.classes`` of it.

    Args:
        network: the network.
        lr: Adam's learning rate once all layers are trained.
        head_lr: its rate of the classifier as long as that is trained alone.
        head_epochs: how long that is.
        sam_rho: see ``training.sam.SAM``; None: Adam by itself.
        expression_weight: none, or ``train``: every class of the training labels counts as much.
        compile: run the network through ``torch.compile``.

    Raises:
        ConfigError: the network has no classes.
    """

    network: EmotiEffNet

    def __init__(
        self,
        network: EmotiEffNet,
        *,
        lr: Positive = 1e-4,
        head_lr: Positive = 1e-3,
        head_epochs: Whole = 3,
        sam_rho: Positive | None = 0.05,
        expression_weight: Literal["none", "train"] = "train",
        compile: bool = False,
    ) -> None:
        if network.classifier is None:
            raise ConfigError(["model.network.classes=null: there is nothing to learn without classes; give 7 or 8"])
        tasks = ("expression", "valence_arousal") if network.valence_arousal else ("expression",)
        scores = AffectScores(tasks=tasks, expressions=network.expressions)
        super().__init__(network, scores, network.preprocessing, expression_weight=expression_weight)
        self.lr, self.head_lr, self.head_epochs, self.sam_rho = lr, head_lr, head_epochs, sam_rho
        if compile:
            network.compile()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        losses = super().losses(batch)
        if "valence_arousal" in losses:
            losses["valence_arousal"] = losses["valence_arousal"] / 2
        return losses

    def on_train_epoch_start(self) -> None:
        self.network.freeze(self.current_epoch < self.head_epochs)

    def log_losses(self, total: Tensor, parts: dict[str, Tensor], batch_size: int) -> None:
        if not has_climbed(self):
            super().log_losses(total, parts, batch_size)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        self._check_strategy()
        assert self.network.classifier is not None
        groups = [
            {"params": list(self.network.backbone.parameters()), "name": "backbone"},
            {"params": list(self.network.classifier.parameters()), "name": "classifier"},
        ]
        optimizer = with_sam(torch.optim.Adam(groups, lr=1.0), self.sam_rho, self.trainer)

        def classifier(epoch: int) -> float:
            return self.head_lr if epoch < self.head_epochs else self.lr

        # a frozen backbone has no gradients: Adam leaves it alone, whatever its rate
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda _: self.lr, classifier])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def _check_strategy(self) -> None:
        """DDP waits for the gradient of every parameter, unless it is told that some have none."""
        model = self.trainer.strategy.model
        if self.head_epochs > 0 and isinstance(model, DistributedDataParallel) and not model.find_unused_parameters:
            raise ConfigError(
                [
                    f"model.head_epochs={self.head_epochs}: the frozen backbone has no gradients that processes could "
                    "share; give +trainer.strategy.find_unused_parameters=true, or model.head_epochs=0"
                ]
            )

    def exports(self) -> dict[str, dict[str, Any]]:
        """The whole network under the names of timm's EfficientNets, and of the published files."""
        assert self.network.classifier is not None
        state = dict(self.network.backbone.state_dict())
        state |= {f"classifier.{name}": tensor for name, tensor in self.network.classifier.state_dict().items()}
        return {"emotieffnet.pth": {"state_dict": state}}
