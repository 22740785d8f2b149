"""EmotiEffNet: a timm model for the expressions of AffectNet, and one that is fine-tuned on those of Aff-Wild2.

Source: Savchenko 2023, "EmotiEffNets for Facial Processing in Video-based Valence-Arousal Prediction, Expression
Classification and Action Unit Detection" (ABAW5), and its notebook (github.com/sb-ai-lab/EmotiEffLib).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.errors import WeightsError
from affect.labels import AFFECT, AFFECTNET_ALPHABETICAL, AFFECTNET_CLASSES, AFFECTNET_EXPRESSIONS, EXPRESSIONS
from affect.settings import Count, buildable
from backbones.timm_network import PooledNetwork
from backbones.weights import classifier_state

_HEAD: Final = "heads.expression."

_log = logging.getLogger(__name__)


@buildable("model")
class EmotiEffNet(PooledNetwork):
    """A backbone and one Linear for AffectNet's expressions and, in MT-EmotiEffNet, for valence and arousal.

    The expressions are in the order of the published files, which is alphabetical.

    Args:
        backbone: name of a timm model.
        weights: a registry name, a path, ``timm:NAME`` or ``random``; None leaves the network as initialised. A
            classifier in them is read if it has the same shape; otherwise the log says that it is left out.
        classes: 8, or 7 to leave out contempt; None: features alone, without a classifier.
        valence_arousal: whether the Linear has two more outputs, at its end; nothing bounds them.
        **options: keywords of ``PooledNetwork``.

    Attributes:
        classifier: the Linear; None without classes.
        output_names: names of its outputs, in order.
        expressions: the classes in AffectNet's own numbering.
        tasks: what it predicts.

    Raises:
        WeightsError: timm has no such model, or the weights cannot be had or do not fit.
        ValueError: the number of classes is another one, or valence and arousal are wanted without classes.
    """

    columns: Tensor

    def __init__(
        self,
        backbone: str = "tf_efficientnet_b0",
        *,
        weights: str | None,
        classes: Literal[7, 8] | None = 8,
        valence_arousal: bool = False,
        **options: Any,
    ) -> None:
        if classes not in (*AFFECTNET_CLASSES, None) or (classes is None and valence_arousal):
            raise ValueError(
                f"EmotiEffNet classes={classes}, valence_arousal={valence_arousal}: give "
                f"{' or '.join(map(str, AFFECTNET_CLASSES))} classes, or none of both"
            )
        super().__init__(backbone, weights=weights, **options)
        known = AFFECTNET_EXPRESSIONS[: classes or 0]
        names = tuple(name for name in AFFECTNET_ALPHABETICAL if name in known)
        self.output_names = names + AFFECT * valence_arousal
        self.expressions = known
        self.valence_arousal = valence_arousal
        self.tasks = ("expression", "valence_arousal") if valence_arousal else ("expression",)
        self.register_buffer("columns", torch.tensor([names.index(name) for name in known]), persistent=False)
        self.classifier: nn.Linear | None = None
        if self.output_names:
            self.classifier = nn.Linear(self.num_features, len(self.output_names))
            if weights not in (None, "random"):
                self._load_classifier(str(weights))

    def _load_classifier(self, weights: str) -> None:
        """Load the classifier in the weights if it has the same shape."""
        assert self.classifier is not None
        given, own = classifier_state(weights) or {}, self.classifier.state_dict()
        if {name: tensor.shape for name, tensor in given.items()} == {name: own[name].shape for name in own}:
            self.classifier.load_state_dict(given)
        else:
            _log.warning(
                "weights %s: no classifier of %d outputs is in it; it starts untrained", weights, len(own["bias"])
            )

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, F) and raw outputs (B, O) of (B, 3, H, W) images, uint8 or 0..255."""
        features = self.features(image)
        return features, features[:, :0] if self.classifier is None else self.classifier(features)

    def forward(self, image: Tensor) -> AffectLogits:
        """Return the scores of (B, 3, H, W) images, uint8 or 0..255; expressions are in AffectNet's own order."""
        _, outputs = self.embed(image)
        if self.classifier is None:
            return AffectLogits()
        affect = outputs[:, -len(AFFECT) :] if self.valence_arousal else None
        return AffectLogits(expression=outputs[:, self.columns], valence_arousal=affect)


@buildable("model")
class FineTunedNet(PooledNetwork):
    """A backbone and a new classifier for the eight ABAW expressions.

    Args:
        backbone: name of a timm model.
        hidden: units of the hidden layer; None: a single Linear.
        head_weights: checkpoint of a run that trained an expression head of the same shape on stored features of the
            same backbone; None: the classifier starts untrained.
        **options: keywords of ``PooledNetwork``; a classifier in the weights is not read.

    Attributes:
        classifier: ``nn.Sequential`` of one Linear, or of Linear, ReLU and Linear.
        output_names: names of its outputs, in order.

    Raises:
        WeightsError: timm has no such model, or weights cannot be had or do not fit.
    """

    output_names = expressions = EXPRESSIONS
    tasks = ("expression",)

    def __init__(
        self,
        backbone: str = "tf_efficientnet_b0",
        *,
        hidden: Count | None = None,
        head_weights: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, **options)
        self.classifier = _classifier(self.num_features, hidden)
        if head_weights is not None:
            load_head(self.classifier, head_weights)

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, F) and logits (B, 8) of (B, 3, H, W) images, uint8 or 0..255."""
        features = self.features(image)
        return features, self.classifier(features)

    def forward(self, image: Tensor) -> AffectLogits:
        """Return the scores of (B, 3, H, W) images, uint8 or 0..255."""
        return AffectLogits(expression=self.embed(image)[1])


def _classifier(inputs: int, hidden: int | None) -> nn.Sequential:
    if hidden is None:
        return nn.Sequential(nn.Linear(inputs, len(EXPRESSIONS)))
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, len(EXPRESSIONS)))


def load_head(classifier: nn.Sequential, weights: str) -> None:
    """Load the expression head of a checkpoint into a classifier, all of it or none.

    Args:
        classifier: the classifier, which is changed in place.
        weights: path of a checkpoint of this framework whose state dict has ``….heads.expression.<layer>.<name>``.

    Raises:
        WeightsError: the file does not exist, is no such checkpoint, or its head has another shape.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"head_weights {weights}: no such file: give <run folder>/checkpoints/best.ckpt, or null")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise WeightsError(f"head_weights {path}: not readable as a checkpoint of this framework") from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    named = state.items() if isinstance(state, dict) else ()
    found = {name.partition(_HEAD)[2]: tensor for name, tensor in named if _HEAD in name}
    has, wants = ({name: tuple(t.shape) for name, t in one.items()} for one in (found, classifier.state_dict()))
    if has != wants:
        raise WeightsError(
            f"head_weights {path}: holds {has or 'no expression head'}, but the classifier is {wants}. Give a head "
            "that was trained on embeddings of the same backbone, and set model.network.hidden to its hidden size"
        )
    classifier.load_state_dict(found)
