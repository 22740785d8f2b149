"""A run of EmotionNet: evaluated, submitted, resumed, on two processes, its features, and the picture of its maps."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir

from datamodules.pictures import read_image
from examples.draw_maps import draw
from features.store import FeatureStore
from rendering.cache import draw as draw_faces
from runs.config import CONFIG_DIR
from runs.extract import extract
from runs.stored_config import stored_config
from runs.train import train
from tests.conftest import small
from tests.test_train import command, evaluate_here, scores_of


def trained(faces: Path, folder: Path, *overrides: str) -> Path:
    given = ["data=affwild2_mtl", f"data.root={faces}", *small("emotionnet"), f"paths.run_dir={folder}", *overrides]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", overrides=given))
    return folder


@pytest.fixture(scope="module")
def run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(faces, tmp_path_factory.mktemp("emotionnet") / "run")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def test_evaluation_has_the_scores_of_the_run_and_writes_a_submission(run: Path, tmp_path: Path) -> None:
    evaluate_here(f"checkpoint={run}", f"paths.run_dir={tmp_path}/again", f"submission={tmp_path}/submission.txt")
    assert scores_of(tmp_path / "again") == pytest.approx(scores_of(run), abs=1e-6)
    assert {"P_MTL", "P_VA", "P_EXPR", "P_AU"} <= scores_of(run).keys()
    lines = (tmp_path / "submission.txt").read_text().splitlines()
    assert lines[0] == "image,valence,arousal,expression,aus"
    assert {len(line.split(",")) for line in lines} == {5, 16}
    assert len(lines) == 1 + len(pq.read_table(run / "predictions" / "val.parquet"))


@pytest.mark.slow
def test_a_resumed_run_ends_in_the_weights_of_one_that_was_not_stopped(run: Path, faces: Path, tmp_path: Path) -> None:
    stop = "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: train/loss, "
    stop += "stopping_threshold: 1e9, check_on_train_epoch_end: true}"
    cut = trained(faces, tmp_path / "cut", stop)
    whole, half = weights(run), weights(cut)
    assert any(not torch.equal(value, half[name]) for name, value in whole.items())
    stored = yaml.safe_load((cut / "config.yaml").read_text())
    del stored["callbacks"]["stop"]
    (cut / "config.yaml").write_text(yaml.safe_dump(stored))
    resumed = stored_config([f"ckpt_path={cut}"])
    assert resumed is not None
    train(*resumed)
    again = weights(cut)
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


def test_it_trains_with_the_optimiser_of_its_authors(faces: Path, tmp_path: Path) -> None:
    sgd = "+model.optimiser={_target_: training.optimisation.SGD, lr: 1.0e-3, schedule: published}"
    folder = trained(faces, tmp_path / "sgd", "~model.optimiser", sgd, "model.loss.expression_weight=published")
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    (optimiser,) = state["optimizer_states"]
    decayed, undecayed = optimiser["param_groups"]
    assert (decayed["momentum"], decayed["initial_lr"], undecayed["weight_decay"]) == (0.9, 1e-3, 0)
    steps = state["global_step"]
    assert decayed["lr"] == pytest.approx(5e-4 * (1 + math.cos(math.pi * steps / 10_000)), rel=1e-9)


@pytest.mark.slow
def test_two_processes_find_no_unused_parameter(faces: Path, tmp_path: Path) -> None:
    done = command(
        "train.py", *small("emotionnet"), "data=affwild2_mtl", f"data.root={faces}", "trainer=ddp",
        "trainer.accelerator=cpu", "trainer.sync_batchnorm=false", "trainer.devices=2", f"paths.run_dir={tmp_path}/run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "P_MTL" in scores_of(tmp_path / "run")


def test_its_embeddings_are_stored(run: Path, tmp_path: Path) -> None:
    root = draw_faces(tmp_path / "uni", "uni", seed=1, train_videos=1, val_videos=1, frames_per_video=4, workers=1)
    given = [f"checkpoint={run}", f"data.root={root}", "data.task=va", "trainer=cpu", f"store={tmp_path}/store",
             f"paths.run_dir={tmp_path}/extraction", f"paths.cache_dir={tmp_path}/cache"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        extract(compose("extract", overrides=given))
    store = FeatureStore(tmp_path / "store")
    assert store.info.embedding == 208
    assert store.info.outputs[-3:] == ("au26", "valence", "arousal")
    (frames,) = {len(np.load(part / "frame.npy")) for part in store.parts}
    assert frames > 0


def test_the_maps_are_drawn_over_faces(run: Path, faces: Path, tmp_path: Path) -> None:
    pictures = sorted(faces.glob("cropped_aligned/validation*/*.jpg"))[:2]
    draw(run / "checkpoints" / "best.ckpt", tmp_path / "maps.png", pictures)
    picture = read_image(tmp_path / "maps.png").astype(float)
    assert picture.shape == (260, 1320, 3)
    first, second = picture[:130], picture[130:]
    assert abs(first - second).mean() > 1
