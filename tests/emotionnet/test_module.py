"""EmotionNet's module: the published losses against torch's own, and what the optimiser gets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from affect.errors import ConfigError
from baseline.network import Baseline
from emotionnet.module import EmotionNetModule
from emotionnet.network import EmotionNet
from losses.multitask import MultiTaskLoss
from training.multitask import MultiTaskModule
from training.optimisation import SGD, AdamW

PUBLISHED = MultiTaskLoss(au_pos_weight="published", expression_weight="published")


def module(**options: Any) -> EmotionNetModule:
    torch.manual_seed(0)
    network = EmotionNet(image_size=40, width_divisor=16, first_stride=1)
    return EmotionNetModule(network=network, loss=PUBLISHED, optimiser=SGD(weight_decay=0.1), **options)


def batch() -> Any:
    generator = torch.Generator().manual_seed(1)
    units = torch.randint(0, 2, (6, 12), generator=generator).float()
    units[1, 3] = units[4] = float("nan")
    affect = torch.rand(6, 2, generator=generator) * 2 - 1
    affect[2] = float("nan")
    return {
        "image": torch.randint(0, 256, (6, 3, 40, 40), dtype=torch.uint8, generator=generator),
        "expression": torch.tensor([0, 2, -1, 7, 3, 2]),
        "action_units": units,
        "valence_arousal": affect,
        "row": torch.arange(6),
    }


def test_the_published_losses() -> None:
    ours, faces = module().eval(), batch()
    with torch.no_grad():
        losses, logits = ours.losses(faces), ours.logits(faces)
    weights = torch.tensor([1.0517, 11.9966, 17.3346, 15.5712, 2.1438, 2.5946, 6.4138, 1])
    expected = F.cross_entropy(logits.expression, faces["expression"], weight=weights, ignore_index=-1)
    torch.testing.assert_close(losses["expression"], expected)
    positive = torch.tensor(
        [7.1008924, 15.63964869, 5.47108051, 2.80360066, 1.5152332, 1.89083564,
         3.04637044, 34.04600245, 32.47861156, 36.76637801, 0.58118674, 11.1586486]
    )  # fmt: skip
    known = ~faces["action_units"].isnan()
    each = F.binary_cross_entropy_with_logits(
        logits.action_units, faces["action_units"].nan_to_num(), pos_weight=positive, reduction="none"
    )
    torch.testing.assert_close(losses["action_units"], each[known].mean())


def test_all_that_learns_is_in_one_group_with_and_one_without_decay() -> None:
    ours = module()
    groups = ours.parameter_groups(0.5)
    assert [(group["name"], group["lr"], group["weight_decay"]) for group in groups] == [
        ("network", 0.5, 0.1),
        ("network_no_decay", 0.5, 0.0),
    ]
    grouped = {id(parameter) for group in groups for parameter in group["params"]}
    assert grouped == {id(parameter) for parameter in ours.network.parameters() if parameter.requires_grad}


def test_published_weights_are_of_abaws_expressions() -> None:
    six = Baseline("resnet10t", image_size=32, weights=None, tasks=["expression"], expressions="lsd")
    with pytest.raises(ConfigError, match=r"model\.loss\.expression_weight=published: .*8 .*network has anger, .*none"):
        MultiTaskModule(six, PUBLISHED, AdamW())
