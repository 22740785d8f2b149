"""What a network that was trained elsewhere says of Aff-Wild2 as it is: the rows "VA only" and "logits" of the paper.

Where its expression is blended with that of a head, see ``evaluators.postprocess.gating``.
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
"""The logit of Other for a network that has neither it nor contempt."""


def pretrained(outputs: Tensor, names: Sequence[str]) -> Predictions:
    """Predictions from a network's own scores.

    Valence and arousal are taken as given, clamped. The expressions of a network of AffectNet are put into the order of
    the ABAW ones, with contempt in the place of Other, which AffectNet does not have; a network that has no contempt
    never says Other.

    Args:
        outputs: (B, O) scores.
        names: of the scores.

    Returns:
        The tasks that the scores are of; expressions also as logits.
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
    """(B, 8) in the order of ABAW, or None where the scores are of no known class list."""
    if set(EXPRESSIONS) <= set(names):
        return outputs[:, [names.index(name) for name in EXPRESSIONS]]
    columns = list(affectnet_columns(tuple(names)))
    if any(column is None for number, column in enumerate(columns) if number != OTHER):
        return None
    columns[OTHER] = names.index(CONTEMPT) if CONTEMPT in names else None
    nothing = torch.full_like(outputs[:, 0], IMPOSSIBLE)
    return torch.stack([nothing if column is None else outputs[:, column] for column in columns], dim=1)
