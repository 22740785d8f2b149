"""The network of masked CoTEX: several ViTs, each with its own linear head and its own view of the face.

Source: Li et al. 2022, "Affective Behaviour Analysis Using Pretrained Model with Facial Prior", section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack, cast

import torch
from torch import Tensor, nn

from affect.errors import WeightsError
from affect.labels import LSD_EXPRESSIONS
from affect.preprocessing import Interpolation
from affect.settings import Count, Dropped, buildable
from backbones.normalize import Normalize
from backbones.visible import visible_patches
from backbones.vit import Sizes, ViT, build_vit


class CoTEX(nn.Module):
    """Several views of one face: each is a ViT that sees some patches, and a Linear layer to the six expressions.

    Args:
        vits: one backbone per view, all with the same image size and patch size.

    Raises:
        WeightsError: the backbones need different preprocessing.
        ValueError: there is no backbone, or the backbones have different patches.
    """

    tasks, expressions = ("expression",), LSD_EXPRESSIONS

    def __init__(self, vits: Sequence[ViT]) -> None:
        super().__init__()
        if not vits:
            raise ValueError("model.network.views=0: masked CoTEX needs at least one view")
        if len({vit.num_patches for vit in vits}) > 1:
            raise ValueError("the views' ViTs cut the image into different numbers of patches")
        if len({vit.preprocessing for vit in vits}) > 1:
            raise WeightsError("the views see the same images, but their weights want them prepared differently")
        self.preprocessing = vits[0].preprocessing
        self.num_patches = vits[0].num_patches
        self.normalize = Normalize(self.preprocessing)
        self.vits = nn.ModuleList(vits)
        self.heads = nn.ModuleList(nn.Linear(vit.num_features, len(LSD_EXPRESSIONS)) for vit in vits)

    @property
    def backbones(self) -> list[ViT]:
        """Return the ViT of each view."""
        return cast(list[ViT], list(self.vits))

    def forward(
        self, image: Tensor, keep: Sequence[Tensor] | None = None, augmentation: Tensor | None = None
    ) -> list[Tensor]:
        """Return the logits of each view.

        Args:
            image: (B, 3, H, W), uint8 or 0..255.
            keep: (B, K) int64 patches for each view; None: every view sees all patches, as in evaluation.
            augmentation: (B, 8) parameters of ``affect.batch.Augmentation`` for the kept patches; then the images are
                as stored (``backbones.visible``).

        Returns:
            One (B, 6) tensor per view.
        """
        if augmentation is not None:
            return self._see(image, keep, augmentation)
        image = self.normalize(image)
        seen = [None] * len(self.vits) if keep is None else keep
        return [head(vit(image, kept)) for vit, head, kept in zip(self.vits, self.heads, seen, strict=True)]

    def _see(self, image: Tensor, keep: Sequence[Tensor] | None, augmentation: Tensor) -> list[Tensor]:
        """Return the logits of each view, computed from the pixels of its kept patches alone."""
        if keep is None:
            every = torch.arange(self.num_patches, device=image.device).expand(len(image), -1)
            keep = [every] * len(self.vits)
        first = self.backbones[0]
        with torch.autocast(image.device.type, enabled=False):  # bf16 has only 8 bits, pixels need more
            patches = visible_patches(
                image,
                augmentation,
                torch.cat(list(keep), dim=1),
                image_size=first.image_size,
                patch_size=first.patch_size,
                interpolation=self.preprocessing.interpolation,
            )
        of_each = self.normalize(patches).chunk(len(self.vits), dim=1)
        return [
            head(vit.forward_patches(part, kept))
            for vit, head, part, kept in zip(self.backbones, self.heads, of_each, keep, strict=True)
        ]


@buildable("model")
def build_cotex(
    *,
    views: Count = 2,
    weights: str | list[str] | None,
    drop_path: Dropped = 0.1,
    interpolation: Interpolation | None = None,
    **sizes: Unpack[Sizes],
) -> CoTEX:
    """Build a CoTEX network with weights.

    Args:
        views: number of ViTs; 1 is the row "ViT" of Table 2.
        weights: those of all views, or a list with one for each: a registry name, a path, ``timm:NAME`` or
            ``random``; None leaves the views as initialised.
        drop_path: stochastic depth rate of each ViT's last block.
        interpolation: how images are resized to ``image_size``; None: as the weights want it.
        **sizes: keywords of ``backbones.vit.ViT``.

    Raises:
        ValueError: ``weights`` lists more or fewer files than there are views.
        WeightsError: weights that cannot be had or do not fit.
    """
    each = weights if isinstance(weights, list) else [weights] * views
    if len(each) != views:
        raise ValueError(f"model.network.weights lists {len(each)} weights for model.network.views={views}")
    return CoTEX([build_vit(weights=one, drop_path=drop_path, interpolation=interpolation, **sizes) for one in each])
