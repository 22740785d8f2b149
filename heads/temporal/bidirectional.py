"""The heads that read both directions: two Transformers and a GRU.

Sources: ``transformer`` RAS (arXiv:2603.13056), ``tcn_transformer`` CtyunAI (arXiv:2403.11440), ``bigru`` cprl
(arXiv:2607.16290).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from affect.batch import AffectLogits
from affect.errors import ConfigError
from affect.labels import Task
from affect.settings import Count, Dropped, buildable
from heads.network import FeatureDescription
from heads.temporal.network import NormalisedHead, TemporalNetwork, of_present
from heads.temporal.tcn import TemporalConvolutions

POSITION_DROPOUT: Final = 0.1
"""Dropout of ``transformer`` on features with their positions; its published code keeps it whatever the rest is."""


def padding(present: Tensor) -> Tensor:
    """Return the (B, T) mask of keys that attention leaves out: padding, but nothing of a window that is all padding.

    A softmax over nothing would be NaN.
    """
    return ~present & present.any(dim=1, keepdim=True)


def positions(length: int, width: int, like: Tensor) -> Tensor:
    """Return the (length, width) sinusoidal positions (Vaswani et al. 2017): sines in even columns, cosines in odd.

    Args:
        length: number of frames.
        width: number of columns.
        like: gives type and device.
    """
    columns = torch.arange(0, width, 2, device=like.device, dtype=torch.float64)
    angles = torch.arange(length, device=like.device, dtype=torch.float64)[:, None] / 10_000 ** (columns / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width].to(like.dtype)


def check_heads(width: int, heads: int, name: str) -> None:
    """Check that each attention head gets as many columns as the others.

    Raises:
        ConfigError: it does not.
    """
    if width % heads:
        raise ConfigError([f"model.network.{name}={width} is no multiple of model.network.heads={heads}"])


class EncoderLayer(nn.Module):
    """A layer of ``transformer``; what its source does is kept where it differs from the textbook.

    Positions are added to queries, keys and values, each with its own dropout. Both residuals are normed after the
    sum, and the dropout is on the residual, not on what attention or the feed-forward network gives:
    ``x = Norm(attention + dropout(query))``, ``Norm(feed_forward(x) + dropout(x))``.

    Args:
        width: H, also that of the feed-forward network.
        heads: number of attention heads.
        dropout: of residuals, attention weights and the feed-forward network.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.dropout, self.position_dropout = nn.Dropout(dropout), nn.Dropout(POSITION_DROPOUT)

    def forward(self, frames: Tensor, left_out: Tensor) -> Tensor:
        """Return (B, T, H) from (B, T, H) frames; (B, T) bool says which of them nobody may look at."""
        placed = frames + positions(frames.shape[1], frames.shape[2], frames)
        query, key, value = (self.position_dropout(placed) for _ in range(3))
        seen = self.attention(query, key, value, key_padding_mask=left_out, need_weights=False)[0]
        middle = self.norms[0](seen + self.dropout(query))
        return self.norms[1](self.feed_forward(middle) + self.dropout(middle))  # type: ignore[no-any-return]


@buildable("model")
class Transformer(TemporalNetwork):
    """RAS' head, the winner of ABAW10's valence and arousal: (B, T, D) to H = 256, five layers, a perceptron a task.

    1. Linear D → H, LayerNorm, dropout.
    2. ``x = x + layer(x)``, five times (``EncoderLayer``): the outer residual goes around each layer.
    3. Of each task: Linear H → H, LayerNorm, GELU, dropout, Linear H → scores. Valence and arousal have no bound.

    With D = 256, and valence and arousal alone, it has 2,112,002 parameters. A window may have any length.

    Args:
        features: descriptions of the stores.
        tasks: what it predicts.
        width: H.
        layers: their number.
        heads: number of attention heads.
        dropout: everywhere but on positions.
        causal: must be false.
    """

    def __init__(
        self,
        features: list[FeatureDescription],
        tasks: list[Task],
        *,
        width: Count = 256,
        layers: Count = 5,
        heads: Count = 8,
        dropout: Dropped = 0.1,
        causal: bool = False,
    ) -> None:
        super().__init__(features, tasks, causal=causal)
        check_heads(width, heads, "width")
        self.project = nn.Sequential(nn.Linear(self.length, width), nn.LayerNorm(width), nn.Dropout(dropout))
        self.layers = nn.ModuleList([EncoderLayer(width, heads, dropout) for _ in range(layers)])
        self.add_heads(
            lambda outputs: nn.Sequential(
                nn.Linear(width, width), nn.LayerNorm(width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, outputs)
            )
        )

    def forward(self, features: Tensor, present: Tensor) -> AffectLogits:
        """Return the scores of (B, T, D) features; (B, T) bool ``present`` is false for padding."""
        hidden, left_out = self.project(features), padding(present)
        for layer in self.layers:
            hidden = hidden + layer(hidden, left_out)
        return self.scores(hidden)


class Variant(NamedTuple):
    """What differs between paper and published configuration of ``tcn_transformer``."""

    layers: int
    dropout: float


VARIANTS: Final = {"paper": Variant(3, 0.3), "config": Variant(8, 0.0)}


@buildable("model")
class TcnTransformer(TemporalNetwork):
    """CtyunAI's head (ABAW6): causal convolutions, then a Transformer that sees the whole window.

    1. ``TemporalConvolutions``: D → 768 → 256 → 128, dilations 1, 2, 4.
    2. A 1x1 convolution, that is Linear 128 → 512.
    3. torch's encoder: attention and a feed-forward network of 512 with ReLU, each normed after its residual; no
       positions. The convolutions tell it what comes before what.
    4. Of each task: Linear 512 → 256, BatchNorm, Linear 256 → scores. Valence and arousal have no bound.

    With D = 768, and valence and arousal alone, ``paper`` has 12,621,451 parameters, ``config`` 20,511,371.

    Args:
        features: descriptions of the stores.
        tasks: what it predicts.
        variant: ``paper`` has 3 layers and dropout 0.3, ``config``, the published one, 8 and 0.
        channels: of the blocks of convolutions.
        kernel: length of a convolution, in frames.
        width: of the Transformer, and of its feed-forward network.
        heads: number of attention heads.
        layers: of the Transformer; None: those of the variant.
        dropout: everywhere but in the heads; None: that of the variant.
        causal: must be false.
    """

    def __init__(
        self,
        features: list[FeatureDescription],
        tasks: list[Task],
        *,
        variant: Literal["paper", "config"] = "paper",
        channels: list[Count] | None = None,
        kernel: Count = 5,
        width: Count = 512,
        heads: Count = 4,
        layers: Count | None = None,
        dropout: Dropped | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__(features, tasks, causal=causal)
        check_heads(width, heads, "width")
        number = VARIANTS[variant].layers if layers is None else layers
        rate = VARIANTS[variant].dropout if dropout is None else dropout
        self.convolutions = TemporalConvolutions(self.length, channels, kernel=kernel, dropout=rate)
        self.project = nn.Linear(self.convolutions.width, width)
        layer = nn.TransformerEncoderLayer(width, heads, dim_feedforward=width, dropout=rate, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, number, enable_nested_tensor=False)
        self.add_heads(lambda outputs: NormalisedHead(width, outputs))

    def forward(self, features: Tensor, present: Tensor) -> AffectLogits:
        """Return the scores of (B, T, D) features; (B, T) bool ``present`` is false for padding."""
        before, _ = self.convolutions(features, self.convolutions.initial(features.shape[0]))
        hidden = self.encoder(self.project(before), src_key_padding_mask=padding(present))
        return of_present(self.scores, hidden, present)


@buildable("model")
class BiGru(TemporalNetwork):
    """cprl's head (ABAW11): a GRU of 2 layers that reads each window in both directions, and a linear layer a task.

    1. GRU D → 256 in each direction, twice, with dropout between the layers.
    2. Dropout, and of each task Linear 512 → scores. Valence and arousal go through tanh.

    With D = 1536 and the three tasks it has 3,949,590 parameters.

    Args:
        features: descriptions of the stores.
        tasks: what it predicts.
        width: of the state of each direction.
        layers: their number.
        dropout: between layers, and before the heads.
        causal: must be false.
    """

    def __init__(
        self,
        features: list[FeatureDescription],
        tasks: list[Task],
        *,
        width: Count = 256,
        layers: Count = 2,
        dropout: Dropped = 0.2,
        causal: bool = False,
    ) -> None:
        super().__init__(features, tasks, causal=causal)
        between = dropout if layers > 1 else 0.0
        self.gru = nn.GRU(self.length, width, layers, batch_first=True, dropout=between, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.add_heads(lambda outputs: nn.Linear(2 * width, outputs))

    def forward(self, features: Tensor, present: Tensor) -> AffectLogits:
        """Return the scores of (B, T, D) features; (B, T) bool ``present`` is false for padding."""
        lengths = present.sum(dim=1).clamp(min=1).cpu()  # a window that is all padding: its first frame, to no effect
        packed = pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False)
        hidden, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=features.shape[1])
        return self.bounded_scores(self.dropout(hidden))
