"""Runs of experiment=cotex: tables of the views, what is logged, resuming, the submission, photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect.errors import ConfigError
from affect.labels import EXPRESSIONS, LSD_EXPRESSIONS, LSD_FOLDERS
from datamodules.readers.mtl import read_mtl
from evaluators.report import read_scores
from evaluators.table import read_table
from rendering.cache import draw as draw_faces
from runs.config import CONFIG_DIR
from runs.stored_config import stored_config
from runs.train import train
from tests.conftest import small
from tests.test_train import PHOTOGRAPHS, evaluate_here


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered class folders."""
    folder = tmp_path_factory.mktemp("faces") / "lsd"
    return draw_faces(folder, "lsd", seed=1, train_faces=60, val_faces=18, workers=1)


def small_run(root: Path, folder: Path, *overrides: str) -> DictConfig:
    common = [*small("cotex"), f"data.root={root}", "data.cache_dir=null", f"paths.run_dir={folder}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=[*common, *overrides])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cotex") / "run"
    train(small_run(root, folder, "trainer.max_epochs=3"))
    return folder


def test_tables_of_the_views_and_of_their_mean(run: Path) -> None:
    mean, *views = (read_table(run / "predictions" / f"val{name}.parquet") for name in ("", "-view1", "-view2"))
    assert mean.expressions == LSD_EXPRESSIONS
    expected = sum(view.predictions["expression"] for view in views) / 2
    np.testing.assert_allclose(mean.predictions["expression"], expected, atol=1e-6)
    assert not np.allclose(views[0].predictions["expression"], views[1].predictions["expression"])
    assert sorted(path.name for path in (run / "predictions").iterdir()) == [
        "val-view1.parquet", "val-view2.parquet", "val.parquet",
    ]  # fmt: skip
    assert {"P_LSD", "ACC_EXPR", "MACRO_ACC_EXPR", "F1_EXPR_anger"} <= set(read_scores(run / "scores.json"))


def test_co_training_can_be_inspected(run: Path) -> None:
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for name in ("train/js", "train/agreement", "val/js", "val/agreement"):
        values = [line[name] for line in logged if name in line]
        assert len(values) == 3
        assert all(0 <= value <= 1 for value in values)


def test_a_resumed_run_goes_on_with_the_same_masks(root: Path, run: Path, tmp_path: Path) -> None:
    stop = "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: train/loss, "
    stop += "stopping_threshold: 1e9, check_on_train_epoch_end: true}"
    train(small_run(root, tmp_path / "cut", "trainer.max_epochs=3", stop))
    stored = yaml.safe_load((tmp_path / "cut" / "config.yaml").read_text())
    del stored["callbacks"]["stop"]
    (tmp_path / "cut" / "config.yaml").write_text(yaml.safe_dump(stored))
    resumed = stored_config([f"ckpt_path={tmp_path}/cut/checkpoints/last.ckpt"])
    assert resumed is not None
    train(*resumed)
    again = weights(tmp_path / "cut")
    assert all(torch.equal(value, again[name]) for name, value in weights(run).items())


def test_workers_change_nothing(root: Path, run: Path, tmp_path: Path) -> None:
    train(small_run(root, tmp_path / "workers", "trainer.max_epochs=3", "data.num_workers=2"))
    again = weights(tmp_path / "workers")
    assert all(torch.equal(value, again[name]) for name, value in weights(run).items())


def test_evaluate_a_view_and_a_test_list(root: Path, run: Path, tmp_path: Path) -> None:
    evaluate_here(
        f"predictions={run}/predictions/val-view1.parquet", "data=lsd", f"data.root={root}", "data.cache_dir=null",
        f"paths.run_dir={tmp_path}/view",
    )  # fmt: skip
    assert "P_LSD" in read_scores(tmp_path / "view" / "scores.json")

    flat = tmp_path / "test"
    flat.mkdir()
    for number, path in enumerate(sorted((root / "validation_set_real_images").rglob("*.jpg"))[:5]):
        shutil.copy(path, flat / f"{number}.jpg")
    (tmp_path / "list.txt").write_text("image,expression\n" + "".join(f"{number}.jpg\n" for number in range(5)))
    evaluate_here(
        f"checkpoint={run}/checkpoints/best.ckpt", f"data.test_list={tmp_path}/list.txt",
        f"data.test_root={flat}", "split=test", f"submission={tmp_path}/submission.txt",
        f"paths.run_dir={tmp_path}/test_run",
    )  # fmt: skip
    lines = (tmp_path / "submission.txt").read_text().splitlines()
    assert lines[0] == "image,expression"
    assert [line.partition(",")[0] for line in lines[1:]] == [f"{number}.jpg" for number in range(5)]


@pytest.mark.parametrize("option", [
    "model.network.views=1", "model.network.views=3", "model.mask_ratio=0", "model.reference_js=true",
    "model.average=logits", "model.repeats=2", "model.optimiser.scale_lr=true", "trainer.precision=bf16-mixed",
    "augmentation.input=visible augmentation.jitter_probability=1 trainer.precision=bf16-mixed",
])  # fmt: skip
def test_every_option_runs(root: Path, tmp_path: Path, option: str) -> None:
    score = train(small_run(root, tmp_path / "run", *option.split(), "trainer.limit_train_batches=1"))
    assert score == pytest.approx(read_scores(tmp_path / "run" / "scores.json")["P_LSD"], abs=1e-6)


def test_a_mask_that_leaves_nothing_is_refused_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.mask_ratio=0\.99 leaves none of the 16 patches"):
        train(small_run(root, tmp_path / "run", "model.mask_ratio=0.99"))
    assert not (tmp_path / "run").exists()


def test_pixels_that_nobody_would_augment_are_refused(root: Path, tmp_path: Path) -> None:
    given = [*small("baseline_lsd"), f"data.root={root}", "augmentation.input=visible", f"paths.run_dir={tmp_path}/run"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        whole = compose("train", overrides=given)
    with pytest.raises(ConfigError, match=r"augmentation\.input=visible: the method sees whole pictures"):
        train(whole)
    erased = ["augmentation=emma", "+augmentation.input=visible", "augmentation.erase=1"]
    with pytest.raises(ConfigError, match=r"augmentation: input=visible leaves no whole picture to change"):
        train(small_run(root, tmp_path / "other", *erased))


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="needs ../shared/real_faces_small")
def test_photographs_in_the_layout_of_the_challenge(tmp_path: Path) -> None:
    folder_of = {name: folders[0] for name, folders in zip(LSD_EXPRESSIONS, LSD_FOLDERS, strict=True)}
    for split, source in (("train", "training"), ("val", "validation")):
        frames = read_mtl(PHOTOGRAPHS / f"{source}_set_annotations.txt")
        for image, label in zip(frames.image, frames.expression, strict=True):
            name = folder_of.get(EXPRESSIONS[label])
            if name:
                (tmp_path / split / name).mkdir(parents=True, exist_ok=True)
                (tmp_path / split / name / image.replace("/", "_")).symlink_to(PHOTOGRAPHS / "cropped_aligned" / image)
    config = small_run(tmp_path, tmp_path / "run", "trainer.limit_train_batches=2", "data.follow_outside=true")
    train(config)
    table = read_table(tmp_path / "run" / "predictions" / "val.parquet")
    assert len(table) == 498 - 86 - 18  # without neutral and other
    assert not table.null.any()
