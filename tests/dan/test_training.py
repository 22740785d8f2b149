"""Runs of experiment=dan on every layout, with eight and with seven classes; the weights that they leave for EMMA."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect.errors import ConfigError
from affect.labels import AFFECTNET_EXPRESSIONS
from dan.network import DAN
from datamodules.readers.mtl import read_mtl
from evaluators.report import read_scores
from evaluators.table import read_table
from runs.assembly import build_module
from runs.config import CONFIG_DIR, resolve
from runs.ending import clear_errors
from runs.evaluate import evaluate
from runs.train import train
from tests.conftest import small
from tests.datamodules.conftest import write_release


def composed(config: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(config, overrides=list(overrides))


def small_run(root: Path, folder: Path, *overrides: str) -> DictConfig:
    where = [f"data.root={root}", f"paths.cache_dir={folder.parent}/cache", f"paths.run_dir={folder}"]
    return composed("train", *where, *small("dan"), *overrides)


def last_words(config: DictConfig) -> str:
    """What a run that fails says at its end; an error that a user cannot mend comes through as it is."""
    with pytest.raises(SystemExit) as ended, clear_errors():
        train(config)
    return str(ended.value)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """AffectNet as it is given out, and a few pictures without an expression."""
    root = tmp_path_factory.mktemp("affectnet")
    write_release(root / "train_set", [*(str(number % 8) for number in range(36)), 8, 9])
    write_release(root / "val_set", [*range(8), 3, 3, "10"])
    return root


@pytest.fixture(scope="module")
def run(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dan") / "run"
    train(small_run(release, folder))
    return folder


@pytest.fixture(scope="module")
def seven(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dan") / "seven"
    train(small_run(release, folder, "model.network.num_classes=7"))
    return folder


def test_a_run_on_affectnet_as_it_is_given_out(run: Path) -> None:
    table = read_table(run / "predictions" / "val.parquet")
    assert table.expressions == AFFECTNET_EXPRESSIONS
    assert sorted(table.image) == sorted(f"{number}.jpg" for number in range(10))
    assert list(table.files) == ["val_set/annotations"]
    scores = read_scores(run / "scores.json")
    assert {"P_EXPR", "ACC_EXPR", "MACRO_ACC_EXPR", "F1_EXPR_contempt"} <= scores.keys()
    assert len([*(run.parent / "cache" / "listings").iterdir()]) == 4  # images and expressions of both splits


def test_all_three_losses_are_learnt_from_and_the_rate_decays(release: Path, tmp_path: Path) -> None:
    train(
        small_run(
            release,
            tmp_path / "run",
            "model.affinity_weight=1.0",
            "model.optimiser.lr_decay=0.6",
            "trainer.max_epochs=3",
        )
    )
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    parts = [line for line in logged if "train/partition" in line]
    for line in parts:
        total = line["train/expression"] + line["train/affinity"] + line["train/partition"]
        assert line["train/loss"] == pytest.approx(total, rel=1e-5)
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    (optimizer,) = checkpoint["optimizer_states"]
    assert optimizer["param_groups"][0]["lr"] == pytest.approx(4e-3 * 0.6**3)
    assert optimizer["param_groups"][0]["weight_decay"] == 0
    centres = [name for name in checkpoint["state_dict"] if name.startswith("affinity")]
    assert centres == ["affinity.centers"]
    assert len(optimizer["param_groups"][0]["params"]) == len(optimizer["state"])  # the centres moved, too


def test_the_published_settings_are_those_of_scale_paper() -> None:
    plain = resolve(composed("train", "experiment=dan", "data.root=/x", "model.network.weights=random"))
    data, model, trainer = plain["data"], plain["model"], plain["trainer"]
    optimiser = model["optimiser"]
    assert (optimiser["lr"], optimiser["lr_decay"], data["batch_size"], trainer["max_epochs"]) == (1e-4, 0.6, 256, 10)
    assert (model["affinity_weight"], model["partition_weight"]) == (1.0, 1.0)
    assert data["balanced"]
    assert plain["augmentation"] == {
        "_target_": "datamodules.transforms.DANTransform", "flip": 0.5, "affine": 0.7, "erase": 0.5,
    }  # fmt: skip
    assert (model["network"]["num_classes"], data["classes"], model["network"]["image_size"]) == (8, 8, 224)


def test_seven_classes_are_trained_scored_and_evaluated(release: Path, seven: Path, tmp_path: Path) -> None:
    table = read_table(seven / "predictions" / "val.parquet")
    assert table.expressions == AFFECTNET_EXPRESSIONS[:7]
    assert sorted(table.image) == sorted(f"{number}.jpg" for number in range(10) if number != 7)
    scores = read_scores(seven / "scores.json")
    assert "F1_EXPR_anger" in scores
    assert "F1_EXPR_contempt" not in scores
    exported = torch.load(seven / "weights" / "dan.pth", weights_only=True)["model_state_dict"]
    DAN(num_classes=7, width=8, image_size=32).load_state_dict(exported)
    common = [f"checkpoint={seven}/checkpoints/best.ckpt", "trainer=cpu"]
    evaluate(composed("evaluate", *common, f"paths.run_dir={tmp_path}/again"))
    assert read_scores(tmp_path / "again" / "scores.json") == pytest.approx(scores, abs=1e-6)
    named = ["data=affectnet", f"data.root={release}", f"paths.run_dir={tmp_path}/named"]
    with pytest.raises(ConfigError, match=r"contempt, but the model has .* anger: "):
        evaluate(composed("evaluate", *common, *named))
    evaluate(composed("evaluate", *common, *named, "data.classes=7"))
    assert read_scores(tmp_path / "named" / "scores.json") == pytest.approx(scores, abs=1e-6)


def test_seven_classes_from_class_folders(portraits: Path, tmp_path: Path) -> None:
    train(small_run(portraits, tmp_path / "run", "model.network.num_classes=7"))
    table = read_table(tmp_path / "run" / "predictions" / "val.parquet")
    assert {image[0] for image in table.image} == set("0123456")


def test_expressions_of_aff_wild2(faces: Path, tmp_path: Path) -> None:
    train(small_run(faces, tmp_path / "run", "data=affwild2_expression"))
    table = read_table(tmp_path / "run" / "predictions" / "val.parquet")
    listed = read_mtl(faces / "validation_set_annotations.txt")
    assert table.image == listed.image
    assert table.files == listed.files
    assert table.expressions == AFFECTNET_EXPRESSIONS
    assert np.isfinite(table.predictions["expression"][~table.null]).all()
    scores = read_scores(tmp_path / "run" / "scores.json")
    assert scores["F1_EXPR_contempt"] == 0
    assert (tmp_path / "run" / "weights" / "dan.pth").is_file()


def test_the_exported_weights_are_the_best_network(run: Path) -> None:
    content = torch.load(run / "weights" / "dan.pth", weights_only=True)
    assert list(content) == ["model_state_dict"]
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in DAN(width=8, image_size=32, weights=str(run / "weights" / "dan.pth")).state_dict().items():
        assert torch.equal(value, best[f"network.{name}"]), name


def test_emma_refuses_seven_classes_in_one_message(faces: Path, seven: Path, tmp_path: Path) -> None:
    weights = seven / "weights" / "dan.pth"
    emma = ["data=affwild2_mtl", f"data.root={faces}", *small("emma"), f"paths.run_dir={tmp_path}/run"]
    message = last_words(composed("train", *emma, f"model.network.dan.weights={weights}"))
    assert f"error: weights {weights}: does not fit a DAN" in message
    assert "fc.weight is (7, 64), should be (8, 64)" in message
    emma += [f"model.network.dan.weights={weights}", "model.network.dan.num_classes=7"]
    assert "error: model.network.dan.num_classes=7: EMMA's DAN has the 8 classes" in last_words(
        composed("train", *emma)
    )
    assert not (tmp_path / "run").exists()


def test_other_numbers_of_classes_are_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.network\.num_classes=6: AffectNet has 7 or 8 classes"):
        build_module(
            resolve(small_run(release, tmp_path / "run", "model.network.num_classes=6", "data.classes=8"))["model"]
        )
    with pytest.raises(ConfigError, match=r"data\.classes is 6, but must be"):
        resolve(small_run(release, tmp_path / "run", "data.classes=6"))
    with pytest.raises(ConfigError, match="data has the expression classes"):
        train(small_run(release, tmp_path / "run", "data.classes=7"))
    with pytest.raises(ConfigError, match="data has the expression classes"):
        train(small_run(release, tmp_path / "run", "data=affwild2_mtl"))
    assert not (tmp_path / "run").exists()


def test_a_broken_annotation_ends_in_one_message(tmp_path: Path) -> None:
    write_release(tmp_path / "train_set", [0, 1, 11])
    message = last_words(small_run(tmp_path, tmp_path / "run"))
    assert "2_exp.npy holds 11, expected a whole number from 0 to 10. 1 of 3 such files cannot be used" in message
