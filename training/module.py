"""What every method's LightningModule shares: scores in validation, predictions, and a self-contained checkpoint."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from datamodules.labels import Batch
from evaluators.metrics import AffectScores, Predictions

if TYPE_CHECKING:
    from backbones.preprocessing import Preprocessing

MONITOR = "val/score"
"""The sum of the parts of P_MTL that have labels; what checkpoints and early stopping watch (higher is better)."""


def use_explicit_attention(network: nn.Module) -> None:
    """Lets timm's attention multiply matrices instead of calling torch's fused attention.

    On CPUs the fused bf16 kernel is slower than two matrix products and a softmax
    (benchmarks/README.md).
    """
    for module in network.modules():
        if isinstance(module, Attention):
            module.fused_attn = False  # type: ignore[misc]  # a constant to TorchScript only


class AffectModule(pl.LightningModule):
    """Base of the methods.

    A method gives ``predict`` and ``training_step``. Scores and predictions are always computed in float32, so that
    they do not depend on the precision of the training or on how frames fall into batches.

    Attributes:
        model_config: the plain configuration that rebuilds this module, set by the entry point and stored inside
            each checkpoint.
    """

    def __init__(self, scores: AffectScores, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.scores = scores
        self.preprocessing = preprocessing
        self.model_config: dict[str, Any] = {}

    def predict(self, batch: Batch) -> Predictions:
        """Probabilities and clamped valence/arousal of one batch."""
        raise NotImplementedError

    def exports(self) -> dict[str, dict[str, Any]]:
        """Weight files in their published form, by file name, for other methods to load; most have none."""
        return {}

    def on_fit_start(self) -> None:
        if self.device.type == "cpu" and "bf16" in str(self.trainer.precision):
            use_explicit_attention(self)

    def log_losses(self, total: Tensor, parts: dict[str, Tensor], batch_size: int) -> None:
        """Logs the total per step, and it and its parts as means over the epoch."""
        self.log("train/loss_step", total, batch_size=batch_size, prog_bar=True)
        means = {"train/loss": total} | {f"train/{name}": part for name, part in parts.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.scores.update(self._predict_float32(batch), batch)

    def predict_step(self, batch: Batch, batch_index: int) -> Predictions:
        return self._predict_float32(batch)

    def _predict_float32(self, batch: Batch) -> Predictions:
        with torch.autocast(self.device.type, enabled=False):
            return self.predict(batch)

    def on_validation_epoch_end(self) -> None:
        computed = self.scores.compute()
        values = {f"val/{name}": value for name, value in computed.items() if value is not None and name != "SCORE"}
        score = computed["SCORE"]
        # no task with labels: nothing can be best, and a number would only look like one
        values[MONITOR] = math.nan if score is None else score
        self.log_dict(values)
        self.scores.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_config"] = self.model_config
        # without its weights file a rebuilt network does not know how its images were resized
        checkpoint["preprocessing"] = asdict(self.preprocessing)
