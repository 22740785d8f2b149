"""Vision Transformer encoder that can look at a part of its patches only."""

from __future__ import annotations

from functools import partial

import torch
from timm.models._manipulate import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from backbones.preprocessing import IMAGENET, Interpolation
from backbones.weights import load_weights


class ViT(VisionTransformer):
    """timm's ViT as MAE uses it: class token, learned position embeddings, LayerNorm eps 1e-6, no head.

    The ``state_dict`` names are timm's, which are also the official MAE's.

    Args:
        image_size: side of the square input in pixels, a multiple of ``patch_size``.
        patch_size: side of a patch in pixels.
        width: length of a token; a multiple of ``heads``.
        depth: number of blocks.
        heads: attention heads a block.
        drop_path: stochastic depth rate of the last block, rising linearly from 0.

    Attributes:
        preprocessing: how its images must be prepared; set by ``build_vit`` from the weights.

    Raises:
        ValueError: sizes that do not divide.
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        drop_path: float = 0.0,
    ) -> None:
        if image_size % patch_size:
            raise ValueError(f"image_size={image_size} is not a multiple of patch_size={patch_size}")
        if width % heads:
            raise ValueError(f"width={width} is not a multiple of heads={heads}")
        super().__init__(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            drop_path_rate=drop_path,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            weight_init="jax",  # Xavier-uniform matrices, as MAE trains from scratch
        )
        self.image_size = image_size
        self.patch_size = patch_size
        self.num_patches = (image_size // patch_size) ** 2
        self.preprocessing = IMAGENET.at(image_size)

    @torch.no_grad()
    def initialise_kernels(self, gain: float = 4.0) -> None:
        """Makes the random patch kernels blind to brightness: zero mean, and larger by ``gain``.

        Neighbouring pixels are so alike that a random kernel mostly answers to the mean of its patch, and the
        LayerNorm after it then hides edges and corners for hundreds of steps. What it gains: emma/README.md.
        """
        kernel = self.patch_embed.proj.weight
        kernel.sub_(kernel.mean(dim=(2, 3), keepdim=True)).mul_(gain)

    def forward_features(self, x: Tensor, keep: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Tokens after the last LayerNorm.

        Args:
            x: (B, 3, H, W) normalised images, H = W = ``image_size``.
            keep: (B, K) int64 indices of the patches to look at, row by row from the top left; None for all. Those
                left out are not even embedded.

        Returns:
            (B, 1 + K, width), the class token first.

        Raises:
            ValueError: another image size or a ``keep`` of another batch.
        """
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"this ViT takes {self.image_size} x {self.image_size} pixels, not {x.shape[-2]} x {x.shape[-1]}: "
                "resize the images, or build it with that image_size (position embeddings are then interpolated)"
            )
        if keep is None:
            return super().forward_features(x)
        if keep.ndim != 2 or len(keep) != len(x):
            raise ValueError(f"keep of shape {tuple(keep.shape)} for {len(x)} images: give (batch, kept patches)")
        assert self.cls_token is not None
        assert self.pos_embed is not None
        patches = self._embed_kept(x, keep) + self.pos_embed[0, 1:][keep]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        tokens = torch.cat([first, patches], dim=1)
        tokens = checkpoint_seq(self.blocks, tokens) if self.grad_checkpointing else self.blocks(tokens)
        normalised: Tensor = self.norm(tokens)
        return normalised

    def _embed_kept(self, x: Tensor, keep: Tensor) -> Tensor:
        """(B, K, width) embeddings of the kept patches: gathered first, then one product with the kernel."""
        side, grid = self.patch_size, self.image_size // self.patch_size
        patches = x.view(len(x), -1, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
        image = torch.arange(len(x), device=x.device)[:, None]
        kept = patches[image, keep // grid, keep % grid]
        projection = self.patch_embed.proj
        return F.linear(kept.flatten(2), projection.weight.flatten(1), projection.bias)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Class-token feature (B, width); arguments as in ``forward_features``."""
        return self.forward_features(x, keep)[:, 0]


def build_vit(
    *,
    image_size: int,
    patch_size: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    drop_path: float = 0.1,
    weights: str | None,
    interpolation: Interpolation | None = None,
) -> ViT:
    """A ViT with weights.

    Args:
        image_size: as in ``ViT``, like all the others.
        patch_size: see ``ViT``.
        width: see ``ViT``.
        depth: see ``ViT``.
        heads: see ``ViT``.
        drop_path: see ``ViT``.
        weights: see ``backbones.weights.load_weights``; None leaves the network as initialised, for a checkpoint to
            fill in. Their position embeddings are interpolated to ``image_size``.
        interpolation: of the resize of the images to ``image_size``; None: that of the weights.

    Raises:
        WeightsError: weights that cannot be had or do not fit.
    """
    network = ViT(
        image_size=image_size, patch_size=patch_size, width=width, depth=depth, heads=heads, drop_path=drop_path
    )
    if weights == "random":
        network.initialise_kernels()
    preprocessing = IMAGENET if weights is None else load_weights(network, weights, kind="vit", head=("head.",))
    network.preprocessing = preprocessing.at(image_size, interpolation)
    return network


def keep_lowest(noise: Tensor, ratio: float) -> Tensor:
    """Indices of the patches that stay when a share of them is removed: those of the lowest noise.

    Args:
        noise: (B, N), one number a patch.
        ratio: share removed, in [0, 1).

    Returns:
        (B, int(N * (1 - ratio))) int64, by ascending noise.

    Raises:
        ValueError: nothing would be left, or ``ratio`` out of range.
    """
    patches = noise.shape[1]
    kept = int(patches * (1 - ratio))
    if not 0 <= ratio < 1 or kept < 1:
        raise ValueError(f"mask ratio {ratio} of {patches} patches leaves none: choose one in [0, {1 - 1 / patches:g}]")
    return noise.argsort(dim=1)[:, :kept]


def random_keep(batch: int, patches: int, ratio: float, generator: torch.Generator) -> Tensor:
    """Random patches to keep for each image, on the generator's device; see ``keep_lowest``."""
    return keep_lowest(torch.rand(batch, patches, generator=generator, device=generator.device), ratio)
