"""A timm backbone and one linear layer for all tasks, with which the methods of the papers are compared.

Source: Li et al. 2022, "Affective Behaviour Analysis Using Pretrained Model with Facial Prior", Tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.labels import EXPRESSIONS, LSD_EXPRESSIONS, Task, label_names
from affect.settings import Dropped, buildable
from backbones.timm_network import PooledNetwork

ORDER: tuple[Task, ...] = ("expression", "action_units", "valence_arousal")
"""The order of the tasks in the outputs of the linear layer."""

EXPRESSION_SETS = {"abaw": EXPRESSIONS, "lsd": LSD_EXPRESSIONS}


@buildable("model")
class Baseline(PooledNetwork):
    """A backbone, and one Linear on its pooled features with an output for every class, unit and dimension.

    Args:
        backbone: name of a timm model, for example ``resnet50``.
        tasks: what it predicts.
        expressions: ``abaw``: eight classes; ``lsd``: the six of the synthetic-data challenge.
        frozen: train the linear layer alone; the backbone stays in evaluation mode.
        dropout: probability of dropping a feature in training.
        **options: keywords of ``PooledNetwork``.

    Attributes:
        expressions: names of the expression classes.
        tasks: what it predicts.

    Raises:
        WeightsError: timm has no such model, or the weights cannot be had or do not fit.
        ValueError: there is no task, or an unknown one.
    """

    def __init__(
        self,
        backbone: str,
        *,
        tasks: Sequence[Task] = ORDER,
        expressions: Literal["abaw", "lsd"] = "abaw",
        frozen: bool = False,
        dropout: Dropped = 0.0,
        **options: Any,
    ) -> None:
        if not tasks or not set(tasks) <= set(ORDER):
            raise ValueError(f"Baseline tasks={list(tasks)}: choose some of {', '.join(ORDER)}")
        super().__init__(backbone, **options)
        self.expressions = EXPRESSION_SETS[expressions]
        names = label_names(self.expressions)
        self.sizes = {task: len(names[task]) for task in ORDER if task in tasks}
        self.tasks = tuple(self.sizes)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.num_features, sum(self.sizes.values()))
        if frozen:
            self.backbone.requires_grad_(False)
            self.freeze(True)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Return the names of the outputs of the linear layer, in order."""
        return tuple(name for task in self.sizes for name in label_names(self.expressions)[task])

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features (B, F) and scores (B, O) for ``features.extraction.Embedder``."""
        features = self.features(image)
        return features, self.head(features)

    def forward(self, image: Tensor) -> AffectLogits:
        """Return the scores of (B, 3, H, W) images, uint8 or 0..255."""
        scores = self.head(self.dropout(self.features(image)))
        parts: dict[str, Any] = dict(zip(self.sizes, scores.split(list(self.sizes.values()), dim=1), strict=True))
        return AffectLogits(**parts)
