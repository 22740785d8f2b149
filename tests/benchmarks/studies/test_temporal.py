"""Temporal heads beside smoothing: the drawn videos, what is hidden of them, and the whole study at toy size."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affect.frames import unlabelled
from affect.labels import EXPRESSIONS
from benchmarks.studies import temporal
from benchmarks.studies.temporal import LISTS, REFERENCE, SHARE, STORES, STRETCH, Found, draw, hidden, scored, tell
from datamodules.readers.mtl import read_mtl
from evaluators.table import table_of_rows
from features.store import FeatureStore
from runs.stages import run
from tests.conftest import small


def runs_of(mask: Sequence[bool]) -> list[int]:
    """Lengths of the stretches that are true."""
    return [len(run) for run in "".join("x" if one else " " for one in mask).split()]


@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_is_hidden_in_stretches(seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(80, 161, 60).tolist()
    masks = hidden(lengths, np.random.default_rng(seed))
    again = hidden(lengths, np.random.default_rng(seed))
    assert all(np.array_equal(one, other) for one, other in zip(masks, again, strict=True))
    assert [len(mask) for mask in masks] == lengths
    count = sum(int(mask.sum()) for mask in masks)
    assert SHARE * sum(lengths) <= count < SHARE * sum(lengths) + STRETCH[1]
    stretches = [length for mask in masks for length in runs_of(mask.tolist())]
    assert STRETCH[0] <= min(stretches) <= max(stretches) <= STRETCH[1]
    assert all(2 * mask.sum() <= len(mask) for mask in masks)
    assert len({tuple(mask[:80].tolist()) for mask in masks}) > 20


def test_videos_have_all_labels_and_other_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal, "LENGTH", (4, 8))
    monkeypatch.setattr(temporal, "usable_cores", lambda: 1)
    root = draw(tmp_path / "videos", 3, {"train": 2, "validation": 1, "test": 1})
    lists = {split: read_mtl(root / file) for split, file in LISTS.items()}
    assert sorted(set(lists["train"].video)) == ["train-0000", "train-0001"]
    assert [len(set(one.video)) for one in lists.values()] == [2, 1, 1]
    for frames in lists.values():
        assert (frames.expression >= 0).all()
        assert not np.isnan(frames.valence_arousal).any()
        assert not np.isnan(frames.action_units).any()
        assert all((root / "cropped_aligned" / image).is_file() for image in frames.image)
    before = (root / LISTS["train"]).stat().st_mtime_ns
    assert draw(root, 3, {"train": 2, "validation": 1, "test": 1}) == root
    assert (root / LISTS["train"]).stat().st_mtime_ns == before


def made_up(seed: int, error: float) -> Found:
    """What a system says of four videos of 50 frames that is off by so much."""
    rng = np.random.default_rng(seed)
    names, number = [f"test-{index}" for index in range(4) for _ in range(50)], np.tile(np.arange(1, 51), 4)
    empty = unlabelled([f"{name}/{t:05d}.jpg" for name, t in zip(names, number, strict=True)], names, number, {})
    affect = rng.uniform(-1, 1, (200, 2)).astype(np.float32)
    kinds, units = rng.integers(8, size=200), rng.integers(2, size=(200, 12)).astype(np.float32)
    labels = replace(empty, valence_arousal=affect, expression=kinds, action_units=units)
    said = {
        "valence_arousal": np.clip(affect + error * rng.normal(size=(200, 2)), -1, 1).astype(np.float32),
        "expression": np.eye(8, dtype=np.float32)[np.where(rng.random(200) < error, 0, kinds)],
        "action_units": np.where(rng.random((200, 12)) < error, 1 - units, units).astype(np.float32),
    }
    said["valence_arousal"][7] = said["expression"][7] = said["action_units"][7] = np.nan  # hidden
    table = table_of_rows(labels, np.arange(200), said, {}, "made up", EXPRESSIONS)
    k = {"valence_arousal": 0, "expression": 0, "action_units": seed}
    found = scored(table, labels, k)
    assert found.named()["P_VA"] == pytest.approx(filled_by_hand(said["valence_arousal"], labels.valence_arousal))
    return Found(found, k)


def filled_by_hand(said: np.ndarray[Any, Any], affect: np.ndarray[Any, Any]) -> float:
    """The mean CCC once row 7 is halfway between its neighbours."""
    values = said.astype(np.float64)
    values[7] = (values[6] + values[8]) / 2
    cov = [np.cov(x, y, bias=True) for x, y in zip(values.T, affect.T.astype(np.float64), strict=True)]
    gap = values.mean(axis=0) - affect.mean(axis=0)
    return float(np.mean([2 * c[0, 1] / (c[0, 0] + c[1, 1] + g**2) for c, g in zip(cov, gap, strict=True)]))


def test_the_table_says_who_is_ahead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = {"frame": 0.5, REFERENCE: 0.3, "bigru": 0.1}
    found = {store: {name: [made_up(seed, error) for seed in (0, 1)] for name, error in systems.items()}
             for store in STORES}  # fmt: skip
    for number, name in enumerate(("extract-test", "whole-frame")):
        (tmp_path / "seed1").mkdir(exist_ok=True)
        (tmp_path / "seed1" / f"{name}.cpu").write_text(f"{10.0 * (number + 1)}\n")
    tell(tmp_path, [0, 1], found)
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["CPU seconds"] == {"extraction": 10.0, "heads": 20.0}
    for score in temporal.SCORES:
        value, low, high = results["hidden"]["bigru"]["ahead, low, high"][score]
        means = [np.mean(results["hidden"][name]["scores"][score]) for name in ("bigru", REFERENCE)]
        assert value == pytest.approx(means[0] - means[1])
        assert 0 < low < value < high
        assert results["hidden"]["frame"]["ahead, low, high"][score][2] < 0
    printed = capsys.readouterr().out
    assert "20% hidden" in printed
    assert "0, 0, 0" in printed  # the lower median of 0 and 1
    assert "CPU seconds: extraction 10, heads 20" in printed


@pytest.mark.slow
def test_the_whole_study_at_toy_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    less = {"train": 4, "validation": 2, "test": 3}

    def smaller(folder: Path, script: str, given: Sequence[str]) -> Path:
        if folder.name == "network":
            given = [*given, *small("emotionnet"), "render.train_videos=4",
                     "render.val_videos=2", "render.frames_per_video=6", "render.workers=1"]  # fmt: skip
        return run(folder, script, given)

    monkeypatch.setattr(temporal, "run", smaller)
    monkeypatch.setattr(temporal, "SIZES", less)
    monkeypatch.setattr(temporal, "LENGTH", (22, 30))
    monkeypatch.setattr(temporal, "STRETCH", (4, 8))
    monkeypatch.setattr(temporal, "LASTING", (8, 12))
    monkeypatch.setattr(temporal, "TEMPORAL", {"bigru": ("bigru",)})
    monkeypatch.setattr(temporal, "EPOCHS", 1)
    monkeypatch.setattr(temporal, "usable_cores", lambda: 1)
    folder = tmp_path / "study"
    given = [str(folder), f"paths.cache_dir={tmp_path}/cache", "--seeds", "5", "6"]
    monkeypatch.setattr(sys, "argv", ["temporal", *given])
    temporal.main()
    first = (folder / "results.json").read_text()
    results = json.loads(first)
    for store in ("hidden", "whole"):
        assert list(results[store]) == ["frame", "frame, smoothed", "bigru", "bigru, smoothed"]
        for name, of_name in results[store].items():
            assert len(of_name["scores"]["P_VA"]) == len(of_name["k"]) == 2
            assert (of_name["ahead, low, high"] == {}) == (name == REFERENCE)
        gain = results[store]["bigru"]["ahead, low, high"]["P_VA"]
        means = [np.mean(results[store][name]["scores"]["P_VA"]) for name in ("bigru", "frame, smoothed")]
        assert gain[0] == pytest.approx(means[0] - means[1])
        assert gain[1] <= gain[0] <= gain[2]
    whole, without = (FeatureStore(folder / "seed5" / store) for store in ("whole", "hidden"))
    known = {name: len(whole.frames_of(name)) for name in {part.parent.name for part in whole.parts}}
    left = {name: len(without.frames_of(name)) for name in known}
    assert len(known) == 9
    assert all(left[name] <= count for name, count in known.items())
    assert 0.6 < sum(left.values()) / sum(known.values()) <= 1 - SHARE
    assert "CPU seconds: extraction" in capsys.readouterr().out
    temporal.main()
    assert (folder / "results.json").read_text() == first
