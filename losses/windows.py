"""Compute the joint loss of the frames of windows."""

from __future__ import annotations

from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from affect.batch import AffectLogits, Batch
from affect.labels import TASKS, Task
from affect.settings import buildable
from losses.ccc import ccc_loss
from losses.multitask import MultiTaskLoss

_DIMENSIONS: Final = {"valence_arousal": 3, "expression": 2, "action_units": 3}
"""Of the labels of B windows: (B, T, 2), (B, T) and (B, T, 12)."""


@buildable("model")
class WindowLoss(MultiTaskLoss):
    """The joint loss over all frames of a batch of windows, or over a batch of frames.

    Frames whose label is NaN or -1 do not count: padding, and frames without a face or a label.

    Args:
        ccc: of valence and arousal, ``batch``: one CCC over the frames of all windows; ``window``: one for each window,
            and the mean over the windows that have a label (RAS, arXiv:2603.13056).
        uncertainty: weigh the tasks by what is learnt of their noise: a task's loss L becomes
            ``(exp(-s) L + s) / 2``, where s, at first 0, is the logarithm of its variance (Kendall et al. 2018,
            arXiv:1705.07115). Of a task without a label in the batch, s stays out of it. These losses may fall below 0.
        **options: keywords of ``MultiTaskLoss``.
    """

    def __init__(self, *, ccc: Literal["batch", "window"] = "batch", uncertainty: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.ccc = ccc
        self.log_variance = nn.Parameter(torch.zeros(len(TASKS))) if uncertainty else None

    def forward(self, output: AffectLogits, batch: Batch) -> dict[str, Tensor]:
        """Return a scalar for each task that the network has; 0 where the task has no valid label in the batch.

        Args:
            output: scores of B windows, (B, T, …), or of N frames, (N, …).
            batch: labels that are as large.
        """
        flat: Any = {task: _flat(batch[task], task) for task in TASKS}
        scores = AffectLogits(*(None if one is None else one.reshape(-1, one.shape[-1]) for one in output))
        affect = output.valence_arousal
        apart = self.ccc == "window" and affect is not None
        losses = super().forward(scores._replace(valence_arousal=None) if apart else scores, flat)
        if apart and affect is not None:
            loss = ccc_loss(affect, batch["valence_arousal"], reference=self.reference_ccc)
            losses["valence_arousal"] = self.va_weight * loss
        if self.log_variance is None:
            return losses
        return {task: self._weighed(task, losses[task], flat[task]) for task in TASKS if task in losses}

    def _weighed(self, task: Task, loss: Tensor, labels: Tensor) -> Tensor:
        """Weigh the loss of a task by its noise, where it has a label."""
        assert self.log_variance is not None
        noise = self.log_variance[TASKS.index(task)]
        known = (~labels.isnan() if labels.is_floating_point() else labels >= 0).any()
        return torch.where(known, (loss * (-noise).exp() + noise) / 2, 0 * noise + loss)


def _flat(labels: Tensor, task: str) -> Tensor:
    """Return the labels of all frames, in a row."""
    return labels.flatten(0, 1) if labels.ndim == _DIMENSIONS[task] else labels
