"""Predict Aff-Wild2 with a network that was not trained on it: the rows "VA only" and "logits" of the paper.

``evaluators.postprocess.gating`` blends its expressions with those of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from affect.batch import Predictions
from affect.labels import AFFECTNET_EXPRESSIONS, AU_NAMES, EXPRESSIONS, OTHER, affectnet_columns

CONTEMPT: Final = AFFECTNET_EXPRESSIONS[-1]
IMPOSSIBLE: Final = -100.0
"""The logit of Other for a network that has neither Other nor contempt."""


def pretrained(outputs: Tensor, names: Sequence[str]) -> Predictions:
    """Turn a network's own scores into predictions.

    Valence and arousal are only clamped. AffectNet's expressions are put into ABAW's order. AffectNet has no Other, so
    contempt takes its place; a network without contempt never predicts Other.

    Args:
        outputs: (B, O) scores.
        names: names of the scores.

    Returns:
        Predictions for the tasks that the scores cover; expressions also as logits.
    """
    column = {name: number for number, name in enumerate(names)}
    predictions = Predictions()
    if {"valence", "arousal"} <= set(column):
        predictions["valence_arousal"] = outputs[:, [column["valence"], column["arousal"]]].clamp(-1, 1)
    logits = _expression_logits(outputs, names)
    if logits is not None:
        predictions["expression"], predictions["logits_expression"] = logits.softmax(dim=1), logits
    if set(AU_NAMES) <= set(column):
        predictions["action_units"] = outputs[:, [column[name] for name in AU_NAMES]].sigmoid()
    return predictions


def _expression_logits(outputs: Tensor, names: Sequence[str]) -> Tensor | None:
    """Return (B, 8) logits in ABAW's order; None if the scores have no known list of classes."""
    if set(EXPRESSIONS) <= set(names):
        return outputs[:, [names.index(name) for name in EXPRESSIONS]]
    columns = list(affectnet_columns(tuple(names)))
    if any(column is None for number, column in enumerate(columns) if number != OTHER):
        return None
    columns[OTHER] = names.index(CONTEMPT) if CONTEMPT in names else None
    nothing = torch.full_like(outputs[:, 0], IMPOSSIBLE)
    return torch.stack([nothing if column is None else outputs[:, column] for column in columns], dim=1)
