"""Build a Vision Transformer encoder that can look at some of its patches only."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypedDict, Unpack

import torch
from timm.models._manipulate import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from affect.preprocessing import IMAGENET, Interpolation
from affect.settings import Count, Dropped, buildable
from backbones.weights import load_weights


class ConvStem(nn.Module):
    """Embeds patches with convolutions that halve the picture four times, and a 1 x 1 layer, instead of one matrix.

    It is for training on few faces without pre-training: edges and textures need not be learned anew for every position
    in a patch (Xiao et al. 2021, "Early Convolutions Help Transformers See Better", https://arxiv.org/abs/2106.14881).
    It sees across the borders of patches, so it cannot be used with masks. emma/README.md shows what it gains.

    Args:
        width: length of a token.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        channels, layers = 3, list[nn.Module]()
        for out, stride in ((32, 2), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2)):
            layers += [nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, width, 1)).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (B, 3, H, W) images, H and W multiples of 16, into (B, N, width) tokens, row by row."""
        tokens: Tensor = self.layers(x.contiguous(memory_format=torch.channels_last))
        return tokens.flatten(2).transpose(1, 2)


class Sizes(TypedDict, total=False):
    """The sizes of a ``ViT``, as keywords; those that are left out have the defaults of ``ViT``."""

    image_size: Count
    patch_size: Count
    width: Count
    depth: Count
    heads: Count


class ViT(VisionTransformer):
    """timm's ViT as MAE uses it: class token, learned position embeddings, LayerNorm eps 1e-6, no head.

    The ``state_dict`` names are timm's, which are also the official MAE's.

    Args:
        image_size: side of the square input in pixels, a multiple of ``patch_size``.
        patch_size: side of a patch in pixels.
        width: length of a token; a multiple of ``heads``.
        depth: number of blocks.
        heads: attention heads per block.
        drop_path: stochastic depth rate of the last block, rising linearly from 0.
        stem: ``linear``, one matrix per patch, which pretrained weights and masks need; or ``conv``, a ``ConvStem``,
            for training from nothing.

    Attributes:
        preprocessing: how the images must be prepared; ``build_vit`` sets it from the weights.

    Raises:
        ValueError: a size is not a multiple of the one that must divide it.
    """

    def __init__(
        self,
        *,
        image_size: Count = 224,
        patch_size: Count = 16,
        width: Count = 768,
        depth: Count = 12,
        heads: Count = 12,
        drop_path: Dropped = 0.0,
        stem: Literal["linear", "conv"] = "linear",
    ) -> None:
        if stem == "conv" and patch_size != 16:
            raise ValueError(f"stem=conv makes patches of 16 pixels, not patch_size={patch_size}")
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
        self.stem = stem
        if stem == "conv":
            self.patch_embed = ConvStem(width)
        self.preprocessing = IMAGENET.at(image_size)

    @torch.no_grad()
    def initialise_embeddings(self, gain: float = 4.0) -> None:
        """Prepare random embeddings for training from nothing: kernels that see edges, positions that differ.

        Kernels get zero mean and are multiplied by ``gain``. Neighbouring pixels are so alike that a random kernel
        mostly responds to the mean of its patch, and the LayerNorm after it then hides edges and corners for hundreds
        of steps. Positions get the variance of sine-cosine positions. While they are small compared with the patches,
        the class token sees the mean of all patches and cannot tell a mouth from a brow. emma/README.md shows what
        both gain.
        """
        if self.stem == "linear":
            kernel = self.patch_embed.proj.weight
            kernel.sub_(kernel.mean(dim=(2, 3), keepdim=True)).mul_(gain)
        assert self.pos_embed is not None
        self.pos_embed[:, 1:].normal_(std=0.7)

    def forward_features(self, x: Tensor, keep: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Return the tokens after the last LayerNorm.

        Args:
            x: (B, 3, H, W) normalised images, H = W = ``image_size``.
            keep: (B, K) int64 indices of the patches to look at, row by row from the top left; None for all. The
                others are not even embedded.

        Returns:
            (B, 1 + K, width), the class token first.

        Raises:
            ValueError: the images have another size, ``keep`` has another batch size, or it is given though ``stem``
                is ``conv``.
        """
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"this ViT takes {self.image_size} x {self.image_size} pixels, not {x.shape[-2]} x {x.shape[-1]}: "
                "resize the images, or build it with that image_size (position embeddings are then interpolated)"
            )
        if keep is not None and (keep.ndim != 2 or len(keep) != len(x)):
            raise ValueError(f"keep of shape {tuple(keep.shape)} for {len(x)} images: give (batch, kept patches)")
        return self._encode(self._embed(x, keep), keep)

    def forward_patches(self, patches: Tensor, keep: Tensor) -> Tensor:
        """Return the class-token feature (B, width) of patches that are already cut out.

        Args:
            patches: (B, K, 3, patch_size, patch_size), normalised.
            keep: (B, K) int64, their positions, counted row by row from the top left.
        """
        return self._encode(self._project(patches), keep)[:, 0]

    def _encode(self, embedded: Tensor, keep: Tensor | None) -> Tensor:
        """Turn (B, K, width) embedded patches into (B, 1 + K, width) tokens after the last LayerNorm."""
        assert self.cls_token is not None
        assert self.pos_embed is not None
        position = self.pos_embed[0, 1:]
        patches = embedded + (position if keep is None else position[keep])
        first = (self.cls_token + self.pos_embed[:, :1]).expand(patches.shape[0], -1, -1)
        tokens = torch.cat([first, patches], dim=1)
        tokens = checkpoint_seq(self.blocks, tokens) if self.grad_checkpointing else self.blocks(tokens)
        normalised: Tensor = self.norm(tokens)
        return normalised

    def _embed(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """Return (B, K, width) embeddings of the kept patches: gathered first, then projected."""
        if self.stem == "conv":
            if keep is not None:
                raise ValueError("a convolutional stem sees across patches, so none can be left out: use stem=linear")
            tokens: Tensor = self.patch_embed(x)
            return tokens
        side, grid = self.patch_size, self.image_size // self.patch_size
        patches = x.view(x.shape[0], -1, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
        if keep is None:
            kept = patches.flatten(1, 2)
        else:
            image = torch.arange(len(x), device=x.device)[:, None]
            kept = patches[image, keep // grid, keep % grid]
        return self._project(kept)

    def _project(self, patches: Tensor) -> Tensor:
        """Turn (B, K, 3, P, P) patches into (B, K, width) embeddings.

        This is a matrix product and not a convolution, for whole images too: on CPUs the gradient of the convolution's
        kernel takes a third of a small ViT's training step.
        """
        projection = self.patch_embed.proj
        return F.linear(patches.flatten(2), projection.weight.flatten(1), projection.bias)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Return the class-token feature (B, width); arguments as in ``forward_features``."""
        return self.forward_features(x, keep)[:, 0]


@buildable("model")
def build_vit(
    *,
    drop_path: Dropped = 0.1,
    stem: Literal["linear", "conv"] = "linear",
    weights: str | None,
    interpolation: Interpolation | None = None,
    **sizes: Unpack[Sizes],
) -> ViT:
    """Build a ViT with weights.

    Args:
        drop_path: stochastic depth rate of the last block, rising linearly from 0.
        stem: ``linear``, or ``conv`` for training from nothing.
        weights: a registry name, a path, ``timm:NAME`` or ``random``; None leaves the network as initialised, for a
            checkpoint to fill in. Their position embeddings are interpolated to ``image_size``.
        interpolation: how images are resized to ``image_size``; None: as the weights want it.
        **sizes: keywords of ``ViT``.

    Raises:
        WeightsError: weights that cannot be had or do not fit.
    """
    network = ViT(drop_path=drop_path, stem=stem, **sizes)
    if weights == "random":
        network.initialise_embeddings()
    preprocessing = IMAGENET if weights is None else load_weights(network, weights, kind="vit", head=("head.",))
    network.preprocessing = preprocessing.at(network.image_size, interpolation)
    return network


def sincos_positions(width: int, grid: int) -> Tensor:
    """Return the fixed sine-cosine embeddings of a square of patches, as MAE uses them (official ``pos_embed.py``).

    The first half of an embedding encodes the column, the second half the row. Each half has the sines of ``width / 4``
    frequencies from 1 down to nearly 1/10,000, then the cosines.

    Args:
        width: length of an embedding, a multiple of 4.
        grid: patches along a side.

    Returns:
        (1, 1 + grid², width) float32; the class token's is 0.
    """
    frequency = 10_000 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency
    one = torch.cat([angle.sin(), angle.cos()], dim=1)  # (grid, width / 2)
    column, row = one.expand(grid, -1, -1), one[:, None].expand(-1, grid, -1)
    positions = torch.cat([column, row], dim=-1).flatten(0, 1)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), positions]).float()[None]
