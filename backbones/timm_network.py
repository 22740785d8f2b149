"""Any network of timm without its classifier, with weights and the preprocessing that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from affect.preprocessing import IMAGENET, Interpolation, Preprocessing
from backbones.normalize import Normalize
from backbones.state import WeightsError
from backbones.weights import load_weights


class PooledNetwork(nn.Module):
    """Base of networks on pooled features: a backbone, how its images are prepared, and whether it is trained.

    Attributes:
        backbone: of timm, without its classifier.
        preprocessing: how its images must be prepared.
        frozen: whether the backbone is left as it is: evaluated, and without gradients.
    """

    def __init__(self, backbone: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.backbone, self.preprocessing = backbone, preprocessing
        self.normalize = Normalize(preprocessing)
        self.frozen = False

    def freeze(self, frozen: bool) -> None:
        """Start or end the training of the classifier alone.

        No parameter's ``requires_grad`` changes: DDP notes once, at the start, which ones it synchronises.
        """
        self.frozen = frozen
        self.train(self.training)

    def train(self, mode: bool = True) -> PooledNetwork:
        """Set the training mode of everything that is trained."""
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


def build_timm(
    name: str,
    *,
    image_size: int,
    weights: str | None,
    drop_path: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    interpolation: Interpolation | None = None,
) -> tuple[nn.Module, Preprocessing]:
    """Build a timm network that gives pooled features.

    Args:
        name: of a timm model, for example ``resnet50``.
        image_size: side of the square input in pixels.
        weights: a registry name, a path, ``timm:NAME`` or ``random``; None leaves the network as initialised. A
            classifier in them is not read.
        drop_path: stochastic depth rate, where the network has one.
        mean: of RGB values in [0, 1], where the weights' file does not tell and it is not ImageNet's.
        std: of RGB values in [0, 1], where it is not ImageNet's either.
        interpolation: of the resize to ``image_size``; None: that of the weights.

    Returns:
        The network, and how its images must be prepared.

    Raises:
        WeightsError: timm has no such model, or the weights cannot be had or do not fit.
    """
    network = _create(name, image_size, drop_path)
    own = IMAGENET
    if weights is not None:
        kind: Literal["vit", "timm"] = "vit" if isinstance(network, VisionTransformer) else "timm"
        own = load_weights(network, weights, kind=kind, head=_head_names(network))
    own = replace(own, mean=_rgb(mean) or own.mean, std=_rgb(std) or own.std)
    return network, own.at(image_size, interpolation)


def feature_size(network: nn.Module) -> int:
    """Return the length of the vector that a timm model without classifier gives; VGG's is not its feature map's."""
    return int(getattr(network, "head_hidden_size", None) or network.num_features)  # type: ignore[arg-type]


def _create(name: str, image_size: int, drop_path: float) -> nn.Module:
    """Build a timm model without its classifier, for images of this size."""
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:8]) or "see timm.list_models()"
        raise WeightsError(f"backbone {name!r}: timm has no such model; there are: {close}")
    options: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        network: nn.Module = timm.create_model(name, num_classes=0, img_size=image_size, **options)
    except TypeError:  # a convolutional network takes any size, and no such argument
        network = timm.create_model(name, num_classes=0, **options)
    return network


def _rgb(values: Sequence[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    red, green, blue = values
    return red, green, blue


def _head_names(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of what belongs to the classifier of the weights' authors, or of EmotiEffNet's export."""
    cfg: Any = network.pretrained_cfg
    classifier = cfg.get("classifier") or "head"
    names = [classifier] if isinstance(classifier, str) else list(classifier)
    return tuple(f"{name}." for name in [*names, "AuxLogits", "classifier"])
