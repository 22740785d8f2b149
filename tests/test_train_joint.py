"""Runs on the joint lists: every task's score is that of its own list, and a test list is of one task."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError, DataError
from affect.labels import EXPRESSIONS
from affect.preprocessing import IMAGENET
from evaluators.intervals import estimate
from evaluators.sums import sums
from evaluators.table import read_table
from rendering.cache import draw as draw_faces
from runs.assembly import build_data
from runs.config import CONFIG_DIR, resolve
from runs.train import train
from tests.conftest import SMALL
from tests.kills import killed
from tests.test_train import command, evaluate_here, scores_of

SCORES = {"va": "P_VA", "expr": "P_EXPR", "au": "P_AU"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joint") / "joint"
    return draw_faces(folder, "joint", seed=1, train_videos=8, val_videos=6, frames_per_video=12, workers=1)


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    return trained(*given(root, folder / "run"), f"paths.cache_dir={folder}/cache")


def given(root: Path, folder: Path) -> list[str]:
    return [
        "experiment=emma", "data=affwild2_joint", f"data.root={root}", *SMALL, "data.batch_size=16",
        "model.loss.au_pos_weight=train", "model.loss.expression_weight=train", f"paths.run_dir={folder}",
    ]  # fmt: skip


def trained(*overrides: str) -> Path:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", overrides=list(overrides))
    score, folder = train(config), Path(config.paths.run_dir)
    assert scores_of(folder)["SCORE"] == pytest.approx(score, abs=1e-6)
    return folder


def evaluated(folder: Path, *overrides: str) -> Path:
    evaluate_here(f"paths.run_dir={folder}", f"paths.cache_dir={folder}-cache", *overrides)
    return folder


@pytest.mark.parametrize("task", SCORES)
def test_each_score_is_that_of_the_tasks_own_list(run: Path, root: Path, tmp_path: Path, task: str) -> None:
    alone = evaluated(
        tmp_path / task, f"checkpoint={run}", "data=affwild2_uni", f"data.root={root}", f"data.task={task}"
    )
    scores, of_task = scores_of(run), scores_of(alone)
    assert {"P_MTL", *SCORES.values()} <= set(scores)
    for name, value in of_task.items():
        if name != "SCORE":
            assert scores[name] == pytest.approx(value, abs=1e-6)
    assert of_task[SCORES[task]] == of_task["SCORE"]


def test_the_checkpoint_evaluates_again_to_the_same_scores(run: Path, tmp_path: Path) -> None:
    again = evaluated(tmp_path / "again", f"checkpoint={run}")
    for name, value in scores_of(run).items():
        assert scores_of(again)[name] == pytest.approx(value, abs=1e-6), name


def test_a_test_list_of_one_task_and_its_submission(run: Path, root: Path, tmp_path: Path) -> None:
    videos = sorted(path.name for path in (root / "cropped_aligned").glob("validation*"))
    rows = [f"{video}/{frame:05d}.jpg," for video in videos for frame in range(1, 4)]
    (tmp_path / "list.txt").write_text("\n".join(["image_location,valence,arousal", *rows]))
    test = [f"checkpoint={run}", "split=test", f"data.test_list={tmp_path}/list.txt"]
    evaluated(tmp_path / "va", *test, "data.task=va", f"submission={tmp_path}/va.txt")
    header, *lines = (tmp_path / "va.txt").read_text().splitlines()
    assert header == "image_location,valence,arousal"
    assert [line.split(",")[0] for line in lines] == [row[:-1] for row in rows]
    with pytest.raises(DataError, match=r"data\.task is not set"):
        evaluated(tmp_path / "none", *test)


def test_exponential_smoothing_of_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = run / "predictions" / "val.parquet"
    nulls = read_table(table).null.sum()
    assert nulls > 0
    done = evaluated(tmp_path / "e", f"predictions={table}", "postprocess.smoothing=exponential", "postprocess.alpha=3")
    smoothed = read_table(done / "predictions" / "val-postprocessed.parquet")
    held = nulls - smoothed.null.sum()
    assert held > 0
    told = capsys.readouterr().out
    assert f"{held} of {len(smoothed)} rows have no readable image: filled in time, and scored" in told
    assert ("they are null and not scored" in told) == smoothed.null.any()
    notes = json.loads((done / "scores.json").read_text())
    assert notes["postprocess"]["alpha"] == 3
    assert notes["with_an_image"]["P_MTL"] != notes["P_MTL"]
    identity = evaluated(
        tmp_path / "i", f"predictions={table}", "postprocess.smoothing=exponential", "postprocess.alpha=0"
    )
    columns = [name for name in pq.read_table(table).column_names if not name.startswith("logit")]
    one, two = (pq.read_table(path, columns=columns) for path in
                (table, identity / "predictions" / "val-postprocessed.parquet"))  # fmt: skip
    assert one.equals(two)
    np.testing.assert_array_equal(read_table(table).frame, smoothed.frame)
    with pytest.raises(ConfigError, match=r"curve is of windows, and postprocess\.smoothing=exponential has none"):
        evaluated(tmp_path / "c", f"predictions={table}", "postprocess.smoothing=exponential", "curve=[0,5]")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_scores(run: Path, root: Path, tmp_path: Path) -> None:
    again = tmp_path / "run"
    done = killed("file.renamed@last.ckpt", "train.py", *given(root, again), f"paths.cache_dir={tmp_path}/cache")
    assert done.returncode == -signal.SIGKILL, done.stdout
    done = command("train.py", f"ckpt_path={again}/checkpoints/last.ckpt")
    assert done.returncode == 0, done.stdout
    assert scores_of(again) == pytest.approx(scores_of(run), abs=1e-6)


@pytest.mark.slow
def test_a_tiny_run_is_ahead_of_the_label_frequencies(tmp_path: Path) -> None:
    place = trained("experiment=emma", "model.network.dan=null", "data=synthetic", "draws=joint", "scale=tiny",
                    "trainer=cpu", f"paths.run_dir={tmp_path}/run", f"paths.cache_dir={tmp_path}/cache")  # fmt: skip
    config = OmegaConf.load(place / "config.yaml")
    assert isinstance(config, DictConfig)
    data = build_data(resolve(config), IMAGENET)
    seen, labels, table = data.frames("train"), data.frames("val"), read_table(place / "predictions" / "val.parquet")
    known = seen.expression[seen.expression >= 0]
    frequencies = {
        "valence_arousal": np.nanmean(seen.valence_arousal, axis=0),
        "expression": np.bincount(known, minlength=len(EXPRESSIONS)) / len(known),
        "action_units": np.nanmean(seen.action_units, axis=0),
    }
    constant = {
        task: np.where(np.isnan(table.predictions[task]), np.nan, values) for task, values in frequencies.items()
    }
    ours, others = (sums(one, labels) for one in (table, replace(table, predictions=constant)))
    ahead = estimate([ours], [others]).intervals
    assert [score for score in SCORES.values() if ahead[score].low <= 0] == []
