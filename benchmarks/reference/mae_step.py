"""A masked-autoencoding step as it is usually written: all patches are embedded, then some are gathered.

Kept as it is: the README's figures are ratios to this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm  # type: ignore[import-untyped]
import torch
from timm.models.vision_transformer import Block  # type: ignore[import-untyped]
from torch import Tensor, nn


class PlainMAE(nn.Module):
    """timm's ViT-B/16 as the encoder, and the paper's decoder (512 wide, 8 blocks, 16 heads)."""

    def __init__(self) -> None:
        super().__init__()
        vit: Any = timm.create_model("vit_base_patch16_224", num_classes=0)
        self.vit, width = vit, vit.embed_dim
        self.embed = nn.Linear(width, 512)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, 512))
        self.positions = nn.Parameter(torch.zeros(1, 197, 512), requires_grad=False)
        self.blocks = nn.Sequential(*(Block(512, 16, qkv_bias=True) for _ in range(8)))
        self.norm = nn.LayerNorm(512)
        self.predict = nn.Linear(512, 768)

    def forward(self, image: Tensor, ratio: float) -> Tensor:
        """Return the loss of normalised (B, 3, 224, 224) images of which ``ratio`` of the patches is removed."""
        vit: Any = self.vit
        tokens = vit.patch_embed(image) + vit.pos_embed[:, 1:]
        batch, patches, width = tokens.shape
        kept = int(patches * (1 - ratio))
        shuffle = torch.rand(batch, patches, device=image.device).argsort(dim=1)
        restore = shuffle.argsort(dim=1)
        tokens = tokens.gather(1, shuffle[:, :kept, None].expand(-1, -1, width))
        first = (vit.cls_token + vit.pos_embed[:, :1]).expand(batch, -1, -1)
        tokens = self.embed(vit.norm(vit.blocks(torch.cat([first, tokens], dim=1))))
        filled = torch.cat([tokens[:, 1:], self.mask_token.expand(batch, patches - kept, -1)], dim=1)
        filled = filled.gather(1, restore[..., None].expand(-1, -1, 512))
        decoded = self.blocks(torch.cat([tokens[:, :1], filled], dim=1) + self.positions)
        prediction = self.predict(self.norm(decoded))[:, 1:]
        target = image.reshape(batch, 3, 14, 16, 14, 16).permute(0, 2, 4, 3, 5, 1).reshape(batch, patches, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        mask = torch.ones(batch, patches, device=image.device).scatter(1, shuffle[:, :kept], 0.0)
        error = (prediction - target).square().mean(dim=-1)
        loss: Tensor = (error * mask).sum() / mask.sum()
        return loss


def plain_step(ratio: float, device: str = "cpu") -> Callable[[Tensor, Tensor], None]:
    """Return a function that takes one float32 optimiser step on uint8 images; it does not look at labels.

    Args:
        ratio: share of patches that is removed.
        device: where the network is.
    """
    network = PlainMAE().train().to(device)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1.5e-4, betas=(0.9, 0.95), weight_decay=0.05)
    mean = torch.tensor([0.485, 0.456, 0.406], device=device).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], device=device).view(3, 1, 1)

    def step(image: Tensor, target: Tensor) -> None:
        loss = network((image.to(device).float() / 255 - mean) / std, ratio)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step
