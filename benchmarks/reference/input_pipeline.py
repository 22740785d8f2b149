"""The input pipeline as it is usually written, with Pillow and torchvision: what ours is compared with.

Kept as it is: the README's figures are ratios to this file.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms  # type: ignore[import-untyped]


def train_transform(image_size: int) -> transforms.Compose:
    """Return the augmentation of EMMA as float32 (3, image_size, image_size), normalised with ImageNet's statistics."""
    return transforms.Compose(
        [
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.2),
            transforms.Resize(int(image_size * 1.04)),
            transforms.RandomCrop(image_size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )


def load_batch(files: Sequence[bytes], transform: transforms.Compose) -> Tensor:
    """Return (B, 3, image_size, image_size) float32 of B JPEG files' contents."""
    return torch.stack([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in files])
