"""The benchmark of the temporal heads: both ways give the same, and figures are written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import temporal
from benchmarks.reference import temporal as plain
from heads.temporal.choices import HEADS
from losses.windows import WindowLoss


@pytest.mark.parametrize("head", HEADS)
def test_both_ways_predict_alike(head: str) -> None:
    case = temporal.make(head, "tiny", windows=2, features=5)
    case.network.eval()
    found = plain.predict(case.network, case.batch["features"], case.batch["present"])
    torch.testing.assert_close(found, temporal.predict(case), rtol=0, atol=temporal.TOLERANCE)


def test_both_ways_take_the_same_step() -> None:
    """Of a head without dropout and BatchNorm, with a loss that is a mean over windows that are labelled alike."""
    steps = []
    for way in ("ours", "plain"):
        case = temporal.make("gru", "tiny", windows=3, features=5)
        for module in case.network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        optimiser = torch.optim.SGD(case.network.parameters(), lr=0.1)
        if way == "ours":
            temporal.train(case, WindowLoss(ccc="window"), optimiser)
        else:
            plain.train(case.network, WindowLoss(ccc="window"), optimiser, case.batch)
        steps.append([parameter.detach().clone() for parameter in case.network.parameters()])
    torch.testing.assert_close(steps[0], steps[1], rtol=0, atol=1e-5)


def test_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "figures.json"
    given = ["--rounds", "1", "--scale", "tiny", "--head", "bigru", "tcn", "--windows", "2", "--features", "5"]
    monkeypatch.setattr(sys, "argv", ["temporal", *given, "--json", str(path)])
    temporal.main()
    figures = json.loads(path.read_text())["figures"]
    assert {head: of["latency_s"] is not None for head, of in figures.items()} == {"bigru": False, "tcn": True}
    assert all(
        of["agree"] and of[name]["frames_per_s"] > 0 for of in figures.values() for name in ("training", "prediction")
    )
    assert "DIFFER" not in capsys.readouterr().out
