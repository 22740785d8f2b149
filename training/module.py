"""Base classes of every method's LightningModule: self-contained checkpoints, scores in validation, predictions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from timm.layers.attention import Attention
from timm.layers.config import use_fused_attn
from torch import Tensor, nn

from affect.batch import Batch, Predictions
from affect.errors import ConfigError
from evaluators.metrics import AffectScores
from evaluators.names import LEARNT
from evaluators.postprocess.unseen import KNOWN, LabelMeans
from training.optimisation import MONITOR, SGD, Adam, AdamW, Groups
from training.sam import has_climbed
from training.tta import averaged

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRScheduler

    from affect.preprocessing import Preprocessing

"""Key in checkpoints, and in the metadata of tables, of what a model learnt from (``runs.origin``)."""


def set_explicit_attention(network: nn.Module, explicit: bool) -> None:
    """Make timm's attention multiply matrices itself, or call torch's fused attention, which is timm's default.

    On CPUs the fused bf16 kernel is slower than two matrix products and a softmax (benchmarks/README.md).
    """
    for module in network.modules():
        if isinstance(module, Attention):
            module.fused_attn = not explicit and bool(use_fused_attn())  # type: ignore[misc]  # a TorchScript constant


class Network(Protocol):
    """An ``nn.Module`` that looks at faces."""

    preprocessing: Preprocessing
    """How its images must be prepared."""

    def compile(self) -> None:
        """Run it through ``torch.compile`` from now on."""


@runtime_checkable
class AffectNetwork(Network, Protocol):
    """An ``nn.Module`` that predicts some tasks from faces."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return what it predicts, some of ``affect.labels.TASKS``."""

    @property
    def expressions(self) -> tuple[str, ...]:
        """Return the names of its expression classes, in order."""

    def __call__(self, *inputs: Any) -> Any:
        """Run it, usually on (B, 3, H, W) uint8 images."""


class TrainedModule(pl.LightningModule):
    """Base of everything that train.py trains.

    Args:
        network: the network to train.
        optimiser: settings of the optimiser.
        compile: run the network through ``torch.compile``.

    Attributes:
        preprocessing: how the images must be prepared.
        expressions: the classes that the data must have; None if the method uses images only.
        augments: whether the method applies ``Batch["augmentation"]`` to the images itself.
        model_config: the plain configuration that rebuilds this module; the entry point sets it, and each checkpoint
            stores it.
    """

    expressions: tuple[str, ...] | None = None
    augments = False

    def __init__(self, network: Network, optimiser: Adam | AdamW | SGD, *, compile: bool = False) -> None:
        super().__init__()
        self.network, self.optimiser = network, optimiser
        self.preprocessing = network.preprocessing
        self.model_config: dict[str, Any] = {}
        if compile:
            network.compile()

    def exports(self) -> dict[str, dict[str, Any]]:
        """Return the weight files that other methods can load, in their published form, by file name."""
        return {}

    def parameter_groups(self, lr: float) -> Groups:
        """Return the optimiser's groups; the topmost layer has the learning rate ``lr``."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return self.optimiser.configured(self.parameter_groups, self.trainer)

    def on_fit_start(self) -> None:
        if self.device.type == "cpu" and "bf16" in str(self.trainer.precision):
            set_explicit_attention(self, True)

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        if "augmentation" in batch and not self.augments:
            raise ConfigError(
                ["augmentation.input=visible: the method sees whole pictures, and would train without augmentation"]
            )

    def on_fit_end(self) -> None:
        set_explicit_attention(self, False)  # or the table would differ from that of evaluate.py

    def log_losses(self, total: Tensor, parts: dict[str, Tensor], batch_size: int) -> None:
        """Log the total per step, and the means of the total and its parts over the epoch; skip SAM's second pass."""
        if has_climbed(self):
            return
        self.log("train/loss_step", total, batch_size=batch_size, prog_bar=True)
        means = {"train/loss": total} | {f"train/{name}": part for name, part in parts.items()}
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)

    def log_same(self, values: Mapping[str, float | Tensor]) -> None:
        """Log, at the end of an epoch, values that all processes have alike: any of them, to the last digit."""
        self.log_dict(values, reduce_fx="max", sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        # without synchronised BatchNorm every rank has its own statistics, but the checkpoint has one: average them
        if self.trainer.world_size > 1:
            for name, buffer in self.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.copy_(self.trainer.strategy.reduce(buffer, reduce_op="mean"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["model_config"] = self.model_config
        # a network that is rebuilt without its weights file does not know how its images were resized
        checkpoint["preprocessing"] = asdict(self.preprocessing)


class AffectModule(TrainedModule):
    """Base of the methods that predict something from a face.

    A method defines ``predict`` and ``training_step``. Scores and predictions are always computed in float32, so that
    they depend neither on the precision of the training nor on the size of the batches.

    Args:
        network: the network to train.
        optimiser: settings of the optimiser.
        **options: keywords of ``TrainedModule``.

    Attributes:
        tables: names of the prediction tables that it makes; "" is the one that is scored.
        tta: whether tables are the mean over versions of each picture (``training.tta``).
        learnt_from: what it is trained on (``runs.origin``); set and stored as the next one.
        label_means: means of the training labels; the entry point sets them, and each checkpoint stores them. Empty if
            they are not known.
    """

    expressions: tuple[str, ...]

    def __init__(self, network: AffectNetwork, optimiser: Adam | AdamW | SGD, **options: Any) -> None:
        super().__init__(network, optimiser, **options)
        self.scores = AffectScores(tasks=network.tasks, expressions=network.expressions)
        self.expressions = self.scores.expressions
        self.tables: tuple[str, ...] = ("",)
        self.tta = False
        self.label_means: LabelMeans = {}
        self.learnt_from: dict[str, Any] = {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[KNOWN] = self.label_means
        checkpoint[LEARNT] = self.learnt_from

    def predict_tables(self, batch: Batch) -> dict[str, Predictions]:
        """Return all predictions for a batch by the name of their table; by default only those of ``predict``."""
        return {"": self.predict(batch)}

    def predict(self, batch: Batch) -> Predictions:
        """Return probabilities and clamped valence/arousal of one batch."""
        raise NotImplementedError

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self.scores.update(self.predict_float32(batch)[""], batch)

    def predict_step(self, batch: Batch, batch_index: int) -> dict[str, Predictions]:
        return averaged(self.predict_float32, batch) if self.tta else self.predict_float32(batch)

    def predict_float32(self, batch: Batch) -> dict[str, Predictions]:
        """Run ``predict_tables`` in float32, whatever the precision of the training."""
        with torch.autocast(self.device.type, enabled=False):
            return self.predict_tables(batch)

    def on_validation_epoch_end(self) -> None:
        computed = self.scores.compute()
        values = {f"val/{name}": value for name, value in computed.items() if value is not None and name != "SCORE"}
        score = computed["SCORE"]
        # without labels no epoch is the best one, and a number would pretend that one is
        values[MONITOR] = math.nan if score is None else score
        self.log_same(values)
        self.scores.reset()
