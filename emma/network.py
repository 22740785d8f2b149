"""EMMA's network: a ViT for expressions and action units, a frozen DAN, and a small head for valence and arousal.

Source: Li et al. 2022, "Affective Behaviour Analysis Using Pretrained Model with Facial Prior", section 3.2.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from affect.batch import AffectLogits
from affect.errors import WeightsError
from affect.labels import ACTION_UNITS, AFFECTNET_EXPRESSIONS, EXPRESSIONS, TASKS, affectnet_columns
from affect.settings import Count, buildable
from backbones.normalize import Normalize
from backbones.vit import ViT
from backbones.weights import same_preprocessing
from dan.network import DAN


@buildable("model")
class EMMA(nn.Module):
    """ViT + frozen DAN + valence/arousal head (paper figure 1); every ablation of Table 5 is an argument.

    Args:
        vit: the backbone, which is trained.
        dan: the frozen prior, with scores in AffectNet's order. None is the row "ViT" of Table 5, in which the ViT's
            own head predicts valence and arousal, too.
        head_hidden: units in the hidden layer of the ViT's head (512 in the published code); None: one Linear.
        va_hidden: units in the hidden layer of the valence/arousal head (256); None: one Linear.
        stop_gradient: stop the gradient of the valence/arousal loss at the 28 scores, as in the paper; in the published
            code (False) it goes on.
        expression_scores: ``vit``; or ``vit+dan``, the row "EXP(p1 + p2)" of Table 5: DAN's scores in ABAW's order are
            added before the expression loss, without Contempt and with 0 for Other.

    Raises:
        ValueError: ``vit+dan`` is given without a DAN.
        WeightsError: the DAN does not have AffectNet's eight classes, or needs images of another size or interpolation
            than the ViT.
    """

    tasks, expressions = TASKS, EXPRESSIONS

    def __init__(
        self,
        vit: ViT,
        dan: DAN | None,
        *,
        head_hidden: Count | None = 512,
        va_hidden: Count | None = 256,
        stop_gradient: bool = True,
        expression_scores: Literal["vit", "vit+dan"] = "vit",
    ) -> None:
        super().__init__()
        if dan is None and expression_scores == "vit+dan":
            raise ValueError(
                "expression_scores=vit+dan needs a DAN: give model.network.dan or use expression_scores=vit"
            )
        self.stop_gradient = stop_gradient
        self.expression_scores = expression_scores
        self.vit = vit
        self.vit_normalize = Normalize(vit.preprocessing)
        scores = len(EXPRESSIONS) + len(ACTION_UNITS)
        self.head = _perceptron(vit.num_features, head_hidden, scores if dan is not None else scores + 2)
        self.dan = dan
        self.preprocessing = same_preprocessing(*([vit] if dan is None else [vit, dan]))
        if dan is not None:
            if dan.num_classes != len(AFFECTNET_EXPRESSIONS):
                raise WeightsError(
                    f"model.network.dan.num_classes={dan.num_classes}: EMMA's DAN has the {len(AFFECTNET_EXPRESSIONS)} "
                    f"classes of AffectNet, {AFFECTNET_EXPRESSIONS[-1]} included. Leave the key at "
                    f"{len(AFFECTNET_EXPRESSIONS)}, and give model.network.dan.weights of such a DAN"
                )
            self.dan_normalize = Normalize(dan.preprocessing)
            self.va_head = _perceptron(len(AFFECTNET_EXPRESSIONS) + scores, va_hidden, 2)
            dan.requires_grad_(False)
            dan.eval()

    def train(self, mode: bool = True) -> EMMA:
        """Set the training mode of everything but the DAN, whose BatchNorm statistics must not change."""
        super().train(mode)
        if self.dan is not None:
            self.dan.eval()
        return self

    def forward(self, image: Tensor) -> AffectLogits:
        """Return the scores of a batch of faces.

        Args:
            image: (B, 3, H, W), uint8 or 0..255.

        Returns:
            Scores of eight expressions, twelve action units, valence and arousal.
        """
        scores = self.head(self.vit(self.vit_normalize(image)))
        expression, units = scores[:, : len(EXPRESSIONS)], scores[:, len(EXPRESSIONS) :]
        if self.dan is None:
            return AffectLogits(expression, units[:, : len(ACTION_UNITS)], units[:, len(ACTION_UNITS) :])
        with torch.no_grad():
            prior, _, _ = self.dan(self.dan_normalize(image))
        features = torch.cat([prior, scores], dim=1)
        valence_arousal = self.va_head(features.detach() if self.stop_gradient else features)
        if self.expression_scores == "vit+dan":
            expression = expression + _in_abaw_order(prior)
        return AffectLogits(expression, units, valence_arousal)


def _in_abaw_order(prior: Tensor) -> Tensor:
    """Map AffectNet's scores (B, 8) to the order of the ABAW expressions; those without a counterpart get 0."""
    zero = torch.zeros_like(prior[:, 0])
    return torch.stack([zero if column is None else prior[:, column] for column in affectnet_columns()], dim=1)


def _perceptron(inputs: int, hidden: int | None, outputs: int) -> nn.Module:
    if hidden is None:
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
