"""The LightningModule of DAN, which EMMA freezes after its training on AffectNet-like faces."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from affect.batch import Batch, Predictions
from affect.errors import ConfigError
from affect.labels import AFFECTNET_CLASSES, AFFECTNET_EXPRESSIONS
from affect.settings import NotNegative, buildable
from backbones.normalize import Normalize
from dan.network import DAN
from losses.attention import AffinityLoss, partition_loss
from losses.partial import expression_loss
from training.module import AffectModule


@buildable("model")
class DANModule(AffectModule):
    """Trains DAN (Wen et al. 2021, https://github.com/yaoing/DAN): cross entropy + affinity + partition loss.

    Labels and outputs are the first ``network.num_classes`` expressions in AffectNet's own order.

    Args:
        network: the network to train.
        affinity_weight: factor of the affinity loss, whose class centres are learned.
        partition_weight: factor of the partition loss.
        **options: keywords of ``AffectModule``.

    Raises:
        ConfigError: the network has neither the eight classes of AffectNet nor seven of them.
    """

    network: DAN

    def __init__(
        self,
        network: DAN,
        *,
        affinity_weight: NotNegative = 1.0,
        partition_weight: NotNegative = 1.0,
        **options: Any,
    ) -> None:
        if network.num_classes not in AFFECTNET_CLASSES:
            raise ConfigError(
                [
                    f"model.network.num_classes={network.num_classes}: AffectNet has "
                    f"{' or '.join(map(str, AFFECTNET_CLASSES))} classes, with or without {AFFECTNET_EXPRESSIONS[-1]}"
                ]
            )
        super().__init__(network, **options)
        self.normalize = Normalize(network.preprocessing)
        self.affinity = AffinityLoss(network.num_classes, network.num_features)
        self.affinity_weight, self.partition_weight = affinity_weight, partition_weight

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        logits, feature_map, heads = self.network(self.normalize(batch["image"]))
        losses = {
            "expression": expression_loss(logits, batch["expression"]),
            "affinity": self.affinity(feature_map, batch["expression"]),
            "partition": partition_loss(heads),
        }
        total: Tensor = (
            losses["expression"]
            + self.affinity_weight * losses["affinity"]
            + self.partition_weight * losses["partition"]
        )
        self.log_losses(total, losses, len(logits))
        return total

    def predict(self, batch: Batch) -> Predictions:
        logits, _, _ = self.network(self.normalize(batch["image"]))
        return Predictions(expression=logits.softmax(dim=1))

    def exports(self) -> dict[str, dict[str, Any]]:
        return {"dan.pth": {"model_state_dict": self.network.state_dict()}}
