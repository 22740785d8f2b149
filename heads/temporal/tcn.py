"""Causal convolutions in time that can be fed piece by piece (Bai et al. 2018, arXiv:1803.01271)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

CHANNELS: Final = (768, 256, 128)
"""Of CtyunAI's three blocks."""

State: TypeAlias = tuple[Tensor, ...]
"""Of each convolution the frames before, which it still looks at: (B, channels, (kernel − 1) · dilation)."""


class Block(nn.Module):
    """Two causal convolutions with weight norm, each with PReLU and dropout after it, and a residual.

    The residual is the input, through a 1x1 convolution where the number of channels changes; after the sum there is a
    third PReLU. Each PReLU has one slope.

    Args:
        inputs: channels of the input.
        outputs: channels of both convolutions.
        kernel: length of a convolution.
        dilation: frames from one value that it looks at to the next.
        dropout: after each convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        sizes = (inputs, outputs), (outputs, outputs)
        self.past = (kernel - 1) * dilation
        self.convolutions = nn.ModuleList([weight_norm(nn.Conv1d(*size, kernel, dilation=dilation)) for size in sizes])
        self.bends = nn.ModuleList([nn.PReLU() for _ in range(3)])
        self.residual = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Return (B, outputs, T) of (B, inputs, T) frames, and the state after them."""
        hidden, after = frames, []
        for convolution, bend, before in zip(self.convolutions, self.bends, state, strict=False):
            longer = torch.cat([before.to(hidden), hidden], dim=2)
            after.append(longer[:, :, longer.shape[2] - self.past :])
            hidden = self.dropout(bend(convolution(longer)))
        return self.bends[2](hidden + self.residual(frames)), tuple(after)


class TemporalConvolutions(nn.Module):
    """Blocks with dilations 1, 2, 4, …: D → 768 → 256 → 128 as published, kernel 5.

    A frame sees itself and ``reach`` frames before it, 56 as published. Before the first frame there are zeros, at the
    input of each convolution.

    Args:
        inputs: D.
        channels: of the blocks; None: ``CHANNELS``.
        kernel: length of a convolution.
        dropout: after each convolution.

    Attributes:
        width: channels of the output.
        reach: that number.
    """

    def __init__(self, inputs: int, channels: Sequence[int] | None = None, *, kernel: int, dropout: float) -> None:
        super().__init__()
        widths = [inputs, *(CHANNELS if channels is None else channels)]
        self.blocks = nn.ModuleList(
            Block(*both, kernel=kernel, dilation=2**number, dropout=dropout)
            for number, both in enumerate(pairwise(widths))
        )
        self.width = widths[-1]
        # of each convolution: the second of a block has as many channels as the block gives
        pasts = [(kernel - 1) * 2**number for number in range(len(self.blocks))]
        self.memory = [(width, past) for past, both in zip(pasts, pairwise(widths), strict=True) for width in both]
        self.reach = 2 * sum(pasts)

    def initial(self, batch: int) -> State:
        """Return the state before the first of B = ``batch`` sequences' frames."""
        like = next(self.parameters())
        return tuple(like.new_zeros(batch, width, past) for width, past in self.memory)

    def forward(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Return (B, T, width) of (B, T, D) features, and the state after them."""
        hidden, after = features.transpose(1, 2), list[Tensor]()
        for number, block in enumerate(self.blocks):
            hidden, new = block(hidden, state[2 * number : 2 * number + 2])
            after += new
        return hidden.transpose(1, 2), tuple(after)
