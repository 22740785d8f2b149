"""Test-time augmentation: the mean of what a network predicts of several versions of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from affect.batch import Batch, Predictions
from affect.errors import ConfigError

SHIFT: Final = 1 / 20
"""How far a picture is moved, as a share of its height: detectors place faces no more exactly than that."""


_Image = TypeVar("_Image", bound=Any)


def versions(image: _Image) -> Iterator[_Image]:
    """Yield the pictures as they are, moved up and moved down (the border is repeated); and each mirrored, too.

    Args:
        image: (B, 3, H, W), a tensor or an array of any type; so are the six versions.
    """
    height, width = image.shape[-2:]
    shift = round(SHIFT * height)
    for by in (0, shift, -shift):
        moved = image[..., [min(max(row + by, 0), height - 1) for row in range(height)], :]
        yield moved
        yield moved[..., list(range(width - 1, -1, -1))]


def mean(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the mean of each entry of some tables, which are tensors or arrays."""
    return {key: sum(one[key] for one in tables) / len(tables) for key in tables[0]}


def averaged(predict: Callable[[Batch], dict[str, Predictions]], batch: Batch) -> dict[str, Predictions]:
    """Return the mean, over ``versions`` of a batch's pictures, of every entry of every table that is predicted.

    Raises:
        ConfigError: the batch has stored features.
    """
    if "image" not in batch:
        raise ConfigError(["tta=true is for pictures, and these data are features of them: leave it out"])
    seen = [predict({**batch, "image": image}) for image in versions(batch["image"])]
    return {name: cast("Predictions", mean([one[name] for one in seen])) for name in seen[0]}
