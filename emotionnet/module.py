"""The LightningModule of EmotionNet: the shared multi-task loss, all parameters at one rate."""

from __future__ import annotations

from affect.settings import buildable
from emotionnet.network import EmotionNet
from training.multitask import MultiTaskModule
from training.optimisation import SGD, AdamW, Groups, plain_groups


@buildable("model")
class EmotionNetModule(MultiTaskModule):
    """Trains EmotionNet (Deng 2022, arXiv 2203.12845)."""

    network: EmotionNet
    optimiser: AdamW | SGD

    def parameter_groups(self, lr: float) -> Groups:
        return plain_groups(self.network, "network", lr=lr, weight_decay=self.optimiser.weight_decay)
