"""Base of the data modules with AffectNet's expressions: AffectNet's numbering, and balanced sampling."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from affect.frames import Frames
from affect.labels import AFFECTNET_CLASSES, AFFECTNET_EXPRESSIONS
from datamodules.base import FaceDataModule


class ExpressionDataModule(FaceDataModule):
    """Base of the data modules whose ``Batch["expression"]`` is in AffectNet's numbering, as DAN learns it.

    Every training row must have an expression, so subclasses give no other label to rows without one.

    Args:
        classes: 8, or 7 to leave out contempt.
        balanced: whether to draw training rows with replacement so that all classes are equally frequent.
        **options: keywords of ``FaceDataModule``.

    Raises:
        ValueError: another number of classes.
    """

    def __init__(self, *, classes: Literal[7, 8] = 8, balanced: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if classes not in AFFECTNET_CLASSES:
            raise ValueError(f"data.classes is {classes!r}, expected {' or '.join(map(str, AFFECTNET_CLASSES))}")
        self.expressions = AFFECTNET_EXPRESSIONS[:classes]
        self.balanced = balanced

    def sampling_weights(self, frames: Frames) -> npt.NDArray[np.float64] | None:
        """Return (N,) probabilities with which all classes that are present are drawn equally often, or None."""
        if not self.balanced:
            return None
        weights = 1 / np.bincount(frames.expression)[frames.expression]
        normalised: npt.NDArray[np.float64] = weights / weights.sum()
        return normalised
