"""The sixteen action units that the renderer moves, and access to their intensities while drawing."""

from __future__ import annotations

from typing import Final

import numpy as np

from affect.labels import ACTION_UNITS
from rendering.sketch import Array

RENDERED_UNITS: Final = (*ACTION_UNITS, 5, 9, 14, 20)
"""The scored units in file order, then the others that the expressions need."""

COLUMN: Final = {unit: column for column, unit in enumerate(RENDERED_UNITS)}
"""FACS number of a unit -> its column among the rendered ones."""


class Units:
    """Intensities (0..1) of one frame, for the image's left half of the face, its right half, and both.

    Attributes:
        left: FACS number -> intensity in the half with x < 0.
        right: FACS number -> intensity in the half with x > 0.
        mean: FACS number -> their mean.
    """

    def __init__(self, intensities: Array) -> None:
        """Take a frame's intensities.

        Args:
            intensities: (2, 16), left and right half, columns as in ``RENDERED_UNITS``.
        """
        sides = np.clip(intensities, 0.0, 1.0).tolist()
        self.left = dict(zip(RENDERED_UNITS, sides[0], strict=True))
        self.right = dict(zip(RENDERED_UNITS, sides[1], strict=True))
        self.mean = {unit: 0.5 * (self.left[unit] + self.right[unit]) for unit in RENDERED_UNITS}

    def side(self, side: int) -> dict[int, float]:
        """Return the intensities of the half at x < 0 (``side`` -1) or x > 0 (``side`` 1)."""
        return self.left if side < 0 else self.right

    def across(self, unit: int, weight: Array) -> Array:
        """Blend an intensity across the middle of the face: ``weight`` 0 takes the left half's, 1 the right half's."""
        return np.asarray(self.left[unit] * (1.0 - weight) + self.right[unit] * weight)
