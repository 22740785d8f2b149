"""Test-time augmentation: the mean of what a network predicts of several versions of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from affect.batch import Batch, Predictions
from affect.errors import ConfigError

SHIFT: Final = 1 / 20
"""How far a picture is moved, as a share of its height: detectors place faces no more exactly than that."""


def versions(image: Tensor) -> Iterator[Tensor]:
    """Yield the pictures as they are, moved up and moved down (the border is repeated); and each mirrored, too.

    Args:
        image: (B, 3, H, W), any type; so are the six versions.
    """
    height = image.shape[-2]
    shift = round(SHIFT * height)
    padded = F.pad(image.float(), (0, 0, shift, shift), mode="replicate").to(image.dtype)
    for top in (shift, 2 * shift, 0):
        moved = padded[..., top : top + height, :]
        yield moved
        yield moved.flip(-1)


def averaged(predict: Callable[[Batch], dict[str, Predictions]], batch: Batch) -> dict[str, Predictions]:
    """Return the mean, over ``versions`` of a batch's pictures, of every entry of every table that is predicted.

    Raises:
        ConfigError: the batch has stored features.
    """
    if "image" not in batch:
        raise ConfigError(["tta=true is for pictures, and these data are features of them: leave it out"])
    seen = [predict({**batch, "image": image}) for image in versions(batch["image"])]
    means = {}
    for name in seen[0]:
        tables = [cast("dict[str, Tensor]", one[name]) for one in seen]
        means[name] = cast(
            "Predictions", {key: torch.stack([one[key] for one in tables]).mean(dim=0) for key in tables[0]}
        )
    return means
