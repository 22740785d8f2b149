"""Masked autoencoder (He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377).

It is written from the paper and from the names in the published checkpoints, which ``state_dict`` keeps: the encoder
has the names of timm's ViT, those of the decoder begin with ``decoder_``.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Unpack

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from affect.preprocessing import Interpolation
from affect.settings import Count, buildable
from backbones.vit import Sizes, ViT, sincos_positions
from backbones.weights import load_weights

DECODER = ("decoder_", "mask_token")
"""The beginnings of the names that an encoder alone does not have."""


@buildable("model")
class MAE(ViT):
    """A ViT that sees few patches, and a decoder that draws the others.

    The class is the encoder and adds the decoder's parts, so that the names are the official ones, and the encoder is
    what remains without the decoder's names (``encoder_state``).

    Args:
        learned_positions: start the encoder with ``ViT.initialise_embeddings`` and train its position embeddings.
            False, as published: they are fixed sine-cosine positions. On a small grid those are so alike that the
            fine-tuned network suffers (emma/README.md). The decoder's positions are always fixed.
        decoder_width: length of the decoder's tokens, a multiple of 4 and of ``decoder_heads``.
        decoder_depth: number of the decoder's blocks.
        decoder_heads: attention heads of each decoder block.
        weights: a registry name, a path or ``timm:NAME``; None and ``random`` leave the network as initialised.
        weights_for: ``all``: the weights are those of a whole masked autoencoder; ``encoder``: those of a ViT.
        interpolation: how images are resized to ``image_size``; None: as the weights want it.
        **sizes: keywords of ``ViT`` for the encoder, whose ``width`` must also be a multiple of 4.

    Raises:
        ValueError: a size is not a multiple of the one that must divide it, or ``weights_for`` is unknown.
        WeightsError: weights that cannot be had or do not fit.
    """

    def __init__(
        self,
        *,
        learned_positions: bool = False,
        decoder_width: Count = 512,
        decoder_depth: Count = 8,
        decoder_heads: Count = 16,
        weights: str | None = None,
        weights_for: Literal["all", "encoder"] = "all",
        interpolation: Interpolation | None = None,
        **sizes: Unpack[Sizes],
    ) -> None:
        super().__init__(**sizes)
        width: int = self.embed_dim
        if width % 4 or decoder_width % 4 or decoder_width % decoder_heads:
            raise ValueError(
                f"MAE(width={width}, decoder_width={decoder_width}, decoder_heads={decoder_heads}): widths must be "
                "multiples of 4 (sine-cosine positions), the decoder's also of its heads"
            )
        if weights_for not in ("all", "encoder"):
            raise ValueError(f"MAE weights_for={weights_for!r}: choose 'all' or 'encoder'")
        grid = self.image_size // self.patch_size
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_width))
        self.decoder_pos_embed = nn.Parameter(sincos_positions(decoder_width, grid), requires_grad=False)
        self.decoder_embed = nn.Linear(width, decoder_width)
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.decoder_blocks = nn.Sequential(
            *(Block(decoder_width, decoder_heads, qkv_bias=True, norm_layer=norm) for _ in range(decoder_depth))
        )
        self.decoder_norm = norm(decoder_width)
        self.decoder_pred = nn.Linear(decoder_width, self.patch_size**2 * 3)
        assert self.pos_embed is not None
        self.pos_embed.requires_grad_(learned_positions)
        self._initialise(grid)
        if learned_positions:
            self.initialise_embeddings()
        if weights is not None and weights != "random":  # without a warning, because pre-training starts untrained
            if weights_for == "all":
                self.preprocessing = load_weights(self, weights, kind="mae")
            else:
                self.preprocessing = load_weights(self, weights, kind="vit", head=DECODER)
        self.preprocessing = self.preprocessing.at(self.image_size, interpolation)

    @torch.no_grad()
    def _initialise(self, grid: int) -> None:
        """Initialise matrices (Xavier-uniform), tokens (small) and positions (fixed) as the official code does."""
        assert self.pos_embed is not None
        assert self.cls_token is not None
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        self.pos_embed.copy_(sincos_positions(self.pos_embed.shape[-1], grid))

    def decode(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """Draw the pixels of all patches from the encoder's tokens for some of them.

        Args:
            tokens: (B, 1 + K, width) from ``forward_features(x, keep)``.
            keep: (B, K) int64, the patches that they belong to.

        Returns:
            (B, N, patch_size² · 3), in the order of ``patch_pixels``.
        """
        embedded = self.decoder_embed(tokens)
        places = keep[..., None].expand(-1, -1, embedded.shape[-1])
        patches = self.mask_token.to(embedded.dtype).expand(len(keep), self.num_patches, -1)
        filled = torch.cat([embedded[:, :1], patches.scatter(1, places, embedded[:, 1:])], dim=1)
        decoded = self.decoder_norm(self.decoder_blocks(filled + self.decoder_pos_embed))
        pixels: Tensor = self.decoder_pred(decoded[:, 1:])
        return pixels

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:  # type: ignore[override]
        """Draw all patches (B, N, patch_size² · 3) of normalised images (B, 3, H, W), of which it sees ``keep``."""
        return self.decode(self.forward_features(x, keep), keep)

    def patch_pixels(self, images: Tensor) -> Tensor:
        """Cut (B, 3, H, W) images into (B, N, patch_size² · 3) patches; pixels are ordered by row, column, colour."""
        side, grid = self.patch_size, self.image_size // self.patch_size
        pieces = images.reshape(len(images), 3, grid, side, grid, side)
        return pieces.permute(0, 2, 4, 3, 5, 1).reshape(len(images), grid**2, -1)

    def assemble(self, pixels: Tensor) -> Tensor:
        """Join (B, N, patch_size² · 3) patches into (B, 3, H, W) images: the inverse of ``patch_pixels``."""
        side, grid = self.patch_size, self.image_size // self.patch_size
        pieces = pixels.reshape(len(pixels), grid, grid, side, side, 3)
        return pieces.permute(0, 5, 1, 3, 2, 4).reshape(len(pixels), 3, self.image_size, self.image_size)

    def encoder_state(self) -> dict[str, Tensor]:
        """Return the state dict of the encoder alone, under the names of the official pre-trained files."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(DECODER)}
