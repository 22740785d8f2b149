"""The heads that never look ahead, for faces as they come: a GRU and convolutions, with an explicit state.

They are ``bigru`` and ``tcn_transformer`` without what looks ahead: one direction of the one, and the other without its
Transformer. No paper of the table in heads/README.md has published scores of the first; CtyunAI has, of the second, as
an ablation.
"""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.labels import Task
from affect.settings import Count, Dropped, buildable
from heads.network import FeatureDescription
from heads.temporal.network import NormalisedHead, TemporalNetwork, of_present
from heads.temporal.tcn import TemporalConvolutions

State: TypeAlias = tuple[Tensor, ...]
"""What a causal head remembers of B sequences; its tensors are as many and as large however long they are."""


class CausalNetwork(TemporalNetwork):
    """Base of the causal heads: the state of B sequences is given and returned, and is nowhere else.

    The whole of a sequence, and its pieces one after the other, give the same scores.
    """

    looks_ahead = False

    def initial(self, batch: int) -> State:
        """Return the state before the first frame of ``batch`` sequences."""
        raise NotImplementedError

    def hidden(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what the heads get of (B, T, D) features, (B, T, H), and the state after them."""
        raise NotImplementedError

    def advance(self, features: Tensor, state: State) -> tuple[AffectLogits, State]:
        """Return the scores of the next frames, (B, T, D), and the state after them.

        There must be no padding among them: a face that is missing has the features of the frame before.
        """
        hidden, after = self.hidden(features, state)
        return self.frame_scores(hidden), after

    def frame_scores(self, hidden: Tensor) -> AffectLogits:
        """Return the scores of (…, H) frames."""
        return self.scores(hidden)

    def forward(self, features: Tensor, present: Tensor) -> AffectLogits:
        """Return the scores of (B, T, D) features from the first frame on; (B, T) ``present`` is false for padding."""
        hidden, _ = self.hidden(features, self.initial(len(features)))
        return of_present(self.frame_scores, hidden, present)


@buildable("model")
class Gru(CausalNetwork):
    """One direction of ``BiGru``: a GRU of 2 layers D → 256 → 256, dropout, and of each task Linear 256 → scores.

    Valence and arousal go through tanh. With D = 1536 and the three tasks it has 1,778,198 parameters.

    Args:
        features: descriptions of the stores.
        tasks: what it predicts.
        width: of the state.
        layers: their number.
        dropout: between layers, and before the heads.
        causal: must be true.
    """

    def __init__(
        self,
        features: list[FeatureDescription],
        tasks: list[Task],
        *,
        width: Count = 256,
        layers: Count = 2,
        dropout: Dropped = 0.2,
        causal: bool = True,
    ) -> None:
        super().__init__(features, tasks, causal=causal)
        self.gru = nn.GRU(self.length, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.dropout = nn.Dropout(dropout)
        self.add_heads(lambda outputs: nn.Linear(width, outputs))

    def initial(self, batch: int) -> State:
        """Return zeros."""
        like = next(self.parameters())
        return (like.new_zeros(self.gru.num_layers, batch, self.gru.hidden_size),)

    def hidden(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the upper layer's (B, T, H), and the state after the last frame."""
        hidden, after = self.gru(features, state[0])
        return self.dropout(hidden), (after,)

    def frame_scores(self, hidden: Tensor) -> AffectLogits:
        """Return the scores of (…, H) frames, with valence and arousal in (−1, 1)."""
        return self.bounded_scores(hidden)


@buildable("model")
class Tcn(CausalNetwork):
    """``TcnTransformer`` without its Transformer: D → 768 → 256 → 128, then Linear – BatchNorm – Linear for each task.

    A frame sees the 56 before it. Valence and arousal have no bound. With D = 768, and valence and arousal alone, it
    has 7,697,611 parameters.

    Args:
        features: descriptions of the stores.
        tasks: what it predicts.
        channels: of the blocks of convolutions; None: 768, 256, 128.
        kernel: length of a convolution, in frames.
        dropout: after each convolution.
        causal: must be true.
    """

    def __init__(
        self,
        features: list[FeatureDescription],
        tasks: list[Task],
        *,
        channels: list[Count] | None = None,
        kernel: Count = 5,
        dropout: Dropped = 0.3,
        causal: bool = True,
    ) -> None:
        super().__init__(features, tasks, causal=causal)
        self.convolutions = TemporalConvolutions(self.length, channels, kernel=kernel, dropout=dropout)
        self.add_heads(lambda outputs: NormalisedHead(self.convolutions.width, outputs))

    def initial(self, batch: int) -> State:
        """Return zeros: the frames that each convolution still looks at."""
        return self.convolutions.initial(batch)

    def hidden(self, features: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the last block's (B, T, H), and the state after the last frame."""
        hidden: Tensor
        hidden, state = self.convolutions(features, state)
        return hidden, state
