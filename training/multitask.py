"""Base class of the methods that learn valence/arousal, expression and action units jointly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from affect.batch import AffectLogits, Batch, Predictions
from affect.errors import ConfigError
from affect.labels import EXPRESSIONS
from affect.settings import buildable
from losses.multitask import MultiTaskLoss
from training.module import AffectModule, AffectNetwork
from training.optimisation import SGD, Adam, AdamW


@buildable("model")
class MultiTaskModule(AffectModule):
    """Trains one network on the joint loss of its tasks; a method that needs more is a subclass.

    Args:
        network: the network to train; it returns ``affect.batch.AffectLogits`` for its tasks.
        loss: loss of every task.
        optimiser: settings of the optimiser.
        keep_logits: also write the logits of the expressions into the tables, because published blends add them up.
        **options: keywords of ``TrainedModule``.

    Raises:
        ConfigError: the loss has weights of other expressions than the network's.
    """

    network: AffectNetwork

    def __init__(
        self,
        network: AffectNetwork,
        loss: MultiTaskLoss,
        optimiser: Adam | AdamW | SGD,
        *,
        keep_logits: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(network, optimiser, **options)
        if loss.expression_weighting == "published" and self.expressions != EXPRESSIONS:
            raise ConfigError(
                [
                    f"model.loss.expression_weight=published: they are of ABAW's {len(EXPRESSIONS)} expressions, but "
                    f"this network has {', '.join(self.expressions)}. Give train, relative or none"
                ]
            )
        self.loss, self.keep_logits = loss, keep_logits

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.loss.counts_labels:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            labels = data.frames("train").select(data.train_rows)
            self.loss.count(labels, self.network.tasks, classes=len(self.expressions), device=self.device)

    def logits(self, batch: Batch) -> AffectLogits:
        """Return the network's scores of one batch."""
        logits: AffectLogits = self.network(batch["image"])
        return logits

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each task on one batch; 0 where it has no valid label."""
        losses: dict[str, Tensor] = self.loss(self.logits(batch), batch)
        return losses

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        losses = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.log_losses(total, losses, len(batch["row"]))
        return total

    def predict(self, batch: Batch) -> Predictions:
        return self.predictions_of(self.logits(batch))

    def predictions_of(self, output: AffectLogits) -> Predictions:
        """Return what a table says of raw scores: valence and arousal clamped, probabilities of the others."""
        predictions = Predictions()
        if output.valence_arousal is not None:
            predictions["valence_arousal"] = output.valence_arousal.clamp(-1, 1)
        if output.expression is not None:
            predictions["expression"] = output.expression.softmax(dim=1)
            if self.keep_logits:
                predictions["logits_expression"] = output.expression
        if output.action_units is not None:
            predictions["action_units"] = output.action_units.sigmoid()
        return predictions
