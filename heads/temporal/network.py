"""What every temporal head has: the tasks, a head for each, and what is known of the features.

A temporal head sees a window of stored features and scores each of its frames. ``bidirectional`` has those that read a
window as a whole, ``causal`` those that never look ahead; heads/README.md draws them, and says where they leave their
sources, which are followed and not copied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from torch import Tensor, nn
from torch.nn import functional as F

from affect.batch import AffectLogits
from affect.errors import ConfigError
from affect.labels import EXPRESSIONS, TASKS, Task
from affect.preprocessing import IMAGENET
from heads.network import SIZES, FeatureDescription

CAUSAL: Final = ("gru", "tcn")
"""The heads that never look ahead."""


class TemporalNetwork(nn.Module):
    """Base of the temporal heads: the tasks, and what is known of the features.

    Args:
        features: descriptions of the stores, in the order in which their embeddings are put side by side.
        tasks: what it predicts.
        causal: whether a frame sees only those before it; a head is one or the other.

    Attributes:
        tasks: what it predicts, in the order of ``affect.labels.TASKS``.
        features: as given.
        length: D, the length of a frame's features.
        causal: as given.

    Raises:
        ConfigError: there is no store, a task is unknown, given twice or missing, or the head cannot be causal.
    """

    expressions = EXPRESSIONS
    preprocessing = IMAGENET  # without effect: the inputs are features, not images
    looks_ahead = True

    def __init__(self, features: Sequence[FeatureDescription], tasks: Sequence[Task], *, causal: bool) -> None:
        super().__init__()
        if not features:
            raise ConfigError(["model.network.features is empty: give data.store=… a store, or several"])
        if not tasks or len(set(tasks)) < len(tasks) or not set(tasks) <= set(TASKS):
            given = ", ".join(tasks) or "none"
            raise ConfigError([f"model.network.tasks has {given}; give some of {', '.join(TASKS)}, each once"])
        if causal == self.looks_ahead:
            both = f"reads both directions: give head={' or head='.join(CAUSAL)}"
            one = "never looks ahead: give head=bigru, head=transformer or head=tcn_transformer"
            reason = both if causal else one
            raise ConfigError([f"model.network.causal={str(causal).lower()}: {type(self).__name__} {reason}"])
        self.features = [FeatureDescription(**one) for one in features]
        self.tasks = tuple(task for task in TASKS if task in tasks)
        self.length = sum(one["embedding"] for one in features)
        self.causal = causal

    def add_heads(self, make: Callable[[int], nn.Module]) -> None:
        """Make ``heads``, one for each task; ``make`` gets the number of scores."""
        self.heads = nn.ModuleDict({task: make(SIZES[task]) for task in self.tasks})

    def scores(self, hidden: Tensor) -> AffectLogits:
        """Return what the heads say of (…, H) frames."""
        return AffectLogits(**{task: head(hidden) for task, head in self.heads.items()})

    def bounded_scores(self, hidden: Tensor) -> AffectLogits:
        """Return what the heads say of (…, H) frames, with valence and arousal in (−1, 1)."""
        scores = self.scores(hidden)
        affect = scores.valence_arousal
        return scores if affect is None else scores._replace(valence_arousal=affect.tanh())


class NormalisedHead(nn.Module):
    """Linear – BatchNorm – Linear, the head of CtyunAI's networks. Padding stays out of the statistics.

    Args:
        width: H, of the input; the hidden layer has half of it.
        outputs: number of scores.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width // 2)
        self.norm = nn.BatchNorm1d(width // 2)
        self.out = nn.Linear(width // 2, outputs)

    def forward(self, frames: Tensor) -> Tensor:
        """Return (…, outputs) from (…, H) frames, none of which is padding."""
        hidden = self.hidden(frames.flatten(0, -2))
        # a single frame has no variance: a batch of one takes what is known already
        learning = self.training and len(hidden) > 1
        norm = self.norm
        normal = F.batch_norm(
            hidden,
            norm.running_mean,
            norm.running_var,
            norm.weight,
            norm.bias,
            learning,
            norm.momentum or 0.0,
            norm.eps,
        )
        scores: Tensor = self.out(normal)
        return scores.view(*frames.shape[:-1], scores.shape[-1])  # unflatten would fix the sizes in an export


def of_present(scores: Callable[[Tensor], AffectLogits], hidden: Tensor, present: Tensor) -> AffectLogits:
    """Score the frames that are present alone; the scores of padding are 0.

    Args:
        scores: from (N, H) to (N, …) scores.
        hidden: (B, T, H).
        present: (B, T) bool.
    """
    found = scores(hidden[present])
    return AffectLogits(
        *(
            None if one is None else one.new_zeros(*present.shape, one.shape[-1]).index_put((present,), one)
            for one in found
        )
    )
