"""The heads as a LightningModule."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from affect.batch import Batch, Predictions
from affect.labels import ACTION_UNITS, AU_NAMES, EXPRESSIONS
from affect.preprocessing import IMAGENET
from affect.ranges import NotNegative, Positive
from evaluators.metrics import AffectScores
from features.store import StoreError
from heads.network import Heads
from losses.ccc import ccc_loss
from losses.partial import au_loss, expression_loss
from training.module import AffectModule

_log = logging.getLogger(__name__)


class HeadModule(AffectModule):
    """Trains heads on stored features; with several, each learns as if it were alone, from the rows of its task.

    Losses of a batch: valence and arousal, the mean of both ``1 - CCC``; expression, cross entropy with a factor of
    each class, over the number of rows; action units, the mean of weighted binary cross entropies; each with the
    squares of the head's matrices times ``l2``. Adam as Keras has it.

    Args:
        network: the heads.
        lr: Adam's learning rate.
        l2: factor of the squared matrices, by task; a task that is not there has none.
        expression_weight: ``train``: N_max / N_c of the training labels; ``none``.
        expression_reduction: ``mean_valid``, as published, or ``mean_weight``: see ``losses.partial.expression_loss``.
        au_weight: ``train``: N / (2 N_negative) and N / (2 N_positive) of the training labels; ``none``.
    """

    expression_factors: Tensor | None
    au_negative: Tensor | None
    au_positive: Tensor | None
    network: Heads

    def __init__(
        self,
        network: Heads,
        *,
        lr: Positive = 1e-3,
        l2: Mapping[str, NotNegative] | None = None,
        expression_weight: Literal["train", "none"] = "train",
        expression_reduction: Literal["mean_valid", "mean_weight"] = "mean_valid",
        au_weight: Literal["train", "none"] = "train",
    ) -> None:
        super().__init__(AffectScores(tasks=network.tasks, expressions=EXPRESSIONS), IMAGENET)
        self.network = network
        self.lr, self.l2 = lr, dict(l2 or {})
        self.expression_weight, self.au_weight = expression_weight, au_weight
        self.expression_reduction: Literal["mean_valid", "mean_weight"] = expression_reduction
        for name in ("expression_factors", "au_negative", "au_positive"):
            self.register_buffer(name, None, persistent=False)

    def setup(self, stage: str) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        made, wanted = data.store.info, self.network.features
        if made.sha256 != wanted["sha256"]:
            raise StoreError(
                f"{data.store.root} holds features of {made.network} ({made.sha256[:12]}…), but these heads were "
                f"trained on those of another network ({wanted['sha256'][:12]}…): give data.store= its store"
            )
        if stage != "fit":
            return
        labels = data.frames("train").select(data.train_rows)
        if "expression" in self.network.tasks and self.expression_weight == "train":
            counts = labels.class_counts()
            factors = counts.max(initial=1) / np.maximum(counts, 1)  # of a class without a row nothing is learnt
            self.expression_factors = torch.as_tensor(factors, dtype=torch.float32, device=self.device)
        if "action_units" in self.network.tasks and self.au_weight == "train":
            negative, positive = au_factors(labels.action_units)
            self.au_negative = torch.as_tensor(negative, dtype=torch.float32, device=self.device)
            self.au_positive = torch.as_tensor(positive, dtype=torch.float32, device=self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of each head on one batch; without its ``l2`` it is 0 where the task has no label."""
        output = self.network(batch["embedding"], batch["outputs"])
        losses: dict[str, Tensor] = {}
        if output.valence_arousal is not None:
            losses["valence_arousal"] = ccc_loss(output.valence_arousal, batch["valence_arousal"]) / 2
        if output.expression is not None:
            losses["expression"] = expression_loss(
                output.expression,
                batch["expression"],
                weight=self.expression_factors,
                reduction=self.expression_reduction,
            )
        if output.action_units is not None:
            losses["action_units"] = au_loss(
                output.action_units, batch["action_units"], pos_weight=self.au_positive, neg_weight=self.au_negative
            )
        return {
            task: loss + self.l2[task] * self.network.squared_matrices(task) if self.l2.get(task) else loss
            for task, loss in losses.items()
        }

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        losses = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.log_losses(total, losses, len(batch["row"]))
        return total

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        super().validation_step(batch, batch_index)
        # by batches of consecutive frames, as published: of the CCC this is not that of the whole split
        total = torch.stack(list(self.losses(batch).values())).sum()
        # also without a row, or another process would wait for this one's sum
        self.log("val/loss", total, batch_size=len(batch["row"]), sync_dist=True)

    def predict(self, batch: Batch) -> Predictions:
        output = self.network(batch["embedding"], batch["outputs"])
        predictions = Predictions()
        if output.valence_arousal is not None:
            predictions["valence_arousal"] = output.valence_arousal
        if output.expression is not None:
            predictions["expression"] = output.expression.softmax(dim=1)
        if output.action_units is not None:
            predictions["action_units"] = output.action_units.sigmoid()
        return predictions

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr, eps=1e-7)  # Keras' epsilon


def au_factors(labels: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """N / (2 N_negative) and N / (2 N_positive) of each action unit, (12,) each.

    A unit of which one kind is missing gets 1 and 1, and the log says so: nothing can be learnt of it.

    Args:
        labels: (N, 12) 0 or 1, NaN = missing.
    """
    positive, known = np.nansum(labels, axis=0), (~np.isnan(labels)).sum(axis=0)
    negative = known - positive
    lacking = [AU_NAMES[unit] for unit in range(len(ACTION_UNITS)) if not positive[unit] or not negative[unit]]
    if lacking:
        _log.warning("training has only one kind of label of %s: nothing can be learnt of it", ", ".join(lacking))
    both = (positive > 0) & (negative > 0)
    return (
        np.where(both, known / (2 * np.maximum(negative, 1)), 1.0),
        np.where(both, known / (2 * np.maximum(positive, 1)), 1.0),
    )
