"""The LightningModule of EMMA: the joint loss of equation 1, and one AdamW with several groups of parameters."""

from __future__ import annotations

from typing import Any

from affect.settings import NotNegative, buildable
from emma.network import EMMA
from training.multitask import MultiTaskModule
from training.optimisation import AdamW, Groups, plain_groups, vit_groups


@buildable("model")
class EMMAModule(MultiTaskModule):
    """Trains EMMA (Li et al. 2022, section 3.2 and Table 3).

    Args:
        va_lr: constant learning rate of the valence/arousal head, which has no weight decay (Adam in the published
            code).
        **options: keywords of ``MultiTaskModule``; the settings in ``optimiser`` are those of the ViT and its head.
    """

    network: EMMA
    optimiser: AdamW

    def __init__(self, *, va_lr: NotNegative = 1e-4, **options: Any) -> None:
        super().__init__(**options)
        self.va_lr = va_lr

    def parameter_groups(self, lr: float) -> Groups:
        network, decay = self.network, self.optimiser.weight_decay
        groups = vit_groups(network.vit, lr=lr, weight_decay=decay, layer_decay=self.optimiser.layer_decay)
        groups += plain_groups(network.head, "head", lr=lr, weight_decay=decay)
        if network.dan is not None:
            affect = plain_groups(network.va_head, "va_head", lr=self.va_lr, weight_decay=0.0)
            groups += [{**group, "constant": True} for group in affect]
        return groups
