"""Parameter groups with layer-wise learning-rate decay, and the warm-up and cosine schedule.

One optimiser holds every family of parameters, each group with its own rate, decay and schedule: two optimisers
would force Lightning into manual optimisation, where it refuses clipping and accumulation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from affect.errors import ConfigError

BASE_BATCH = 256
"""The batch that a base learning rate refers to (He et al. 2022, linear scaling rule)."""


def scaled_lr(base_lr: float, *, batch_size: int, accumulation: int, devices: int) -> float:
    """Linear scaling: ``base_lr * (batch_size * accumulation * devices) / 256``."""
    return base_lr * batch_size * accumulation * devices / BASE_BATCH


def vit_groups(vit: VisionTransformer, *, lr: float, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Groups a ViT's trainable parameters by depth and by whether they are decayed.

    A tensor of block i gets ``lr * layer_decay ** (depth - i)``; the embeddings count as one layer below the
    first block, the final norm (and a head) as the layer above the last one (BEiT's rule, which MAE and EMMA use).
    One-dimensional tensors, the class token and the position embedding are not decayed.

    Args:
        vit: a bare timm ViT.
        lr: learning rate of the topmost layer.
        weight_decay: AdamW's decay of matrices.
        layer_decay: factor per layer, 1 for the same rate everywhere.

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


def plain_groups(module: nn.Module, name: str, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """One group for the matrices and one, without decay, for the vectors of a small module."""
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
    """Learning rate at a fractional epoch: linear from 0, then half a cosine down to ``min_lr``.

    Source: MAE's fine-tuning schedule (https://github.com/facebookresearch/mae), which EMMA and CoTEX use.
    """
    if epoch < warmup_epochs:
        return lr * epoch / warmup_epochs
    progress = min(1.0, (epoch - warmup_epochs) / (epochs - warmup_epochs))
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_cosine_scheduler(
    optimizer: torch.optim.Optimizer,
    *,
    lr: float,
    min_lr: float,
    warmup_epochs: float,
    epochs: float,
    total_steps: int,
    constant: Iterable[str] = (),
) -> LambdaLR:
    """The schedule above for every group, stepped once per optimiser step.

    Args:
        optimizer: its groups carry a ``name``; each keeps its own rate, multiplied by the schedule's shape.
        lr: the rate that the schedule is written for (that of the topmost layer).
        min_lr: its last value.
        warmup_epochs: length of the linear part.
        epochs: length of the whole.
        total_steps: optimiser steps in ``epochs``.
        constant: names of groups whose rate stays as it is.

    Raises:
        ConfigError: the warm-up is not shorter than the whole.
    """
    if not 0 <= warmup_epochs < epochs:
        raise ConfigError(
            [
                f"model.warmup_epochs={warmup_epochs} does not fit into trainer.max_epochs={epochs}: "
                "the warm-up must be shorter"
            ]
        )

    def shape(step: int) -> float:
        epoch = step * epochs / total_steps
        return warmup_cosine(epoch, lr=lr, min_lr=min_lr, warmup_epochs=warmup_epochs, epochs=epochs) / lr

    fixed = tuple(constant)

    def one(_: int) -> float:
        return 1.0

    return LambdaLR(optimizer, [one if group["name"].startswith(fixed) else shape for group in optimizer.param_groups])
