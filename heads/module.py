"""The LightningModule of the heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from affect.batch import AffectLogits, Batch
from affect.errors import ConfigError, DataError
from affect.settings import NotNegative, buildable
from features.windows import WindowsDataModule
from heads.network import Heads
from training.multitask import MultiTaskModule


@buildable("model")
class HeadModule(MultiTaskModule):
    """Trains heads on stored features. Each head learns from the rows of its task, independently of the others.

    Args:
        l2: factor, by task, of the head's squared matrices, which are added to its loss; 0 for tasks that are left out.
        **options: keywords of ``MultiTaskModule``.
    """

    network: Heads

    def __init__(self, *, l2: Mapping[str, NotNegative] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.l2 = dict(l2 or {})

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, WindowsDataModule):
            raise ConfigError(["data=windows: these heads look at one frame at a time: give data=features"])
        made, wanted = data.store.info, self.network.features
        if made.sha256 != wanted["sha256"]:
            raise DataError(
                f"{data.store.root} holds features of {made.network} ({made.sha256[:12]}…), but these heads were "
                f"trained on those of another network ({wanted['sha256'][:12]}…): give data.store= its store"
            )
        super().setup(stage)

    def logits(self, batch: Batch) -> AffectLogits:
        logits: AffectLogits = self.network(batch["embedding"], batch["outputs"])
        return logits

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each head on one batch; apart from ``l2`` it is 0 if the task has no label."""
        losses = super().losses(batch)
        for task, factor in self.l2.items():
            if task in losses and factor:
                losses[task] = losses[task] + factor * self.network.squared_matrices(task)
        return {task: losses[task] for task in self.network.tasks}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        super().validation_step(batch, batch_index)
        # a mean over batches of consecutive frames, as published: its CCC is not that of the whole split
        total = torch.stack(list(self.losses(batch).values())).sum()
        # log also without rows, or another process would wait for this one's sum
        self.log("val/loss", total, batch_size=len(batch["row"]), sync_dist=True)
