"""The LightningModule of the baselines, with the same losses and scores as the methods of the papers."""

from __future__ import annotations

from typing import Any

from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]

from affect.settings import buildable
from baseline.network import Baseline
from training.multitask import MultiTaskModule
from training.optimisation import AdamW, Groups, plain_groups


@buildable("model")
class BaselineModule(MultiTaskModule):
    """Trains a row of Table 1 or 2 of the EMMA paper."""

    network: Baseline
    optimiser: AdamW

    def parameter_groups(self, lr: float) -> Groups:
        decay = self.optimiser.weight_decay
        groups = plain_groups(self.network.head, "head", lr=lr, weight_decay=decay)
        if not self.network.frozen:
            backbone: Any = self.network.backbone
            undecayed = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else ()
            for number, group in enumerate(
                param_groups_layer_decay(backbone, decay, undecayed, layer_decay=self.optimiser.layer_decay)
            ):
                # timm only stores the factor, and torch's optimisers ignore it
                groups.append({**group, "name": f"backbone{number}", "lr": lr * group["lr_scale"]})
        return groups

    def exports(self) -> dict[str, dict[str, Any]]:
        return {"backbone.pth": {"state_dict": self.network.backbone.state_dict()}}
