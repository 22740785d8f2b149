"""Help every loss to leave half precision, and to divide by a count that may be zero."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(values: Tensor) -> Tensor:
    """Turn half-precision and integer values into float32; return float32 and float64 values as they are.

    No loss in this package multiplies matrices, so autocast does not turn them back into half precision.
    """
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def divide(total: Tensor, count: Tensor) -> Tensor:
    """Return ``total / count``; where ``count`` is 0, return ``total``, an empty sum that is 0 and keeps its graph."""
    return total / torch.where(count > 0, count, torch.ones_like(count))
