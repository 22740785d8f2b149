"""Build a run's optimiser: settings of AdamW, Adam and SGD, parameter groups with layer-wise decay, and the schedule.

There is one optimiser for all parameters, in groups that have their own rate, decay and schedule. Two optimisers would
force Lightning into manual optimisation, in which it refuses clipping and accumulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, TypeAlias
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from timm.models.vision_transformer import VisionTransformer
from timm.optim import muon as timm_muon
from torch import nn
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau

from affect.errors import ConfigError
from affect.settings import Dropped, NotNegative, Positive, Whole, buildable
from training.sam import with_sam

BASE_BATCH = 256
"""The batch size that a base learning rate refers to (He et al. 2022, linear scaling rule)."""

PUBLISHED_PERIOD: Final = 10_000
"""Steps in which the rate of EmotionNet's published code falls to 0, before it rises again for as many."""

MONITOR: Final = "val/score"
"""The sum of the parts of P_MTL that have labels. Checkpoints and schedules watch it (higher is better)."""

PLATEAU_FACTOR: Final = 0.1
"""What a plateau multiplies the learning rate by."""

Groups: TypeAlias = list[dict[str, Any]]
"""The parameter groups of an optimiser. The schedule does not change the rate of a group with ``constant``."""


@buildable("model")
@dataclass(frozen=True)
class AdamW:
    """AdamW with a linear warm-up and half a cosine, as MAE, EMMA and CoTEX use it.

    The batch size, accumulation, devices and number of epochs come from the trainer.

    Attributes:
        base_lr: learning rate of the topmost layer, per 256 samples in a step.
        scale_lr: if false, ``base_lr`` is the learning rate itself, however large a step is.
        weight_decay: weight decay of matrices.
        layer_decay: factor of the learning rate per layer, from the head down.
        min_lr: learning rate at the end of the schedule.
        warmup_epochs: length of the warm-up.
        beta2: decay of the mean of squared gradients.
        muon: move matrices by ``muon``.
        plateau: the rate is constant, and a tenth from where more than so many epochs in a row were no better in
            ``val/score``; None: a cosine.
    """

    base_lr: Positive = 5e-4
    scale_lr: bool = True
    weight_decay: NotNegative = 0.05
    layer_decay: Positive = 1.0
    min_lr: NotNegative = 1e-6
    warmup_epochs: NotNegative = 5
    beta2: Dropped = 0.999
    muon: bool = False
    plateau: Whole | None = None

    def lr(self, trainer: pl.Trainer) -> float:
        """Return the rate of the topmost layer: ``base_lr * batch * accumulation * devices / 256``."""
        if not self.scale_lr:
            return self.base_lr
        batch_size: int = trainer.datamodule.batch_size  # type: ignore[attr-defined]
        return self.base_lr * batch_size * trainer.accumulate_grad_batches * trainer.world_size / BASE_BATCH

    def configured(self, groups: Callable[[float], Groups], trainer: pl.Trainer) -> OptimizerLRScheduler:
        """Build the optimiser and its schedule, which advances at every optimiser step, or with the score.

        Args:
            groups: returns the parameter groups for a learning rate of the topmost layer; the schedule multiplies the
                rate of each group.
            trainer: the run's trainer.

        Raises:
            ConfigError: the warm-up is not shorter than the training, or there is a plateau after it.
        """
        epochs = trainer.max_epochs or 0
        if not 0 <= self.warmup_epochs < epochs:
            raise ConfigError(
                [
                    f"model.optimiser.warmup_epochs={self.warmup_epochs} does not fit into "
                    f"trainer.max_epochs={epochs}: the warm-up must be shorter"
                ]
            )
        if self.plateau is not None and self.warmup_epochs:
            raise ConfigError(
                [
                    f"model.optimiser.warmup_epochs={self.warmup_epochs}: there is no warm-up before a plateau; give 0 "
                    "or model.optimiser.plateau=null for a cosine"
                ]
            )
        lr, steps = self.lr(trainer), int(trainer.estimated_stepping_batches)
        made = groups(lr)
        constant = [group.pop("constant", False) for group in made]
        betas = (0.9, self.beta2)
        optimizer = muon(made, lr, self.beta2) if self.muon else fused(torch.optim.AdamW, made, lr=lr, betas=betas)
        if self.plateau is not None:
            least = [group["lr"] if fixed else self.min_lr for group, fixed in zip(made, constant, strict=True)]
            falling = ReduceLROnPlateau(
                optimizer, "max", factor=PLATEAU_FACTOR, patience=self.plateau, threshold=0.0, min_lr=least
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falling, "monitor": MONITOR}}

        def shape(step: int) -> float:
            rates = {"min_lr": self.min_lr, "warmup_epochs": self.warmup_epochs}
            return warmup_cosine(step * epochs / steps, lr=lr, epochs=epochs, **rates) / lr

        scheduler = LambdaLR(optimizer, [(lambda _: 1.0) if fixed else shape for fixed in constant])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@buildable("model")
@dataclass(frozen=True)
class Adam:
    """Adam, at a constant learning rate or one that falls from epoch to epoch, with or without SAM.

    Attributes:
        lr: learning rate.
        lr_decay: factor of the learning rate per epoch; None: it is constant.
        eps: number added to the denominator; Keras uses 1e-7.
        sam_rho: distance that ``training.sam.SAM`` climbs; None: Adam without SAM.
        muon: move matrices by ``muon``, which has no ``eps``.
    """

    lr: Positive = 1e-4
    lr_decay: Positive | None = None
    eps: Positive = 1e-8
    sam_rho: Positive | None = None
    muon: bool = False

    def configured(self, groups: Callable[[float], Groups], trainer: pl.Trainer) -> OptimizerLRScheduler:
        """Build the optimiser, and its schedule if it has one.

        Args:
            groups: returns the parameter groups for a learning rate.
            trainer: the run's trainer.

        Raises:
            ConfigError: the trainer has a setting that does not work with SAM.
        """
        made = groups(self.lr)
        plain = muon(made, self.lr) if self.muon else fused(torch.optim.Adam, made, lr=self.lr, eps=self.eps)
        optimizer = with_sam(plain, self.sam_rho, trainer)
        if self.lr_decay is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": ExponentialLR(optimizer, self.lr_decay)}}


@buildable("model")
@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum, whose rate follows a cosine.

    Attributes:
        lr: learning rate at the start.
        momentum: share of the step before that each step keeps.
        weight_decay: weight decay of matrices.
        schedule: ``cosine``: half a cosine, down to 0 at the end of the training; ``published``: EmotionNet's code,
            whose cosine has half a period of 10,000 steps, so that the rate rises again in a longer training.
    """

    lr: Positive = 1e-3
    momentum: Dropped = 0.9
    weight_decay: NotNegative = 0.0
    schedule: Literal["cosine", "published"] = "cosine"

    def configured(self, groups: Callable[[float], Groups], trainer: pl.Trainer) -> OptimizerLRScheduler:
        """Build the optimiser and its schedule, which advances at every optimiser step.

        Args:
            groups: returns the parameter groups for a learning rate.
            trainer: the run's trainer.
        """
        steps = int(trainer.estimated_stepping_batches) if self.schedule == "cosine" else PUBLISHED_PERIOD
        optimizer = torch.optim.SGD(groups(self.lr), lr=self.lr, momentum=self.momentum)
        scheduler = LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fused(kind: Callable[..., torch.optim.Optimizer], groups: Groups, **options: Any) -> torch.optim.Optimizer:
    """Build Adam or AdamW with one kernel for a whole step; the gradients can be clipped all the same.

    Args:
        kind: the optimiser's class.
        groups: groups of parameters.
        **options: of the class.
    """
    optimizer = kind(groups, fused=True, **options)
    # The kernel could divide by a gradient scaler's scale, too, and Lightning then refuses to clip, scaler or not.
    # Without this a scaler divides first, as for any other optimiser.
    optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
    return optimizer


def muon(groups: Groups, lr: float, beta2: float = 0.999) -> torch.optim.Optimizer:
    """Build Muon: a matrix moves along its momentum with all singular values brought to about 1.

    Kernels of convolutions count as matrices; vectors and embeddings keep AdamW, with Nesterov's momentum. The step is
    as long as AdamW's usually is, so that both take rates of the same kind. A network from nothing needs far fewer
    steps, and each step a few matrix products more.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the implementation is timm's.

    Args:
        groups: groups of parameters.
        lr: learning rate of a group that has none.
        beta2: of AdamW.
    """
    return Muon(groups, lr=lr, betas=(0.9, beta2), nesterov=True)


class Muon(timm_muon.Muon):
    """timm's Muon, which multiplies bf16 matrices, also where that takes 70 times longer than float32 ones."""

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take a step; on a CPU without bf16, by float32 products."""
        on_cpu = all(one.device.type == "cpu" for group in self.param_groups for one in group["params"])
        dtype = torch.float32 if on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.bfloat16
        product = partial(_orthogonalised, dtype=dtype)
        with patch.object(timm_muon, "zeropower_via_newtonschulz", product):  # timm has no option for it
            return super().step(closure)  # type: ignore[no-untyped-call]


_orthogonalised = timm_muon.zeropower_via_newtonschulz


def vit_groups(vit: VisionTransformer, *, lr: float, weight_decay: float, layer_decay: float) -> Groups:
    """Group a ViT's trainable parameters by depth and by weight decay.

    A tensor of block i gets ``lr * layer_decay ** (depth - i)``. The embeddings count as one layer below the first
    block, the final norm (and a head) as one layer above the last block (BEiT's rule, which MAE and EMMA use).
    One-dimensional tensors, the class token and the position embedding have no weight decay.

    Args:
        vit: a bare timm ViT.
        lr: learning rate of the topmost layer.
        weight_decay: AdamW's weight decay of matrices.
        layer_decay: factor of the learning rate per layer; 1 for the same rate everywhere.

    Returns:
        Optimiser groups with ``params``, ``lr``, ``weight_decay``, ``name`` and ``parameter_names``.
    """
    depth = len(vit.blocks)
    not_decayed = vit.no_weight_decay()
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in vit.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("blocks."):
            layer = int(name.split(".")[1]) + 1
        else:
            layer = 0 if name.startswith(("cls_token", "pos_embed", "patch_embed", "reg_token")) else depth + 1
        decayed = parameter.ndim > 1 and name not in not_decayed
        key = f"layer{layer}{'' if decayed else '_no_decay'}"
        group = groups.setdefault(
            key,
            {
                "params": [],
                "parameter_names": [],
                "name": key,
                "lr": lr * layer_decay ** (depth + 1 - layer),
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
        group["parameter_names"].append(name)
    return list(groups.values())


def plain_groups(module: nn.Module, name: str, *, lr: float, weight_decay: float) -> Groups:
    """Make one group of a small module's matrices and one, without weight decay, of its vectors."""
    named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
    parts = {name: [i for i in named if i[1].ndim > 1], f"{name}_no_decay": [i for i in named if i[1].ndim <= 1]}
    return [
        {
            "params": [parameter for _, parameter in items],
            "parameter_names": [f"{name}.{n}" for n, _ in items],
            "name": key,
            "lr": lr,
            "weight_decay": weight_decay if key == name else 0.0,
        }
        for key, items in parts.items()
        if items
    ]


def warmup_cosine(epoch: float, *, lr: float, min_lr: float, warmup_epochs: float, epochs: float) -> float:
    """Return the learning rate at a fractional epoch: linear from 0, then half a cosine down to ``min_lr``.

    Source: MAE's fine-tuning schedule (https://github.com/facebookresearch/mae), which EMMA and CoTEX use.
    """
    if epoch < warmup_epochs:
        return lr * epoch / warmup_epochs
    progress = min(1.0, (epoch - warmup_epochs) / (epochs - warmup_epochs))
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))
