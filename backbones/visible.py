"""Augment only the patches that a masked network sees, on the device that holds the faces.

The crop, flip, resize and jitter are those of ``datamodules.transforms.augment``, for a whole batch. Resizing is linear
in the pixels and separable: a patch is (its rows of the resizing matrix) x (a window of the picture) x (its columns),
so a removed patch costs nothing. Jitter follows on the patch, in float32; only contrast needs the mean grey of the
whole stored picture. ``augment`` differs in three ways: it rounds after every step, it jitters before resizing, and
OpenCV's 8-bit hue has steps of two degrees. tests/backbones/test_visible.py bounds the differences.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from affect.batch import Augmentation
from affect.preprocessing import Interpolation

_GREY: Final = (0.299, 0.587, 0.114)
_NO_JITTER: Final = (1.0, 1.0, 1.0, 0.0)  # the last four columns of an augmentation
_FLAGS: Final = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}


def visible_patches(
    image: Tensor, augmentation: Tensor, keep: Tensor, *, image_size: int, patch_size: int, interpolation: Interpolation
) -> Tensor:
    """Return the kept patches of the augmented faces.

    Args:
        image: (B, 3, S, S) uint8 faces, as stored.
        augmentation: (B, 8) float32, columns as in ``affect.batch.Augmentation``.
        keep: (B, K) int64 patches, row by row from the top left of the augmented image.
        image_size: side of the augmented image in pixels.
        patch_size: side of a patch in pixels.
        interpolation: how images are enlarged; shrinking averages areas.

    Returns:
        (B, K, 3, patch_size, patch_size) float32 in 0..255.
    """
    done = dict(zip(Augmentation._fields, augmentation.unbind(dim=1), strict=True))
    side, grid = image.shape[-1], image_size // patch_size
    begin, weights = (
        table.to(image.device) for table in _windows(side, int(done["resized"][0]), patch_size, interpolation)
    )
    row = done["top"].long()[:, None] + keep // grid * patch_size
    column = done["left"].long()[:, None] + keep % grid * patch_size
    reach = torch.arange(weights.shape[-1], device=image.device)
    flipped = done["flip"][:, None] > 0
    # a flipped face is read from the other side
    left = torch.where(flipped, side - weights.shape[-1] - begin[column], begin[column])
    horizontal = torch.where(flipped[..., None, None], weights[column].flip(-1), weights[column])
    face = torch.arange(len(image), device=image.device)[:, None, None, None]
    window = image[face, :, (begin[row][..., None] + reach)[..., None], (left[..., None] + reach)[:, :, None]]
    # (B, K, W, 3 W) and (B, K, P 3, W): all colours in one product, so there is one per patch and axis
    tall = weights[row] @ window.transpose(3, 4).flatten(3).to(torch.float32)
    wide = tall.view(*keep.shape, 3 * patch_size, -1) @ horizontal.transpose(2, 3)
    patches = wide.view(*keep.shape, patch_size, 3, patch_size).transpose(2, 3)
    patches = patches.clamp_(0, 255)  # bicubic overshoots
    jittered = (augmentation[:, 4:] != augmentation.new_tensor(_NO_JITTER)).any(dim=1).nonzero()[:, 0]
    if len(jittered):
        patches[jittered] = _jitter(patches[jittered], image[jittered].to(torch.float32), augmentation[jittered])
    return patches


def _jitter(patches: Tensor, whole: Tensor, augmentation: Tensor) -> Tensor:
    """Jitter the colours of (J, K, 3, P, P) patches, which were cut from the (J, 3, S, S) pictures ``whole``."""
    _, _, _, _, brightness, contrast, saturation, hue = (c[:, None, None, None] for c in augmentation.unbind(dim=1))
    # after clipping, the mean of the grey is the grey of the means
    mean = _grey((whole * brightness).clamp_(0, 255).mean(dim=(2, 3), keepdim=True), dim=1)
    brightness, contrast, saturation, mean = (c[:, None] for c in (brightness, contrast, saturation, mean))
    patches = (patches * brightness).clamp_(0, 255)
    patches = patches.mul_(contrast).add_(mean * (1 - contrast)).clamp_(0, 255)
    grey = _grey(patches, dim=2) * (1 - saturation)
    return _turn_hue(patches.mul_(saturation).add_(grey).clamp_(0, 255), hue)


def _grey(pixels: Tensor, dim: int) -> Tensor:
    """Return the luma of RGB along ``dim``, which is kept with length 1."""
    red, green, blue = (pixels.select(dim, channel).unsqueeze(dim) for channel in range(3))
    return _GREY[0] * red + _GREY[1] * green + _GREY[2] * blue


def _turn_hue(patches: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of (J, K, 3, P, P) pixels by (J, 1, 1, 1) of the colour circle; value and chroma do not change.

    Source: the HSV formula without sectors, f(n) = V - C max(0, min(k, 4 - k, 1)), k = (n + H / 60°) mod 6.
    """
    red, green, blue = patches.unbind(dim=2)
    value, least = patches.amax(dim=2), patches.amin(dim=2)
    chroma = value - least
    safe = chroma.clamp(min=1e-6)
    hue = torch.where(
        value == red,
        (green - blue) / safe % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = hue + 6 * turn
    turned = []
    for n in (5, 3, 1):
        k = (n + hue) % 6
        turned.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(turned, dim=2)


@lru_cache(maxsize=16)
def _windows(stored: int, resized: int, patch_size: int, interpolation: Interpolation) -> tuple[Tensor, Tensor]:
    """Return which pixels a patch is made of along one axis, for every position in the resized picture.

    Returns:
        (resized - patch_size + 1,) int64 first pixel of the window, and (…, patch_size, W) weights of its W pixels.
    """
    flags = cv2.INTER_AREA if stored > resized else _FLAGS[interpolation]
    # resizing the unit vectors gives the matrix of OpenCV's resize
    matrix = np.eye(stored, dtype=np.float32)
    if stored != resized:
        matrix = cv2.resize(matrix, (stored, resized), interpolation=flags).astype(np.float32)
    rows = np.stack([matrix[first : first + patch_size] for first in range(resized - patch_size + 1)])
    used = (rows != 0).any(axis=1)
    width = int((stored - used[:, ::-1].argmax(axis=1) - used.argmax(axis=1)).max())
    begin = np.minimum(used.argmax(axis=1), stored - width)
    weights = np.take_along_axis(rows, (begin[:, None] + np.arange(width))[:, None], axis=2)
    return torch.from_numpy(begin), torch.from_numpy(np.ascontiguousarray(weights))
