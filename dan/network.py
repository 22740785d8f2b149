"""DAN, the distract-your-attention network (Wen et al. 2021, arXiv:2109.07270).

It is written from the paper and keeps the names in the published checkpoints: ``features.*``, ``cat_head<k>.*``,
``fc.*``, ``bn.*``.
"""

from __future__ import annotations

from typing import Literal

import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from affect.labels import AFFECTNET_EXPRESSIONS
from affect.preprocessing import IMAGENET, Interpolation
from affect.settings import Count, buildable
from backbones.normalize import Normalize
from backbones.weights import load_weights


@buildable("model")
class DAN(nn.Module):
    """A ResNet-18 trunk, several cross-attention heads, and one classifier on their sum.

    Args:
        num_classes: number of outputs.
        num_heads: number of attention heads.
        width: channels of the trunk's first stage, a multiple of 2; 64 is ResNet-18. Features have 8 x ``width``.
        image_size: side of the images in pixels, at least 32.
        weights: a registry name, a path, or ``timm:NAME`` for a trunk; None initialises the network as the published
            code does, ``random`` so that it learns without a pretrained trunk.
        weights_for: ``all``: the weights are those of a whole DAN; ``trunk``: those of a ResNet-18.
        interpolation: how images are resized to ``image_size``; None: as the weights want it.

    Attributes:
        num_features: channels C of the feature map and of each head.
        expressions: names of the expression classes, in AffectNet's own order; also as ``output_names``.
        preprocessing: how the images must be prepared.

    Raises:
        ValueError: a size is out of range, or ``weights_for`` is unknown.
        WeightsError: the weights cannot be had or do not fit.
    """

    tasks = ("expression",)

    def __init__(
        self,
        num_classes: Count = 8,
        num_heads: Count = 4,
        width: Count = 64,
        image_size: Count = 224,
        weights: str | None = None,
        weights_for: Literal["all", "trunk"] = "all",
        interpolation: Interpolation | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or num_classes < 1 or width < 2 or width % 2 or image_size < 32:
            raise ValueError(
                f"DAN(num_classes={num_classes}, num_heads={num_heads}, width={width}, image_size={image_size}): "
                "at least one class and head, an even width, images of 32 pixels or more"
            )
        if weights_for not in ("all", "trunk"):
            raise ValueError(f"DAN weights_for={weights_for!r}: choose 'all' or 'trunk'")
        channels = 8 * width
        self.expressions = self.output_names = AFFECTNET_EXPRESSIONS[:num_classes]
        self.num_classes, self.num_heads, self.num_features = num_classes, num_heads, channels
        self.features = _trunk(width)
        for index in range(num_heads):
            self.add_module(f"cat_head{index}", CrossAttentionHead(channels))
        self.fc = nn.Linear(channels, num_classes)
        self.bn = nn.BatchNorm1d(num_classes)
        self.apply(_initialise)
        if weights == "random":
            _initialise_untrained(self)
        preprocessing = IMAGENET
        if weights is not None and weights_for == "trunk":
            preprocessing = load_weights(self.features, weights, kind="resnet18")
        elif weights is not None:
            preprocessing = load_weights(self, weights, kind="dan")
        self.preprocessing = preprocessing.at(image_size, interpolation)
        self.to(memory_format=torch.channels_last)  # convolutions are faster in it

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled trunk features (B, C) and scores (B, num_classes) of (B, 3, H, W) images, uint8 or 0..255.

        This is the interface ``features.extraction.Embedder``. Unlike ``forward``, it normalises the images.
        """
        logits, feature_map, _ = self(Normalize(self.preprocessing).to(image.device)(image))
        return feature_map.mean(dim=(2, 3)), logits

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores, and the tensors that the two attention losses need.

        Args:
            x: (B, 3, H, W) normalised images, any size from 32 pixels.

        Returns:
            Logits (B, num_classes); trunk feature map (B, C, H / 32, W / 32); heads (B, num_heads, C), after the
            log-softmax over the heads.
        """
        feature_map = self.features(x.contiguous(memory_format=torch.channels_last))
        heads = torch.stack([self.get_submodule(f"cat_head{k}")(feature_map) for k in range(self.num_heads)], dim=1)
        if self.num_heads > 1:  # over a single head it would be 0 everywhere
            heads = heads.log_softmax(dim=1)
        return self.bn(self.fc(heads.sum(dim=1))), feature_map, heads


class CrossAttentionHead(nn.Module):
    """Spatial attention on the feature map, then channel attention on its pooled result."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sa = SpatialAttention(channels)
        self.ca = ChannelAttention(channels)

    def forward(self, feature_map: Tensor) -> Tensor:
        """Turn a (B, C, h, w) feature map into (B, C) features."""
        pooled = self.sa(feature_map).mean(dim=(2, 3))
        weighted: Tensor = pooled * self.ca(pooled)
        return weighted


class SpatialAttention(nn.Module):
    """Weighs each position with one map, which convolutions of three shapes make of half the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.conv1x1 = _convolution(channels, inner, (1, 1))
        self.conv_3x3 = _convolution(inner, channels, (3, 3))
        self.conv_1x3 = _convolution(inner, channels, (1, 3))
        self.conv_3x1 = _convolution(inner, channels, (3, 1))

    def forward(self, feature_map: Tensor) -> Tensor:
        """Return the weighted (B, C, h, w) feature map."""
        reduced = self.conv1x1(feature_map)
        seen = (self.conv_3x3(reduced) + self.conv_1x3(reduced) + self.conv_3x1(reduced)).relu()
        weighted: Tensor = feature_map * seen.sum(dim=1, keepdim=True)
        return weighted


class ChannelAttention(nn.Module):
    """A gate in (0, 1) for each channel, through a bottleneck of a sixteenth of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 16
        self.attention = nn.Sequential(
            nn.Linear(channels, inner), nn.BatchNorm1d(inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid()
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """Return the (B, C) gate of (B, C) pooled features."""
        gate: Tensor = self.attention(pooled)
        return gate


def _convolution(channels_in: int, channels_out: int, kernel: tuple[int, int]) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, kernel, padding=padding), nn.BatchNorm2d(channels_out))


def _trunk(width: int) -> nn.Sequential:
    """Build ResNet-18 up to its last feature map; layers have the numbers of the published checkpoints."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    channels_in = width
    for stage in range(4):
        channels = width * 2**stage
        stride = 1 if stage == 0 else 2
        shortcut = None
        if stage > 0:
            shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )
        layers.append(
            nn.Sequential(BasicBlock(channels_in, channels, stride, shortcut), BasicBlock(channels, channels))
        )
        channels_in = channels
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """Initialise convolutions (Kaiming-normal, for ReLU) and linear layers (small) for training from scratch."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.001)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _initialise_untrained(network: DAN) -> None:
    """Initialise a network with an untrained trunk: with different heads, and scores so small that noise costs little.

    The last BatchNorm gives the scores variance 1, whatever the features are. While the features say nothing about the
    class, the scores are noise, and the quickest way to a lower cross entropy is to make all scores of a face equal.
    Then one direction of the heads outgrows the others, and training stays at chance for up to six epochs of ten
    thousand faces. With a weight of 0.3 the noise costs a tenth, and the network learns the classes first.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    nn.init.constant_(network.bn.weight, 0.3)
