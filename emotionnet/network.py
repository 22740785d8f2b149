"""EmotionNet, which won the multi-task challenge of ABAW3: action units as signs, and what they say, as messages.

Source: Deng 2022 (arXiv 2203.12845; github.com/wtomin/ABAW3_MultiEmotionNet, whose code has no licence and is not used
here). The names in the state dict are those of the published checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, cast

import torch
from timm.layers.conv_bn_act import ConvNormAct
from timm.models.inception_v3 import InceptionA, InceptionB, InceptionC
from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.labels import ACTION_UNITS, AFFECT, EXPRESSIONS, TASKS, label_names
from affect.preprocessing import IMAGENET, Interpolation
from affect.settings import Count, buildable
from backbones.normalize import Normalize
from backbones.weights import load_weights

REGIONS: Final = len(ACTION_UNITS) + 5
"""The network looks for AU5, 9, 14, 16 and 17, too, behind the twelve that have labels."""

_WIDTH: Final = 16  # of an embedding
_CHANNELS: Final = 768  # of InceptionV3's Mixed_6e
_DIVISORS: Final = (1, 2, 4, 8, 16)  # of every width of InceptionV3


class Sight(NamedTuple):
    """What the network makes of B faces before its classifiers; C is 768 / ``width_divisor``."""

    feature_map: Tensor  # (B, C, h, w)
    maps: Tensor  # (B, 17, h, w), in (0, 1)
    signs: Tensor  # (B, 12, 16)
    messages: Tensor  # (B, 17, 16)


@buildable("model")
class EmotionNet(nn.Module):
    """An InceptionV3 trunk, an attention map and an embedding for each of 17 action units, and linear classifiers.

    Args:
        image_size: side of the images in pixels, at least 43; with a first stride of 1, at least 23.
        width_divisor: every width of the trunk is divided by it; 1 is InceptionV3.
        first_stride: stride of the first convolution, 2 in InceptionV3; 1 gives small images a larger map.
        weights: a registry name, a path, ``timm:NAME`` for a trunk, or ``random``; None: untrained, without a warning.
        weights_for: ``all``: the weights are those of a whole EmotionNet; ``trunk``: those of an InceptionV3.
        interpolation: how images are resized to ``image_size``; None: as the weights want it.

    Attributes:
        preprocessing: how the images must be prepared.
        output_names: names of the scores of ``embed``.
        num_features: length of the embeddings of ``embed``.

    Raises:
        ValueError: the images are too small, or a choice is unknown.
        WeightsError: the weights cannot be had or do not fit.
    """

    tasks, expressions = TASKS, EXPRESSIONS
    output_names = tuple(
        name for task in ("expression", "action_units", "valence_arousal") for name in label_names()[task]
    )
    num_features = (len(ACTION_UNITS) + 1) * _WIDTH

    def __init__(
        self,
        *,
        image_size: Count = 299,
        width_divisor: Literal[1, 2, 4, 8, 16] = 1,
        first_stride: Literal[1, 2] = 2,
        weights: str | None = None,
        weights_for: Literal["all", "trunk"] = "all",
        interpolation: Interpolation | None = None,
    ) -> None:
        super().__init__()
        if weights_for not in ("all", "trunk"):
            raise ValueError(f"EmotionNet weights_for={weights_for!r}: choose 'all' or 'trunk'")
        if width_divisor not in _DIVISORS or first_stride not in (1, 2) or image_size < 20 * first_stride + 3:
            raise ValueError(
                f"EmotionNet(image_size={image_size}, width_divisor={width_divisor}, first_stride={first_stride}): a "
                f"divisor of {_DIVISORS}, a stride of 1 or 2, and images of 43 pixels or more (stride 1: 23)"
            )
        channels = _CHANNELS // width_divisor
        self.backbone_CNN = trunk(width_divisor, first_stride)
        self.AU_attention_convs = nn.Sequential(
            *_convolution(channels, 4 * REGIONS, 3), *_convolution(4 * REGIONS, REGIONS, 1)
        )
        self.AU_attention_map_module = nn.Sequential(nn.Conv2d(REGIONS, REGIONS, 1), nn.Sigmoid())
        # The published network scores the regions here, and makes nothing of it. It is kept for its names; DDP fails on
        # parameters that no loss reaches.
        self.AU_attention_classification_module = nn.Sequential(nn.Conv2d(REGIONS, REGIONS, 1)).requires_grad_(False)
        self.AU_Metric_Modules = nn.ModuleList(Region(channels) for _ in range(REGIONS))
        self.positional_encoding = Positions()
        self.MHA = nn.TransformerEncoderLayer(_WIDTH, 8, 1024, dropout=0.1, activation="gelu", batch_first=True)
        self.transformation_matrices = nn.ModuleList(nn.Linear(_WIDTH, _WIDTH, bias=False) for _ in range(REGIONS))
        self.emotion_classifiers = nn.ModuleList(
            [SignClassifier(), nn.Linear(_WIDTH, len(EXPRESSIONS)), nn.Linear(_WIDTH, len(AFFECT))]
        )
        preprocessing = IMAGENET
        if weights is not None and weights_for == "trunk":
            preprocessing = load_weights(self.backbone_CNN, weights, kind="inception_v3")
        elif weights is not None:
            preprocessing = load_weights(self, weights, kind="emotionnet")
        self.preprocessing = preprocessing.at(image_size, interpolation)
        self.normalize = Normalize(self.preprocessing)
        self.to(memory_format=torch.channels_last)  # convolutions are faster in it

    def look(self, x: Tensor) -> Sight:
        """Return maps and embeddings of (B, 3, H, W) normalised images."""
        feature_map: Tensor = self.backbone_CNN(x.contiguous(memory_format=torch.channels_last))
        maps: Tensor = self.AU_attention_map_module(self.AU_attention_convs(feature_map))
        regions = torch.stack(
            [see(feature_map, maps[:, k : k + 1]) for k, see in enumerate(self.AU_Metric_Modules)], dim=1
        )
        signs = self.MHA(self.positional_encoding(regions))[:, : len(ACTION_UNITS)]
        messages = [say(regions[:, k]) for k, say in enumerate(self.transformation_matrices)]
        return Sight(feature_map, maps, signs, torch.stack(messages, dim=1))

    def classify(self, signs: Tensor, messages: Tensor) -> AffectLogits:
        """Return the scores of embeddings.

        Args:
            signs: (B, 12, 16).
            messages: (B, 16), or (B, 17, 16) for scores of every region: (B, 17, 8) and (B, 17, 2). The classifiers are
                linear, so that the mean of those is the score of the mean.
        """
        units, expression, affect = self.emotion_classifiers
        return AffectLogits(expression(messages), units(signs), affect(messages))

    def regions(self, image: Tensor) -> tuple[Tensor, AffectLogits]:
        """Return what each region says.

        Args:
            image: (B, 3, H, W), uint8 or 0..255.

        Returns:
            Attention maps (B, 17, h, w) in (0, 1); and the scores, those of expressions (B, 17, 8) and of valence and
            arousal (B, 17, 2) by region. The first twelve regions are ``affect.labels.ACTION_UNITS``.
        """
        sight = self.look(self.normalize(image))
        return sight.maps, self.classify(sight.signs, sight.messages)

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings and scores for ``features.extraction.Embedder``.

        Args:
            image: (B, 3, H, W), uint8 or 0..255.

        Returns:
            (B, 208): twelve signs of 16, then the mean message; and (B, 22) scores.
        """
        sight = self.look(self.normalize(image))
        message = sight.messages.mean(dim=1)
        scores = cast("tuple[Tensor, Tensor, Tensor]", self.classify(sight.signs, message))
        return torch.cat([sight.signs.flatten(1), message], dim=1), torch.cat(scores, dim=1)

    def forward(self, image: Tensor) -> AffectLogits:
        """Return the scores of (B, 3, H, W) images, uint8 or 0..255."""
        sight = self.look(self.normalize(image))
        return self.classify(sight.signs, sight.messages.mean(dim=1))


class Region(nn.Module):
    """Embeds what the trunk sees where one attention map is high."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Conv1 = nn.Sequential(*_convolution(channels, _WIDTH, 3))
        self.Conv2 = nn.Sequential(*_convolution(_WIDTH, _WIDTH, 1))
        self.fc = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, feature_map: Tensor, attention: Tensor) -> Tensor:
        """Turn a (B, C, h, w) feature map and a (B, 1, h, w) attention map into (B, 16) embeddings."""
        seen: Tensor = self.Conv2(self.Conv1(feature_map * attention + feature_map))
        embedding: Tensor = self.fc(seen.mean(dim=(2, 3)))
        return embedding


class Positions(nn.Module):
    """Adds fixed sine-cosine positions to a sequence, with dropout of 0.3."""

    pos_embedding: Tensor

    def __init__(self) -> None:
        super().__init__()
        # as many as in the published files, whose values must be these; checkpoints need not hold what is computed
        self.register_buffer("pos_embedding", sine_positions(5000, _WIDTH)[:, None], persistent=False)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the (B, N, 16) sequence with positions."""
        summed: Tensor = self.dropout(x + self.pos_embedding[: x.shape[1], 0])
        return summed


class SignClassifier(nn.Module):
    """Scores each action unit by its own weights, a row of the matrix ``fc``."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(_WIDTH, len(ACTION_UNITS))

    def forward(self, signs: Tensor) -> Tensor:
        """Turn (B, 12, 16) embeddings into (B, 12) scores."""
        return (signs * self.fc.weight).sum(dim=2) + self.fc.bias


def trunk(width_divisor: int, first_stride: int) -> nn.Sequential:
    """Build InceptionV3 up to its feature map of 768 channels; layers have the numbers of the published checkpoints.

    Args:
        width_divisor: every width is divided by it.
        first_stride: stride of the first convolution.
    """

    def convolution(inputs: int, outputs: int, **options: Any) -> ConvNormAct:
        inputs = inputs if inputs == 3 else inputs // width_divisor
        options = {"padding": 0, "norm_kwargs": {"eps": 1e-3}, **options}
        return ConvNormAct(inputs, outputs // width_divisor, **options)

    block: Any = convolution  # timm's blocks take what makes their convolutions, from the widths of InceptionV3
    return nn.Sequential(
        convolution(3, 32, kernel_size=3, stride=first_stride),
        convolution(32, 32, kernel_size=3),
        convolution(32, 64, kernel_size=3, padding=1),
        nn.MaxPool2d(3, stride=2),
        convolution(64, 80, kernel_size=1),
        convolution(80, 192, kernel_size=3),
        nn.MaxPool2d(3, stride=2),
        InceptionA(192, pool_features=32, conv_block=block),
        InceptionA(256, pool_features=64, conv_block=block),
        InceptionA(288, pool_features=64, conv_block=block),
        InceptionB(288, conv_block=block),
        *(InceptionC(_CHANNELS, channels_7x7=inner, conv_block=block) for inner in (128, 160, 160, 192)),
    )


def sine_positions(count: int, width: int) -> Tensor:
    """Return fixed embeddings of the places in a sequence (Vaswani et al. 2017, arXiv 1706.03762, section 3.5).

    Args:
        count: places.
        width: length of an embedding, even: sine and cosine of each of ``width / 2`` frequencies, one after the other.

    Returns:
        (count, width) float32.
    """
    frequency = 10_000 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(count, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).float()


def _convolution(inputs: int, outputs: int, kernel: int) -> Sequence[nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.BatchNorm2d(outputs), nn.ReLU()
