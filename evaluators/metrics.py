"""The challenge metrics as torchmetrics: exact with DDP, with any batch size, and with partial labels.

States are sums and counts over single frames (float64 and int64), so merging ranks or batches gives the scores of one
process to within 1e-12. Everything is pooled over all valid frames of all videos; definitions and their sources are in
``AffectScores``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from affect.batch import Labels, Predictions
from affect.labels import ACTION_UNITS, EXPRESSIONS, TASKS
from evaluators.names import Scores, expression_score, joined
from evaluators.postprocess.thresholds import Thresholds, resolve_thresholds


class ExactMetric(Metric):
    """A metric whose states follow the model to its device but keep their own dtype.

    torchmetrics guards against ``.half()``, but ``module.to(torch.bfloat16)``, which Lightning's ``bf16-true`` calls,
    would still turn float64 sums into bfloat16. (MPS has no float64: moving there raises torch's own TypeError.)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        def move_only(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(move_only, exclude_state)


class ConcordanceCorrelation(ExactMetric):
    """Concordance correlation of valence and arousal, CCC = 2 s_xy / (s_x² + s_y² + (m_x - m_y)²).

    Population moments over all valid rows, as in the organisers' script (github.com/dkollias/Aff-Wild-models,
    eval_script.py). Constant predictions or labels give exactly 0: they are recognised by their smallest and largest
    value, because a variance from sums is rounding noise there and the ratio could be anything.
    """

    sums: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Rows: n, Σx, Σy, Σx², Σy², Σxy; columns: valence, arousal. Values lie in [-1, 1], so raw sums lose nothing.
        self.add_state("sums", torch.zeros(6, 2, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("low", torch.full((2, 2), torch.inf, dtype=torch.float64), dist_reduce_fx="min")
        self.add_state("high", torch.full((2, 2), -torch.inf, dtype=torch.float64), dist_reduce_fx="max")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add rows: ``prediction`` (B, 2), ``target`` (B, 2); a row with a NaN in ``target`` is skipped."""
        if target.sum().isnan():
            valid = ~target.isnan().any(dim=1)
            prediction, target = prediction[valid], target[valid]
        if not len(target):
            return
        # (4, B); the products of float32 values are exact in float64, and one product of matrices sums them all
        both = torch.cat([prediction.T, target.T]).double()
        products, count = both @ both.T, both.new_full((1, 2), len(target))
        moments = [count, both.sum(dim=1).view(2, 2), products.diagonal().view(2, 2), products.diagonal(2)[None]]
        # Not in place: states made under inference mode must not be changed in place outside of it.
        self.sums = self.sums + torch.cat(moments)
        self.low = torch.minimum(self.low, both.amin(dim=1).view(2, 2))  # aminmax takes ten times as long
        self.high = torch.maximum(self.high, both.amax(dim=1).view(2, 2))

    def compute(self) -> Tensor:
        """Return (2,) float64: CCC of valence and of arousal; NaN without a valid row, 0 for a zero denominator."""
        n = self.sums[0]
        mean_x, mean_y, square_x, square_y, product = self.sums[1:] / n
        denominator = (square_x - mean_x**2) + (square_y - mean_y**2) + (mean_x - mean_y) ** 2
        ccc = 2 * (product - mean_x * mean_y) / denominator
        constant = (self.low == self.high).any(dim=0)
        return torch.where(n == 0, torch.nan, torch.where(constant, 0.0, ccc))


class ExpressionScores(ExactMetric):
    """F1 per class, accuracy and macro accuracy over a fixed class list, from one confusion matrix.

    A class absent from the labels counts 0 in F1 and in macro accuracy (mean recall), and is not dropped from either
    mean: scores of a short validation run are then not inflated.

    Args:
        classes: how many classes there are.
    """

    confusion: Tensor

    def __init__(self, classes: int = len(EXPRESSIONS), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add rows: ``prediction`` (B, C) scores, the first largest wins; ``target`` (B,) int64, -1 = skipped.

        Raises:
            ValueError: another number of classes, or a label outside the class list.
        """
        if prediction.shape[1] != self.classes:
            raise ValueError(f"expression: {prediction.shape[1]} scores a row, but there are {self.classes} classes")
        valid = target >= 0
        # float32 as in the prediction table, so that both decide alike, ties included.
        cell = target[valid] * self.classes + prediction[valid].float().argmax(dim=1)
        counts = torch.bincount(cell, minlength=self.classes**2)
        if len(counts) != self.classes**2:
            raise ValueError(f"expression: a label is {int(target.max())}, outside 0..{self.classes - 1}")
        self.confusion = self.confusion + counts.view_as(self.confusion)

    def compute(self) -> dict[str, Tensor]:
        """Return ``f1`` (C,), ``accuracy`` (), ``macro_accuracy`` (), float64, and ``count`` () of valid rows."""
        correct, true, predicted = self.confusion.diagonal(), self.confusion.sum(dim=1), self.confusion.sum(dim=0)
        count = true.sum()
        return {
            "f1": _ratio(2 * correct, true + predicted),
            "accuracy": _ratio(correct.sum(), count),
            "macro_accuracy": _ratio(correct, true).mean(),
            "count": count,
        }


class ActionUnitScores(ExactMetric):
    """F1 of the positive class per action unit, and accuracy over all valid values.

    Args:
        thresholds: one number, twelve, ``published``, or the file of a search; positive means
            ``probability >= threshold``.
    """

    counts: Tensor
    thresholds: Tensor

    def __init__(self, thresholds: Thresholds = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        values = torch.tensor(resolve_thresholds(thresholds), dtype=torch.float32)
        self.register_buffer("thresholds", values, persistent=False)
        # Rows: true positives, predicted positives, positives, correct, valid.
        self.add_state("counts", torch.zeros(5, len(values), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add rows: ``prediction`` (B, 12) probabilities, ``target`` (B, 12) 0/1; NaN is skipped per value."""
        valid = ~target.isnan()
        said = (prediction.float() >= self.thresholds) & valid
        true = target == 1
        rows = torch.stack([said & true, said, true, (said == true) & valid, valid])
        self.counts = self.counts + rows.sum(dim=1)

    def compute(self) -> dict[str, Tensor]:
        """Return ``f1`` (12,), ``accuracy`` (), float64, and ``count`` (12,) of valid values per unit."""
        hit, said, true, correct, valid = self.counts
        return {
            "f1": _ratio(2 * hit, said + true),
            "accuracy": _ratio(correct.sum(), valid.sum()),
            "count": valid,
        }


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide counts in float64; 0 for a zero denominator."""
    return torch.where(denominator == 0, 0.0, numerator.double() / denominator.double())


class AffectScores(nn.Module):
    """All scores of a model as one object that a LightningModule can hold: Lightning then moves it across devices.

    Call ``update`` in every step, ``compute`` at the end of the epoch on every rank (it gathers), then ``reset``.

    ``compute`` gives, in this order and for the tasks that the model has:

    * ``P_MTL`` = P_VA + P_EXPR + P_AU (only a model of all three tasks has the name);
    * ``P_VA`` = (CCC_V + CCC_A) / 2, ``CCC_V``, ``CCC_A``;
    * ``P_EXPR`` (``P_LSD`` for synthetic data) = mean F1 of the classes, ``F1_EXPR_<name>``, ``ACC_EXPR``,
      ``MACRO_ACC_EXPR``;
    * ``P_AU`` = mean F1 of the twelve units, ``F1_AU<k>``, ``ACC_AU``;
    * ``SCORE``, the sum of the parts that have labels: what checkpoints monitor.

    A score without a valid label is None. A single unit without labels is None, too, and counts 0 in ``P_AU``.

    Args:
        tasks: which of ``TASKS`` the model has.
        expressions: class names in the order of the scores and of the label numbers.
        au_thresholds: one number, twelve, ``published``, or the file of a search.
        sync_on_compute: whether ``compute`` merges the ranks of a distributed run.

    Raises:
        ValueError: no task or an unknown one.
    """

    def __init__(
        self,
        tasks: Sequence[str] = TASKS,
        *,
        expressions: Sequence[str] = EXPRESSIONS,
        au_thresholds: Thresholds = 0.5,
        sync_on_compute: bool = True,
    ) -> None:
        super().__init__()
        if not tasks or not set(tasks) <= set(TASKS):
            raise ValueError(f"tasks: {list(tasks)}; choose from {', '.join(TASKS)}")
        self.tasks = tuple(task for task in TASKS if task in tasks)
        self.expressions = tuple(expressions)
        self.expression_score = expression_score(expressions)
        if "valence_arousal" in tasks:
            self.valence_arousal = ConcordanceCorrelation(sync_on_compute=sync_on_compute)
        if "expression" in tasks:
            self.expression = ExpressionScores(len(self.expressions), sync_on_compute=sync_on_compute)
        if "action_units" in tasks:
            self.action_units = ActionUnitScores(au_thresholds, sync_on_compute=sync_on_compute)

    def update(self, predictions: Predictions, labels: Labels) -> None:
        """Add the rows of a batch.

        Raises:
            ValueError: a task is missing from ``predictions``, or a prediction is not finite.
        """
        given, wanted = dict(predictions), dict(labels)
        for task in self.tasks:
            prediction, target = given.get(task), wanted[task]
            if not isinstance(prediction, Tensor) or not isinstance(target, Tensor):
                raise ValueError(f"predictions lack {task!r}, which this model is scored on")
            # a sum is finite only if all are; looking at each takes longer
            if not (prediction.sum().isfinite() or prediction.isfinite().all()):
                raise ValueError(f"{task}: a prediction is NaN or infinite; the network has diverged")
            self.get_submodule(task).update(prediction, target)  # type: ignore[operator]

    def reset(self) -> None:
        """Forget all rows."""
        for task in self.tasks:
            self.get_submodule(task).reset()  # type: ignore[operator]

    def compute(self) -> Scores:
        """Return the scores over all rows and ranks, as listed above."""
        return joined([getattr(self, f"_{task}_scores")() for task in self.tasks])

    def _valence_arousal_scores(self) -> Scores:
        valence, arousal = self.valence_arousal.compute().tolist()
        if valence != valence:  # NaN: no row
            return {"P_VA": None, "CCC_V": None, "CCC_A": None}
        return {"P_VA": (valence + arousal) / 2, "CCC_V": valence, "CCC_A": arousal}

    def _expression_scores(self) -> Scores:
        result = self.expression.compute()
        scores: Scores = {self.expression_score: result["f1"].mean().item()}
        scores |= {f"F1_EXPR_{name}": f1 for name, f1 in zip(self.expressions, result["f1"].tolist(), strict=True)}
        scores |= {"ACC_EXPR": result["accuracy"].item(), "MACRO_ACC_EXPR": result["macro_accuracy"].item()}
        return scores if result["count"] else dict.fromkeys(scores)

    def _action_units_scores(self) -> Scores:
        result = self.action_units.compute()
        units = zip(ACTION_UNITS, result["f1"].tolist(), result["count"].tolist(), strict=True)
        scores: Scores = {"P_AU": result["f1"].mean().item()}
        scores |= {f"F1_AU{unit}": f1 if count else None for unit, f1, count in units}
        scores["ACC_AU"] = result["accuracy"].item()
        return scores if result["count"].any() else dict.fromkeys(scores)
