"""Compute the loss of a masked autoencoder on the patches that it did not see."""

from __future__ import annotations

import torch
from torch import Tensor


def reconstruction_loss(prediction: Tensor, pixels: Tensor, keep: Tensor, *, normalise: bool = True) -> Tensor:
    """Return the mean squared error over the removed patches (He et al. 2022, section 3 and "Reconstruction target").

    Args:
        prediction: (B, N, P) pixels of every patch, from the decoder.
        pixels: (B, N, P) true pixels of the normalised image.
        keep: (B, K) int64, the patches that were seen, which do not count.
        normalise: compare with each patch's pixels after subtracting their mean and dividing by their deviation.

    Returns:
        The loss, float32; 0 if no patch was removed.
    """
    target = normalised_patches(pixels) if normalise else pixels
    error = (prediction.float() - target.float()).square().mean(dim=-1)
    removed = torch.ones_like(error).scatter(1, keep, 0.0)
    return (error * removed).sum() / removed.sum().clamp(min=1)


def normalised_patches(pixels: Tensor) -> Tensor:
    """Give each of (B, N, P) patches mean 0 and variance 1 (unbiased; 1e-6 is added, so that flat patches are 0)."""
    mean = pixels.mean(dim=-1, keepdim=True)
    return (pixels - mean) / (pixels.var(dim=-1, keepdim=True) + 1e-6).sqrt()
