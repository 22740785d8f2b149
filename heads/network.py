"""Small heads on stored features, for valence and arousal, expressions and action units.

Source: Savchenko 2023, "EmotiEffNets for Facial Processing in Video-based Valence-Arousal Prediction, Expression
Classification and Action Unit Detection" (ABAW5), and its notebook (github.com/sb-ai-lab/EmotiEffLib).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypedDict

import torch
from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.errors import ConfigError
from affect.labels import AFFECT, EXPRESSIONS, label_names
from affect.preprocessing import IMAGENET
from affect.settings import Count, buildable
from features.store_files import Dtype, MadeBy

HeadInput = Literal["embedding", "logits", "logits_va", "concat"]

SIZES: Final = {task: len(names) for task, names in label_names().items()}


class _Needed(TypedDict):
    """The facts about a feature store without which no head can be built."""

    sha256: str  # hash of the network that made the store
    embedding: int  # length of an embedding
    outputs: list[str]  # names of the network's own scores


class FeatureDescription(_Needed, total=False):
    """The facts about a feature store that a head needs and keeps in its checkpoint."""

    dtype: Dtype  # of the embeddings on disk
    made_by: MadeBy  # what rebuilds the network; not of stores of earlier versions


class HeadOptions(TypedDict):
    """The options of one head."""

    input: HeadInput
    hidden: Count | None  # units of the hidden layer; None: a single linear layer


class Inputs(nn.Module):
    """Selects the inputs of a head.

    Args:
        features: description of the store.
        kind: ``embedding``; ``logits``: the network's scores without valence and arousal; ``logits_va``: all its
            scores; ``concat``: the embedding and all scores.
        where: name of the key, for messages.

    Attributes:
        size: number of inputs.

    Raises:
        ConfigError: the kind is unknown, or needs scores that the network does not have.
    """

    def __init__(self, features: FeatureDescription, kind: HeadInput, where: str) -> None:
        super().__init__()
        names = list(features["outputs"])
        self.kind = kind
        self.columns = [number for number, name in enumerate(names) if kind != "logits" or name not in AFFECT]
        sizes = {
            "embedding": features["embedding"],
            "logits": len(self.columns),
            "logits_va": len(names),
            "concat": features["embedding"] + len(names),
        }
        problem = None
        if kind not in sizes:
            problem = f"there are {', '.join(sizes)}"
        elif kind != "embedding" and not self.columns:
            problem = "the network of this store gives no scores of its own: give embedding"
        elif kind == "logits_va" and not set(AFFECT) <= set(names):
            problem = f"the network's scores are {', '.join(names)}, without valence and arousal: give logits"
        if problem:
            raise ConfigError([f"{where}={kind}: {problem}"])
        self.size = sizes[kind]

    def forward(self, embedding: Tensor, outputs: Tensor) -> Tensor:
        """Return the (B, size) inputs from (B, E) embeddings and (B, O) scores."""
        if self.kind == "embedding":
            return embedding
        if self.kind == "concat":
            return torch.cat([embedding, outputs], dim=1)
        return outputs[:, self.columns]


@buildable("model")
class Heads(nn.Module):
    """An independent small perceptron for each task.

    It is initialised as in Keras: Glorot-uniform matrices, biases of 0.

    Args:
        features: description of the store that the heads are trained on.
        heads: options of each task's head, by the task's key in batches; None leaves a task out.

    Attributes:
        tasks: the tasks that have a head.

    Raises:
        ConfigError: there is no head, a task is unknown, or the store does not have the inputs.
    """

    expressions = EXPRESSIONS
    preprocessing = IMAGENET  # without effect: the inputs are features, not images

    def __init__(self, features: FeatureDescription, heads: Mapping[str, HeadOptions | None]) -> None:
        super().__init__()
        given = {task: options for task, options in heads.items() if options is not None}
        if not given or not set(given) <= set(SIZES):
            raise ConfigError(
                [f"model.network.heads has {', '.join(given) or 'none'}; give some of {', '.join(SIZES)}"]
            )
        self.features = features
        self.tasks = tuple(task for task in SIZES if task in given)
        self.inputs = nn.ModuleDict()
        self.heads = nn.ModuleDict()
        for task in self.tasks:
            inputs = Inputs(features, given[task]["input"], f"model.network.heads.{task}.input")
            self.inputs[task] = inputs
            self.heads[task] = _perceptron(inputs.size, given[task]["hidden"], SIZES[task])

    def forward(self, embedding: Tensor, outputs: Tensor) -> AffectLogits:
        """Return the scores of B frames; valence and arousal are in (−1, 1).

        Args:
            embedding: (B, E) embeddings.
            outputs: (B, O) scores of the network that made the store.
        """
        scores = {task: self.heads[task](self.inputs[task](embedding, outputs)) for task in self.tasks}
        if "valence_arousal" in scores:
            scores["valence_arousal"] = scores["valence_arousal"].tanh()
        return AffectLogits(**scores)

    def squared_matrices(self, task: str) -> Tensor:
        """Return the sum of the squares in all matrices of a head, without its biases."""
        return torch.stack([p.square().sum() for p in self.heads[task].parameters() if p.ndim > 1]).sum()


def _perceptron(inputs: int, hidden: int | None, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(inputs, outputs)]
    if hidden is not None:
        layers = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs)]
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
