"""The joint loss of valence/arousal, expression and action units, for any network that gives some of the three."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from affect.batch import AffectLogits, Batch
from losses.ccc import ccc_loss
from losses.partial import au_loss, expression_loss


def multitask_losses(
    output: AffectLogits,
    batch: Batch,
    *,
    au_pos_weight: Tensor | None = None,
    au_reduction: Literal["mean_valid", "sum_batch"] = "mean_valid",
    expression_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    reference_ccc: bool = False,
) -> dict[str, Tensor]:
    """The losses that are summed in equation 1 of the EMMA paper.

    Args:
        output: of the network.
        batch: with the labels.
        au_pos_weight: see ``losses.partial.au_loss``.
        au_reduction: see there.
        expression_weight: see ``losses.partial.expression_loss``.
        label_smoothing: see there.
        reference_ccc: see ``losses.ccc.ccc_loss``.

    Returns:
        A scalar for each task that the network has; 0 where the task has no valid label in the batch.
    """
    losses: dict[str, Tensor] = {}
    if output.action_units is not None:
        losses["action_units"] = au_loss(
            output.action_units, batch["action_units"], pos_weight=au_pos_weight, reduction=au_reduction
        )
    if output.expression is not None:
        losses["expression"] = expression_loss(
            output.expression, batch["expression"], weight=expression_weight, label_smoothing=label_smoothing
        )
    if output.valence_arousal is not None:
        losses["valence_arousal"] = ccc_loss(output.valence_arousal, batch["valence_arousal"], reference=reference_ccc)
    return losses
