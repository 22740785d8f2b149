from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig

from affect.labels import AU_NAMES
from benchmarks.studies import controls
from benchmarks.studies.linear import linear_predictions
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.readers.mtl import read_mtl
from evaluators.chance import frequency_baseline
from evaluators.predictions import score_rows
from evaluators.report import read_scores
from rendering.cache import draw as draw_faces
from rendering.oracle import oracle_predictions
from runs.train import train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MTLDataModule:
    root = tmp_path_factory.mktemp("controls") / "mtl"
    draw_faces(root, "mtl", seed=2, train_videos=12, val_videos=8, frames_per_video=6, workers=1)
    return MTLDataModule(str(root), image_size=16, batch_size=16)


def test_pixels_are_those_of_the_rows_with_an_image_in_order(data: MTLDataModule) -> None:
    rows, pixels = controls.read_pixels(data, "val")
    _, paths = data.read_split("val")
    assert rows.tolist() == [row for row, path in enumerate(paths) if path is not None]
    assert pixels.shape == (len(rows), 3 * 16**2)
    assert pixels.min() >= 0
    assert pixels.max() > 200  # not scaled


@pytest.mark.slow
def test_linear_control_gives_every_score(data: MTLDataModule) -> None:
    train_rows, train_pixels = controls.read_pixels(data, "train")
    rows, pixels = controls.read_pixels(data, "val")
    labels, validation = data.frames("train").select(train_rows), data.frames("val").select(rows)
    linear = linear_predictions(train_pixels, labels, pixels)
    assert set(linear.chosen) == {"valence_arousal", "expression", *AU_NAMES}
    scores = score_rows(linear.predictions, validation)
    assert list(scores) == list(frequency_baseline(labels, validation))
    assert None not in scores.values()
    # faces that were trained on are recognised: the pixels and the labels belong to the same rows
    seen = score_rows(linear_predictions(train_pixels, labels, train_pixels).predictions, labels)
    assert seen["P_MTL"] > frequency_baseline(labels, labels)["P_MTL"] + 0.5


def test_oracle_is_above_frequencies(data: MTLDataModule) -> None:
    validation = data.frames("val")
    oracle = score_rows(oracle_predictions(Path(str(data.root)), "validation"), validation)
    assert oracle["SCORE"] > frequency_baseline(data.frames("train"), validation)["SCORE"] + 0.5


@pytest.mark.parametrize(("end", "last"), [("\n", "\n"), (",\r\n", "")])
def test_shuffling_deals_out_whole_rows(data: MTLDataModule, tmp_path: Path, end: str, last: str) -> None:
    lines = (Path(str(data.root)) / "training_set_annotations.txt").read_text().splitlines()
    source, shuffled = tmp_path / "labels.txt", tmp_path / "sub" / "shuffled.txt"
    source.write_bytes((end.join(lines) + last).encode())
    controls.shuffle_labels(source, shuffled, seed=0)
    before, after = read_mtl(source), read_mtl(shuffled)
    assert after.image == before.image

    def rows(frames: object) -> list[bytes]:
        parts = zip(frames.valence_arousal, frames.expression, frames.action_units, strict=True)
        return [b"".join(np.asarray(part).tobytes() for part in row) for row in parts]

    assert Counter(rows(after)) == Counter(rows(before))
    moved = np.mean([one != other for one, other in zip(rows(after), rows(before), strict=True)])
    assert moved > 0.8
    again, other = tmp_path / "again.txt", tmp_path / "other.txt"
    controls.shuffle_labels(source, again, seed=0)
    controls.shuffle_labels(source, other, seed=1)
    assert again.read_text() == shuffled.read_text() != other.read_text()


def test_conditions_can_fail() -> None:
    def of(emma: float, shuffled: float) -> list[bool]:
        totals = {"EMMA": emma, "linear on pixels": 1.1, "frequencies": 0.5, "shuffled labels": shuffled}
        return list(controls.conditions({name: {"SCORE": total} for name, total in totals.items()}).values())

    assert of(1.5, 0.55) == [True, True]
    assert of(1.3, 0.55) == [False, True]
    assert of(1.5, 0.3) == [True, False]  # below is as suspicious as above


@pytest.mark.slow
def test_shuffled_training_differs_in_nothing_but_the_labels(
    compose_run: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_run("data.batch_size=8")
    train(config)
    data = MTLDataModule(config.data.root, image_size=32, batch_size=8)
    scores = read_scores(tmp_path / "run" / "scores.json")
    assert controls.train_shuffled(config, data, tmp_path / "controls") != scores
    monkeypatch.setattr(controls, "shuffle_labels", lambda source, copy, seed: shutil.copyfile(source, copy))
    (tmp_path / "same").mkdir()
    assert controls.train_shuffled(config, data, tmp_path / "same") == scores


def scores_in(run: Path) -> dict[str, Any]:
    """Read a run's scores as they are written, without the notes beside them."""
    content = json.loads((run / "scores.json").read_text())
    return {name: value for name, value in content.items() if not isinstance(value, dict)}


@pytest.mark.slow
def test_command_on_a_run(
    compose_run: Callable[..., DictConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(compose_run("logger=csv"))
    run = tmp_path / "run"
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    capsys.readouterr()
    controls.run_controls(run, skip_training=False)
    printed = capsys.readouterr().out
    content = json.loads((run / "controls.json").read_text())
    names = ["oracle", "EMMA", "frequencies", "shuffled labels", "linear on pixels"]
    assert list(content["scores"]) == names
    assert content["scores"]["EMMA"] == scores_in(run)
    assert f"{content['scores']['oracle']['P_MTL']:.4f}" in printed
    assert len(content["conditions"]) == 2
    assert all(condition in printed for condition in content["conditions"])
    # the run itself is left as it was
    assert {name: (run / name).read_bytes() for name in before} == before
    shuffled = run / "controls" / "shuffled_labels"
    assert content["scores"]["shuffled labels"] == scores_in(shuffled)

    made = (shuffled / "scores.json").stat().st_mtime_ns
    controls.run_controls(run, skip_training=False)
    assert (shuffled / "scores.json").stat().st_mtime_ns == made  # a finished one is taken as it is
    controls.run_controls(run, skip_training=True)
    assert "shuffled labels" not in json.loads((run / "controls.json").read_text())["scores"]
