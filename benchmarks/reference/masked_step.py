"""A masked CoTEX step as it is usually written with timm: all patches are embedded, then some are gathered.

Kept as it is: the README's figures are ratios to this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PlainView(nn.Module):
    """timm's ViT-B/16 with a head of six classes, looking at a random part of its patch tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.vit: Any = timm.create_model("vit_base_patch16_224", num_classes=6, drop_path_rate=0.1)

    def forward(self, image: Tensor, ratio: float) -> Tensor:
        """Return (B, 6) logits of normalised (B, 3, 224, 224) images of which ``ratio`` of the patches is dropped."""
        vit = self.vit
        tokens = vit.patch_embed(image) + vit.pos_embed[:, 1:]
        kept = int(tokens.shape[1] * (1 - ratio))
        index = (
            torch.rand(tokens.shape[:2], device=tokens.device)
            .argsort(dim=1)[:, :kept, None]
            .expand(-1, -1, tokens.shape[2])
        )
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(image), -1, -1)
        tokens = vit.norm(vit.blocks(torch.cat([first, tokens.gather(1, index)], dim=1)))
        logits: Tensor = vit.head(tokens[:, 0])
        return logits


def plain_step(ratio: float, device: str = "cpu") -> Callable[[Tensor, Tensor], None]:
    """Return a function that takes one float32 optimiser step on uint8 images and labels.

    Args:
        ratio: share of patches that each of the two views does not see.
        device: where the network is.
    """
    views = nn.ModuleList([PlainView(), PlainView()]).train().to(device)
    optimizer = torch.optim.AdamW(views.parameters(), lr=5e-4, weight_decay=0.15)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    def step(image: Tensor, target: Tensor) -> None:
        image, target = (image.to(device).float() / 255 - mean) / std, target.to(device)
        logits = [view(image, ratio) for view in views]
        first, second = (view.softmax(dim=1) for view in logits)
        middle = ((first + second) / 2).log()
        divergences = torch.stack([F.kl_div(middle, view, reduction="batchmean") for view in (first, second)])
        entropies = torch.stack([F.cross_entropy(view, target) for view in logits])
        loss = entropies.sum() + 100 / 3 * divergences.mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(views.parameters(), 0.05)
        optimizer.step()

    return step
