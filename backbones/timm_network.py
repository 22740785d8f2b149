"""Build any timm model without its classifier, with weights and the preprocessing that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from affect.errors import WeightsError
from affect.preprocessing import IMAGENET, Interpolation
from affect.settings import Count, Dropped
from backbones.normalize import Normalize
from backbones.weights import load_weights


class PooledNetwork(nn.Module):
    """Base of the networks that work on the pooled features of a timm model.

    Args:
        backbone: name of a timm model, for example ``resnet50``.
        image_size: side of the square input in pixels.
        weights: a registry name, a path, ``timm:NAME`` or ``random``; None leaves the backbone as initialised. A
            classifier in them is not read.
        drop_path: stochastic depth rate, where the backbone has one.
        mean: mean of each RGB channel in [0, 1]; None: that of the weights, or ImageNet's where they do not tell.
        std: standard deviation of each RGB channel in [0, 1]; None: in the same way.
        interpolation: how images are resized to ``image_size``; None: as the weights want it.

    Attributes:
        backbone: the timm model without its classifier.
        num_features: length F of the pooled features.
        preprocessing: how the images must be prepared.
        frozen: whether the backbone stays as it is, in evaluation mode and without gradients.

    Raises:
        WeightsError: timm has no such model, or the weights cannot be had or do not fit.
    """

    def __init__(
        self,
        backbone: str,
        *,
        image_size: Count = 224,
        weights: str | None,
        drop_path: Dropped = 0.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: Interpolation | None = None,
    ) -> None:
        super().__init__()
        self.backbone = _create(backbone, image_size, drop_path)
        # VGG's features are not as long as its feature map is deep
        size: Any = getattr(self.backbone, "head_hidden_size", None) or self.backbone.num_features
        self.num_features = int(size)
        own = IMAGENET
        if weights is not None:
            kind: Literal["vit", "timm"] = "vit" if isinstance(self.backbone, VisionTransformer) else "timm"
            own = load_weights(self.backbone, weights, kind=kind, head=_head_names(self.backbone))
        own = replace(own, mean=_rgb(mean) or own.mean, std=_rgb(std) or own.std)
        self.preprocessing = own.at(image_size, interpolation)
        self.normalize = Normalize(self.preprocessing)
        self.frozen = False
        self.to(memory_format=torch.channels_last)  # convolutions are faster in it

    def freeze(self, frozen: bool) -> None:
        """Start or end the training of the classifier alone.

        No parameter's ``requires_grad`` changes, because DDP decides at the start which ones it synchronises.
        """
        self.frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> PooledNetwork:
        """Set the training mode of everything but a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def features(self, image: Tensor) -> Tensor:
        """Return pooled features (B, F) of (B, 3, H, W) images, uint8 or 0..255."""
        normalised = self.normalize(image).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pooled: Tensor = self.backbone(normalised)
        return pooled


def _create(name: str, image_size: int, drop_path: float) -> nn.Module:
    """Build a timm model without its classifier, for images of this size."""
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:8]) or "see timm.list_models()"
        raise WeightsError(f"backbone {name!r}: timm has no such model; there are: {close}")
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        network: nn.Module = timm.create_model(name, num_classes=0, img_size=image_size, **options)
    except TypeError:  # a convolutional network takes images of any size, and has no such argument
        network = timm.create_model(name, num_classes=0, **options)
    return network


def _rgb(values: Sequence[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    red, green, blue = values
    return red, green, blue


def _head_names(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the classifier's parameters, in timm's files and in those of EmotiEffNet."""
    cfg: Any = network.pretrained_cfg
    classifier = cfg.get("classifier") or "head"
    names = [classifier] if isinstance(classifier, str) else list(classifier)
    return tuple(f"{name}." for name in [*names, "AuxLogits", "classifier"])
