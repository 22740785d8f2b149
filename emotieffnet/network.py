"""EmotiEffNet: a network of timm that tells the expressions of AffectNet, and one fine-tuned on those of Aff-Wild2.

Source: Savchenko 2023, "EmotiEffNets for Facial Processing in Video-based Valence-Arousal Prediction, Expression
Classification and Action Unit Detection" (ABAW5), and its notebook (github.com/sb-ai-lab/EmotiEffLib).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.buildable import buildable
from affect.labels import AFFECT, AFFECTNET_ALPHABETICAL, AFFECTNET_CLASSES, AFFECTNET_EXPRESSIONS, EXPRESSIONS
from affect.preprocessing import Interpolation
from affect.ranges import Count
from backbones.state import WeightsError
from backbones.timm_network import PooledNetwork, build_timm, feature_size
from backbones.weights import classifier_state

_HEAD: Final = "heads.expression."

_log = logging.getLogger(__name__)


@buildable("model")
class EmotiEffNet(PooledNetwork):
    """A backbone and one Linear: logits of AffectNet's expressions and, for MT-EmotiEffNet, valence and arousal.

    The outputs of the Linear are in the order of the published files, which is alphabetical.

    Args:
        backbone: name of a timm model.
        image_size: side of the square input in pixels.
        weights: see ``backbones.weights.load_weights``; None leaves the network as initialised. A classifier of the
            same shape in a file is read, too; any other is left out, and the log says so.
        classes: 8, or 7 to leave out contempt; None: features alone, without a classifier.
        valence_arousal: whether the Linear has two further outputs, at its end; nothing bounds them.
        mean: of RGB values in [0, 1], where the weights' file does not tell and it is not ImageNet's.
        std: likewise.
        interpolation: of the resize to ``image_size``; None: that of the weights.

    Attributes:
        classifier: the Linear; None without classes.
        output_names: of its outputs, in order.
        expressions: the classes in AffectNet's own numbering.
        tasks: that it has scores for.

    Raises:
        WeightsError: timm has no such model, or the weights cannot be had or do not fit.
        ValueError: another number of classes, or valence and arousal without classes.
    """

    columns: Tensor

    def __init__(
        self,
        backbone: str = "tf_efficientnet_b0",
        *,
        image_size: Count = 224,
        weights: str | None,
        classes: Literal[7, 8] | None = 8,
        valence_arousal: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: Interpolation | None = None,
    ) -> None:
        if classes not in (*AFFECTNET_CLASSES, None) or (classes is None and valence_arousal):
            raise ValueError(
                f"EmotiEffNet classes={classes}, valence_arousal={valence_arousal}: give "
                f"{' or '.join(map(str, AFFECTNET_CLASSES))} classes, or none of both"
            )
        network, preprocessing = build_timm(
            backbone, image_size=image_size, weights=weights, mean=mean, std=std, interpolation=interpolation
        )
        super().__init__(network, preprocessing)
        known = AFFECTNET_EXPRESSIONS[: classes or 0]
        names = tuple(name for name in AFFECTNET_ALPHABETICAL if name in known)
        self.output_names = names + AFFECT * valence_arousal
        self.expressions = known
        self.valence_arousal = valence_arousal
        self.tasks = ("expression", "valence_arousal") if valence_arousal else ("expression",)
        self.register_buffer("columns", torch.tensor([names.index(name) for name in known]), persistent=False)
        self.classifier: nn.Linear | None = None
        if self.output_names:
            self.classifier = nn.Linear(feature_size(network), len(self.output_names))
            if weights not in (None, "random"):
                self._load_classifier(str(weights))
        self.to(memory_format=torch.channels_last)  # convolutions are faster in it

    def _load_classifier(self, weights: str) -> None:
        """Reads the classifier of the weights, where it is of this shape."""
        assert self.classifier is not None
        given, own = classifier_state(weights) or {}, self.classifier.state_dict()
        if {name: tensor.shape for name, tensor in given.items()} == {name: own[name].shape for name in own}:
            self.classifier.load_state_dict(given)
        else:
            _log.warning(
                "weights %s: no classifier of %d outputs is in it; it starts untrained", weights, len(own["bias"])
            )

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F) and raw outputs (B, O), as in ``output_names``, of (B, 3, H, W) images, uint8 or 0..255."""
        features = self.features(image)
        return features, features[:, :0] if self.classifier is None else self.classifier(features)

    def forward(self, image: Tensor) -> AffectLogits:
        """Scores of (B, 3, H, W) images, uint8 or 0..255; the expressions in AffectNet's own numbering."""
        _, outputs = self.embed(image)
        if self.classifier is None:
            return AffectLogits()
        affect = outputs[:, -len(AFFECT) :] if self.valence_arousal else None
        return AffectLogits(expression=outputs[:, self.columns], valence_arousal=affect)


@buildable("model")
class FineTunedNet(PooledNetwork):
    """A backbone and a new classifier of the eight ABAW expressions.

    Args:
        backbone: name of a timm model.
        image_size: side of the square input in pixels.
        weights: of the backbone, see ``EmotiEffNet``; the classifier in them is not read.
        hidden: units of the hidden layer; None: a single Linear.
        head_weights: checkpoint of a run that trained an expression head of this shape on stored features of the same
            backbone; None: the classifier starts untrained.
        mean: see ``EmotiEffNet``, like the two below.
        std: likewise.
        interpolation: likewise.

    Attributes:
        classifier: ``nn.Sequential`` of Linear, or of Linear, ReLU and Linear.
        output_names: of its outputs, in order.

    Raises:
        WeightsError: timm has no such model, or weights cannot be had or do not fit.
    """

    output_names = expressions = EXPRESSIONS
    tasks = ("expression",)

    def __init__(
        self,
        backbone: str = "tf_efficientnet_b0",
        *,
        image_size: Count = 224,
        weights: str | None,
        hidden: Count | None = None,
        head_weights: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: Interpolation | None = None,
    ) -> None:
        network, preprocessing = build_timm(
            backbone, image_size=image_size, weights=weights, mean=mean, std=std, interpolation=interpolation
        )
        super().__init__(network, preprocessing)
        self.classifier = _classifier(feature_size(network), hidden)
        if head_weights is not None:
            load_head(self.classifier, head_weights)
        self.to(memory_format=torch.channels_last)  # convolutions are faster in it

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F) and logits (B, 8) of (B, 3, H, W) images, uint8 or 0..255."""
        features = self.features(image)
        return features, self.classifier(features)

    def forward(self, image: Tensor) -> AffectLogits:
        """Scores of (B, 3, H, W) images, uint8 or 0..255."""
        return AffectLogits(expression=self.embed(image)[1])


def _classifier(inputs: int, hidden: int | None) -> nn.Sequential:
    if hidden is None:
        return nn.Sequential(nn.Linear(inputs, len(EXPRESSIONS)))
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, len(EXPRESSIONS)))


def load_head(classifier: nn.Sequential, weights: str) -> None:
    """Puts the expression head of a checkpoint into a classifier, all of it or none.

    Args:
        classifier: changed in place.
        weights: path of a checkpoint of this framework whose state dict has ``….heads.expression.<layer>.<name>``.

    Raises:
        WeightsError: no such file, not such a checkpoint, or a head of another shape.
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
