"""The masks: how long a row is trained, its curve, and the whole study at toy size."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.studies import masks
from benchmarks.studies.masks import ROWS, curve, epochs, name_of
from runs.stages import run
from tests.conftest import small


def write_metrics(folder: Path, speeds: Sequence[float], scores: Sequence[float]) -> None:
    """Write what a training logs of its epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for epoch, (speed, score) in enumerate(zip(speeds, scores, strict=True)):
        lines += [{"epoch": epoch, "val/P_LSD": score}, {"epoch": epoch, "train/images_per_s": speed}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def test_a_curve_adds_up_seconds_and_images(tmp_path: Path) -> None:
    write_metrics(tmp_path, [100.0, 200.0], [0.3, 0.4])
    assert curve(tmp_path, 1000) == ([10.0, 15.0], [1000.0, 2000.0], [0.3, 0.4])


def test_a_faster_row_gets_more_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(folder: Path, script: str, given: Sequence[str]) -> Path:
        write_metrics(folder, [400.0 if "model.mask_ratio=0.75" in given else 100.0], [0.2])
        return folder

    monkeypatch.setattr(masks, "run", measured)
    assert epochs(tmp_path, "0 %", 600, 12000, []) == 5
    assert epochs(tmp_path, "75 %", 600, 12000, []) == 20
    assert epochs(tmp_path, "0 %", 1, 12000, []) == 3


def test_rows_have_folders_of_their_own() -> None:
    names = [name_of(row) for row in ROWS]
    assert names == ["0", "50", "75", "90", "95", "75-apart", "75-one-view"]


@pytest.mark.slow
def test_the_whole_study_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [*small("cotex"), "render.train_faces=24", "render.val_faces=12", "render.workers=1",
             "model.network.patch_size=8", "warmup_epochs=0.5", f"paths.cache_dir={tmp_path}/cache"]  # fmt: skip

    def smaller(folder: Path, script: str, given: Sequence[str]) -> Path:
        return run(folder, script, [*(one for one in given if "render.train_faces" not in one), *sizes])

    monkeypatch.setattr(masks, "run", smaller)
    monkeypatch.setattr(masks, "COMMON", ("callbacks=final",))
    # 95 % of 16 patches would leave none
    monkeypatch.setattr(masks, "ROWS", {row: what for row, what in ROWS.items() if row != "95 %"})
    monkeypatch.setattr(
        sys,
        "argv",
        ["masks", str(tmp_path / "study"), "render.train_faces=24", "--seconds", "0.1", "--seeds", "1", "2"],
    )
    masks.main()
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    assert set(results["curves"]) == set(masks.ROWS)
    assert set(results["gain"]) == set(masks.ROWS) - {"0 %"}
    assert "70.68" in capsys.readouterr().out
    assert (tmp_path / "study" / "masks.png").stat().st_size > 5000
