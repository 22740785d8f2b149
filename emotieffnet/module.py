"""The LightningModule of EmotiEffNet, which trains the backbone for the heads on AffectNet-like faces."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch.nn.parallel import DistributedDataParallel

from affect.errors import ConfigError
from affect.settings import Positive, Whole, buildable
from emotieffnet.network import EmotiEffNet
from training.multitask import MultiTaskModule
from training.optimisation import Adam, fused
from training.sam import with_sam


@buildable("model")
class EmotiEffNetModule(MultiTaskModule):
    """Trains EmotiEffNet, or MT-EmotiEffNet if the network predicts valence and arousal.

    It first trains the classifier alone, then all layers. Labels and predictions are the first ``network.classes``
    expressions in AffectNet's own order.

    Args:
        network: the network to train.
        head_lr: learning rate of the classifier while it is trained alone.
        head_epochs: number of epochs in which it is trained alone.
        **options: keywords of ``MultiTaskModule``. The published ``loss`` has ``va_weight`` 0.5: it adds
            (1 − CCC_V) / 2 + (1 − CCC_A) / 2. The rate of ``optimiser``, at which all layers are trained, does not
            fall.

    Raises:
        ConfigError: the network has no classes.
    """

    network: EmotiEffNet
    optimiser: Adam

    def __init__(
        self, network: EmotiEffNet, *, head_lr: Positive = 1e-3, head_epochs: Whole = 3, **options: Any
    ) -> None:
        if network.classifier is None:
            raise ConfigError(["model.network.classes=null: there is nothing to learn without classes; give 7 or 8"])
        super().__init__(network, **options)
        self.head_lr, self.head_epochs = head_lr, head_epochs

    def on_train_epoch_start(self) -> None:
        self.network.freeze(self.current_epoch < self.head_epochs)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        self._check_strategy()
        assert self.network.classifier is not None
        groups = [
            {"params": list(self.network.backbone.parameters()), "name": "backbone"},
            {"params": list(self.network.classifier.parameters()), "name": "classifier"},
        ]
        optimizer = with_sam(fused(torch.optim.Adam, groups, lr=1.0), self.optimiser.sam_rho, self.trainer)

        def classifier(epoch: int) -> float:
            return self.head_lr if epoch < self.head_epochs else self.optimiser.lr

        # a frozen backbone has no gradients, so Adam does not change it, whatever its rate
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda _: self.optimiser.lr, classifier])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "epoch"}}

    def _check_strategy(self) -> None:
        """Refuse DDP if it waits for the gradient of every parameter, because a frozen backbone has none."""
        model = self.trainer.strategy.model
        if self.head_epochs > 0 and isinstance(model, DistributedDataParallel) and not model.find_unused_parameters:
            raise ConfigError(
                [
                    f"model.head_epochs={self.head_epochs}: the frozen backbone has no gradients that processes could "
                    "share; give +trainer.strategy.find_unused_parameters=true, or model.head_epochs=0"
                ]
            )

    def exports(self) -> dict[str, dict[str, Any]]:
        """Return the whole network, under the names of timm's EfficientNets and of the published files."""
        assert self.network.classifier is not None
        state = dict(self.network.backbone.state_dict())
        state |= {f"classifier.{name}": tensor for name, tensor in self.network.classifier.state_dict().items()}
        return {"emotieffnet.pth": {"state_dict": state}}
