from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affect.frames import Frames
from runs.next_steps import after_evaluation, after_training
from tests.evaluators.fake import make_frames

TRAINING: dict[str, Any] = {"scale": "tiny", "render": {"layout": "mtl"}, "trainer": {"accelerator": "cpu"}}


def test_a_training_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert after_training(TRAINING, tmp_path / "logs" / "my run").splitlines() == [
        "report: logs/my run/report.html",
        "next: python evaluate.py 'checkpoint=logs/my run' trainer=cpu",
    ]


@pytest.mark.parametrize(("weights", "key"), [("dan.pth", "dan"), ("encoder.pth", "vit")])
def test_what_a_prior_has_learnt_goes_into_emma(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "weights").mkdir(parents=True)
    (tmp_path / "run" / "weights" / weights).touch()
    told = after_training(TRAINING, tmp_path / "run").partition("next: ")[2]
    assert "python train.py experiment=emma data=synthetic scale=tiny trainer=cpu" in told
    assert f"model.network.{key}.weights=run/weights/{weights}" in told
    assert max(map(len, told.splitlines())) <= 79
    paper = after_training({**TRAINING, "scale": "paper", "render": None, "trainer": {}}, tmp_path / "run")
    assert "data=affwild2_mtl 'data.root=…' scale=paper" in paper.replace(" \\\n ", "")
    assert "trainer=cpu" not in paper


def test_tables_of_videos_are_smoothed_where_they_were_not(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"split": "test", "postprocess": {"smoothing": None}}
    frames = make_frames(60)
    told = after_evaluation(plain, tmp_path, frames).splitlines()
    assert told[0] == f"report: {tmp_path}/report.html"
    assert "postprocess.smoothing=box" in "".join(told)
    assert f"predictions={tmp_path}/predictions/test.parquet split=test" in "".join(told).replace(" \\ ", "")
    assert after_evaluation({**plain, "postprocess": {"smoothing": "box"}}, tmp_path, frames).splitlines() == told[:1]
    pictures = Frames(**{**vars(frames), "frame": np.arange(60)})
    assert after_evaluation(plain, tmp_path, pictures).splitlines() == told[:1]
