"""Labels that every patch shows: gratings over drawn faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.files import OutputError
from benchmarks.studies import masks
from benchmarks.studies.patterns import PERIODS, grating, relabelled, study
from runs.stages import run
from tests.conftest import small


@pytest.mark.parametrize("period", PERIODS)
def test_a_grating_has_its_period_in_any_direction(period: float) -> None:
    seen = np.abs(np.fft.fft2(grating(224, 224, period, np.random.default_rng(3))))
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    frequency = np.hypot(min(row, 224 - row), min(column, 224 - column)) / 224
    assert 1 / frequency == pytest.approx(period, rel=0.08)


def test_faces_get_other_labels_and_each_class_as_many(tmp_path: Path) -> None:
    sizes = {"train_faces": 12, "val_faces": 6}
    folder = relabelled(tmp_path / "pictures1", 1, sizes)
    found = {split.name: [len(list(one.iterdir())) for one in sorted(split.iterdir())] for split in folder.iterdir()}
    assert found == {"training_set_synthetic_images": [2] * 6, "validation_set_real_images": [1] * 6}
    moved = [path for path in folder.rglob("*.png") if not path.stem.startswith(path.parent.name)]
    assert moved, "some face must have another class than its expression"
    path = moved[0]
    before = "/".join((path.parent.parent.name, *path.stem.split("-")))
    face = cv2.imread(str(next((tmp_path / "faces1").rglob(f"{before}.jpg"))))
    with_grating = cv2.imread(str(path))
    assert face is not None
    assert with_grating is not None
    assert 3 <= np.abs(with_grating.astype(int) - face.astype(int)).max() <= 7
    assert relabelled(folder, 1, sizes) == folder
    with pytest.raises(OutputError):
        relabelled(folder, 1, {**sizes, "train_faces": 18})


@pytest.mark.slow
def test_the_study_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [one for one in small("cotex") if "render" not in one and not one.startswith("data=")]

    def smaller(folder: Path, script: str, given: list[str]) -> Path:
        return run(folder, script, [*given, *sizes, "model.network.patch_size=8", "warmup_epochs=0.5"])

    monkeypatch.setattr(masks, "run", smaller)
    monkeypatch.setattr(masks, "COMMON", ("callbacks=final",))
    given = ["render.train_faces=24", "render.val_faces=12"]
    study(tmp_path / "study", [1, 2], 0.1, given)
    assert "90 %" in capsys.readouterr().out
    assert (tmp_path / "study" / "results.json").is_file()
