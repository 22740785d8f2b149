"""What data, networks and scores exchange: a batch of faces, raw scores, predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NotRequired, TypedDict

if TYPE_CHECKING:
    from torch import Tensor


class Augmentation(NamedTuple):
    """What is done to one face: colour jitter, then flip, resize to ``resized`` x ``resized`` pixels, and crop.

    Jitter multiplies by ``brightness``, blends with the picture's mean grey by ``contrast``, with each pixel's grey by
    ``saturation``, and turns the hue by ``hue`` of the colour circle, in this order. 1, 1, 1, 0 changes nothing.
    """

    resized: float
    top: float
    left: float
    flip: float
    brightness: float
    contrast: float
    saturation: float
    hue: float


class Labels(TypedDict):
    """The labels of B faces."""

    valence_arousal: Tensor  # (B, 2) float32, NaN = missing
    expression: Tensor  # (B,) int64, -1 = missing
    action_units: Tensor  # (B, 12) float32, NaN = missing


class Batch(Labels):
    """B faces with their labels, as every datamodule makes them and every method takes them.

    ``unreadable`` holds the U further rows of the batch whose image is missing or damaged; no other entry has them.
    ``one_colour`` holds the rows whose picture is black or of another single colour; data modules take it out.
    With ``augmentation``, images are as they are stored, and the method does to the pixels that it looks at what
    the row of it says. Batches of stored features have ``embedding`` and ``outputs`` in the place of ``image``.

    Batches of windows have ``features``, ``present`` and ``seen``; ``row`` and the labels then have an axis of T frames
    behind that of the windows, with −1 as the row of what no row lists. Those of validation and prediction are windows
    of one video, one after another, and say in ``start``, ``done``, ``known`` and ``at`` how their scores become rows.
    """

    image: NotRequired[Tensor]  # (B, 3, H, W) uint8, RGB
    row: Tensor  # (B,) int64, index into the split's frame list
    unreadable: Tensor  # (U,) int64, indices into the split's frame list
    one_colour: NotRequired[Tensor]  # (K,) int64, indices into the split's frame list
    augmentation: NotRequired[Tensor]  # (B, 8) float32, columns as in Augmentation
    embedding: NotRequired[Tensor]  # (B, E) float32
    outputs: NotRequired[Tensor]  # (B, O) float32, scores of the network that made the embeddings
    features: NotRequired[Tensor]  # (B, T, D) float32
    present: NotRequired[Tensor]  # (B, T) bool, false where the frame is padding
    seen: NotRequired[Tensor]  # (B, T) bool, false where the frame has no features of its own
    start: NotRequired[Tensor]  # (B,) int64, position of each window in its video
    done: NotRequired[Tensor]  # (B,) int64, positions from the beginning of the video that no later window covers
    known: NotRequired[Tensor]  # (R,) int64, rows of the positions that the batch is the last to cover
    at: NotRequired[Tensor]  # (R,) int64, their positions in the video


class AffectLogits(NamedTuple):
    """Raw scores of B faces; None for a task that the network does not have."""

    expression: Tensor | None = None  # (B, C)
    action_units: Tensor | None = None  # (B, 12)
    valence_arousal: Tensor | None = None  # (B, 2), unbounded


class Predictions(TypedDict, total=False):
    """What a network says of B faces; only the tasks it has."""

    row: Tensor  # (B,) int64, where they are of other rows than the batch's
    valence_arousal: Tensor  # (B, 2), clamped to [-1, 1]
    expression: Tensor  # (B, C) probabilities
    action_units: Tensor  # (B, 12) probabilities
    logits_expression: Tensor  # (B, C), where a rule downstream needs them
    logits_action_units: Tensor  # (B, 12)
