"""Two real processes on an odd-sized set with uneven shards give the scores and the table of one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluators.metrics import AffectScores
from evaluators.table import read_table
from tests.evaluators.ddp_worker import ROWS, SHARDS
from tests.evaluators.fake import labels_of, make_frames, make_predictions

REPOSITORY = Path(__file__).parents[2]


def test_two_processes_equal_one(tmp_path):
    command = [sys.executable, "-m", "tests.evaluators.ddp_worker"]
    processes = [
        subprocess.Popen([*command, str(rank), "2", tmp_path], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)

    frames = make_frames(ROWS)
    predictions = make_predictions(frames)
    single = AffectScores()
    single.update(predictions, labels_of(frames))
    expected = single.compute()
    assert None not in expected.values()
    halves = torch.where(torch.arange(ROWS) < SHARDS[1].start, 0.3, -0.3)
    single.valence_arousal.reset()
    single.valence_arousal.update(halves[:, None].expand(ROWS, 2), labels_of(frames)["valence_arousal"])
    arousal = single.valence_arousal.compute()[1].item()
    assert arousal != 0
    for rank in range(2):
        merged, lonely, constants = json.loads((tmp_path / f"scores{rank}.json").read_text())
        for result in (merged, lonely):
            assert list(result) == list(expected)
            assert result == pytest.approx(expected, rel=0, abs=1e-12)
        assert constants["CCC_V"] == 0
        assert constants["CCC_A"] == pytest.approx(arousal, rel=0, abs=1e-12)
    table = read_table(tmp_path / "val.parquet")
    assert list(table.frame) == list(frames.frame)
    for key, values in predictions.items():
        np.testing.assert_array_equal(table.predictions[key], values.numpy())
    assert not (tmp_path / ".parts").exists()
