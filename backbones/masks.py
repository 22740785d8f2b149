"""Choose the patches that a network sees: a pure function of seed, epoch, row, view and repetition."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def kept_patches(rows: Tensor, *, patches: int, ratio: float, seed: int, epoch: int, view: int, repeat: int) -> Tensor:
    """Return random patches to keep, drawn anew for each row, epoch, view and repetition.

    Nothing else has an influence: not the batch, not the process, not what was drawn before. So the number of workers
    changes nothing, and a resumed run continues as if it had never stopped.

    Args:
        rows: (B,) row numbers in the split's list.
        patches: number of patches in an image.
        ratio: share removed, in [0, 1).
        seed: seed of the run.
        epoch: number of the current epoch.
        view: number of the network that sees the patches.
        repeat: number of the mask, where one batch is used several times.

    Returns:
        (B, int(patches * (1 - ratio))) int64 on the device of ``rows``.

    Raises:
        ValueError: no patch would be left.
    """
    key = np.random.SeedSequence([seed, epoch, view, repeat]).generate_state(1, np.uint64)[0]
    numbers = rows.cpu().numpy().astype(np.uint64)
    with np.errstate(over="ignore"):  # the arithmetic is modulo 2^64 on purpose
        streams = _mix(key + numbers * _GAMMA)
        noise = _mix(streams[:, None] + np.arange(1, patches + 1, dtype=np.uint64) * _GAMMA)
    # a double holds 53 bits exactly
    return keep_lowest(torch.from_numpy((noise >> np.uint64(11)).astype(np.float64)), ratio).to(rows.device)


def keep_lowest(noise: Tensor, ratio: float) -> Tensor:
    """Return the indices of the patches that stay when a share is removed: those with the lowest noise.

    Args:
        noise: (B, N), one number per patch.
        ratio: share removed, in [0, 1).

    Returns:
        (B, int(N * (1 - ratio))) int64, by ascending noise.

    Raises:
        ValueError: no patch would be left, or ``ratio`` is out of range.
    """
    patches = noise.shape[1]
    kept = int(patches * (1 - ratio))
    if not 0 <= ratio < 1 or kept < 1:
        raise ValueError(f"mask ratio {ratio} of {patches} patches leaves none: choose one in [0, {1 - 1 / patches:g}]")
    return noise.topk(kept, dim=1, largest=False).indices


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers (the finaliser of SplitMix64, https://doi.org/10.1145/2714064.2660195)."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
