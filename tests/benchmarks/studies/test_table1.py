"""Table 1 at equal time: how long a network is trained, and the whole study at toy size, given again."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from benchmarks.studies import table1
from benchmarks.studies.table1 import ROWS, length
from runs.stages import run
from tests.conftest import small


def test_a_network_gets_the_steps_that_fit_into_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(folder: Path, script: str, given: Sequence[str]) -> Path:
        folder.mkdir(parents=True)
        OmegaConf.save({"data": {"batch_size": 50}}, folder / "config.yaml")
        speed = 300.0 if "backbone=inception_v3" in given else 30.0
        (folder / "metrics.jsonl").write_text(json.dumps({"train/images_per_s": speed}) + "\n")
        return folder

    monkeypatch.setattr(table1, "run", measured)
    faces = ["render.train_videos=100", "render.frames_per_video=10"]
    fast, slow = (length(tmp_path, row, 10, faces) for row in ("inception_v3", "vit"))
    assert fast == ["trainer.max_epochs=4", "+trainer.max_steps=60", "warmup_epochs=0.5"]
    assert slow == ["trainer.max_epochs=1", "+trainer.max_steps=6", "warmup_epochs=0.125"]


@pytest.mark.slow
def test_the_whole_study_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["render.val_videos=3", "render.workers=1", f"paths.cache_dir={tmp_path}/cache"]

    def smaller(folder: Path, script: str, given: Sequence[str]) -> Path:
        experiment = next(one.removeprefix("experiment=") for one in given if one.startswith("experiment="))
        less = [one for one in small(experiment) if "dan." not in one and "max_epochs" not in one]
        if experiment == "baseline":
            less += ["backbone.name=resnet10t", "model.network.image_size=32"]
        return run(folder, script, [*given, *less, *sizes])

    monkeypatch.setattr(table1, "run", smaller)
    monkeypatch.setattr(table1, "COMMON", ("data=synthetic", "callbacks=final"))
    given = ["render.train_videos=6", "render.frames_per_video=8", "--seconds", "0.2", "--seeds", "1", "2"]
    monkeypatch.setattr(sys, "argv", ["table1", str(tmp_path / "study"), *given])
    table1.main()
    first = (tmp_path / "study" / "results.json").read_text()
    results = json.loads(first)
    for row in (*ROWS, "linear"):
        mean, low, high = results[row]["P_MTL, low, high"]
        assert low <= mean <= high
        assert len(results[row]["scores"]["P_AU"]) == 2
        assert all(seconds > 0 for seconds in results[row]["seconds"])
        assert (results[row]["lead, low, high"] is None) == (row == "emotionnet")
    assert "P_MTL of emotionnet - its" in capsys.readouterr().out
    table1.main()
    assert (tmp_path / "study" / "results.json").read_text() == first
