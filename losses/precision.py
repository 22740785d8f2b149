"""The two things that every loss here does: leave half precision, and divide by a count that may be zero."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Return float32 for half-precision or integer values; float32 and float64 are left as they are.

    No loss of this package multiplies matrices, so autocast does not take the values back to half precision.
    """
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def divide(total: Tensor, count: Tensor) -> Tensor:
    """Return ``total / count``, and ``total`` (which is then an empty sum: 0, with its graph) where ``count`` is 0."""
    return total / torch.where(count > 0, count, torch.ones_like(count))
