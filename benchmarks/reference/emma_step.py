"""EMMA's step as it is usually written: timm's ViT-B/16, a plain DAN, AdamW beside Adam, all in float32.

Kept as it is: the README's figures are ratios to this file. The DAN has the layers of the published one; its weights
are random, which does not change the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import timm  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from affect.batch import Batch


class PlainHead(nn.Module):
    """One of DAN's four: where to look, then which channels."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(512, 256, 1), nn.BatchNorm2d(256))
        shapes = ((3, 3), (1, 3), (3, 1))
        self.look = nn.ModuleList(
            nn.Sequential(nn.Conv2d(256, 512, shape, padding=(shape[0] // 2, shape[1] // 2)), nn.BatchNorm2d(512))
            for shape in shapes
        )
        self.choose = nn.Sequential(
            nn.Linear(512, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 512), nn.Sigmoid()
        )  # fmt: skip

    def forward(self, feature_map: Tensor) -> Tensor:
        """Turn (B, 512, 7, 7) into (B, 512)."""
        reduced = self.reduce(feature_map)
        seen = F.relu(sum(look(reduced) for look in self.look))
        pooled = (feature_map * seen.sum(dim=1, keepdim=True)).mean(dim=(2, 3))
        chosen: Tensor = pooled * self.choose(pooled)
        return chosen


class PlainEMMA(nn.Module):
    """The ViT with its head, the DAN, and the head of valence and arousal on the scores of both."""

    def __init__(self) -> None:
        super().__init__()
        vit: Any = timm.create_model("vit_base_patch16_224", num_classes=0, drop_path_rate=0.1)
        self.vit, width = vit, vit.embed_dim
        self.head = nn.Sequential(nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 20))
        self.trunk: Any = timm.create_model("resnet18", num_classes=0, global_pool="")
        self.heads = nn.ModuleList(PlainHead() for _ in range(4))
        self.last = nn.Sequential(nn.Linear(512, 8), nn.BatchNorm1d(8))
        self.va_head = nn.Sequential(nn.Linear(28, 256), nn.ReLU(), nn.Linear(256, 2))

    def dan(self, image: Tensor) -> Tensor:
        """Return (B, 8) scores."""
        feature_map = self.trunk(image)
        heads = torch.stack([head(feature_map) for head in self.heads]).log_softmax(dim=0)
        scores: Tensor = self.last(heads.sum(dim=0))
        return scores

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, 8) expression and (B, 12) action-unit scores, (B, 2) valence and arousal of normalised images."""
        scores = self.head(self.vit(image))
        with torch.no_grad():
            prior = self.dan(image)
        affect = self.va_head(torch.cat([prior, scores.detach()], dim=1))
        return scores[:, :8], scores[:, 8:], affect


def plain_step(device: str = "cpu") -> Callable[[Sequence[Batch]], None]:
    """Return a function that takes one float32 optimiser step on micro-batches with every label."""
    network = PlainEMMA().train().to(device)
    affect = list(network.va_head.parameters())
    network.trunk.requires_grad_(False)
    network.heads.requires_grad_(False)
    network.last.requires_grad_(False)
    others = [*network.vit.parameters(), *network.head.parameters()]
    optimizers = torch.optim.AdamW(others, lr=5e-4, weight_decay=0.05), torch.optim.Adam(affect, lr=1e-4)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    def step(batches: Sequence[Batch]) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        for batch in batches:
            image = (batch["image"].to(device).float() / 255 - mean) / std
            expression, units, affect_scores = network(image)
            loss = F.cross_entropy(expression, batch["expression"].to(device))
            loss = loss + F.binary_cross_entropy_with_logits(units, batch["action_units"].to(device))
            target = batch["valence_arousal"].to(device)
            loss = loss + sum(1 - _concordance(affect_scores[:, k], target[:, k]) for k in range(2))
            (loss / len(batches)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([*others, *affect], 0.05)
        for optimizer in optimizers:
            optimizer.step()

    return step


def _concordance(x: Tensor, y: Tensor) -> Tensor:
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return 2 * covariance / (x.var(unbiased=False) + y.var(unbiased=False) + (x.mean() - y.mean()) ** 2)
