"""The two losses that DAN adds to its cross entropy (Wen et al. 2021, arXiv:2109.07270)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from losses.precision import divide, full_precision


class AffinityLoss(nn.Module):
    """Pulls each trunk feature towards the centre of its class, and the centres apart.

    It is the squared distance to the centre of the feature's class, divided by the summed variance of the centres. The
    centres are parameters: give them to the optimiser.

    Args:
        num_classes: number of classes, at least 2, because one centre has no variance.
        features: length C of the pooled feature.
    """

    def __init__(self, num_classes: int, features: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"AffinityLoss needs at least 2 classes, not {num_classes}")
        self.centers = nn.Parameter(torch.randn(num_classes, features))

    def forward(self, feature_map: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the labelled rows.

        Args:
            feature_map: (B, C, h, w) output of the trunk.
            target: (B,) int64 class index, -1 where missing.

        Returns:
            Scalar, float32 or better; exactly 0 without a label.
        """
        pooled = full_precision(feature_map).mean(dim=(2, 3))
        centers = full_precision(self.centers)
        valid = target >= 0
        distance = (pooled - centers[target.clamp(min=0)]).square().sum(dim=1)
        spread = centers.var(dim=0).sum()  # n - 1, as published
        return divide(torch.where(valid, distance, 0).sum(), valid.sum()) / spread


def partition_loss(heads: Tensor) -> Tensor:
    """Return ``log(1 + K / variance)``: small when the K attention heads look at different things.

    Args:
        heads: (B, K, C), the log-softmax over the heads that ``dan.network.DAN`` returns. It needs no label.

    Returns:
        Scalar, float32 or better. The variance (n - 1, as published) is taken over the heads, and its mean over rows
        and channels. The loss is exactly 0 for one head or an empty batch, which have no variance.
    """
    heads = full_precision(heads)
    count = heads.shape[1]
    if count < 2 or heads.shape[0] == 0:
        return heads.sum() * 0
    variance = heads.var(dim=1).mean()
    # identical heads have no variance: the clamp gives them a large finite loss
    return torch.log1p(count / variance.clamp(min=torch.finfo(heads.dtype).eps))
