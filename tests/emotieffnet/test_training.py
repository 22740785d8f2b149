"""Runs of experiment=emotieffnet_backbone and emotieffnet_finetune: phases, losses, SAM, weights that are handed on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect.errors import ConfigError
from affect.labels import AFFECTNET_EXPRESSIONS, EXPRESSIONS
from datamodules.affwild2_uni import AffWild2UniDataModule
from emotieffnet.module import EmotiEffNetModule
from emotieffnet.network import EmotiEffNet, FineTunedNet
from evaluators.report import read_scores
from evaluators.table import read_table
from losses.ccc import ccc_loss
from losses.multitask import MultiTaskLoss
from rendering.cache import draw as draw_faces
from runs.config import CONFIG_DIR, resolve
from runs.evaluate import evaluate
from runs.stored_config import stored_config
from runs.train import train
from tests.conftest import small
from training.multitask import MultiTaskModule
from training.optimisation import Adam

State = dict[str, torch.Tensor]


def composed(config: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(config, overrides=list(overrides))


def small_run(experiment: str, root: Path, folder: Path, *overrides: str) -> DictConfig:
    where = [f"data.root={root}", f"paths.cache_dir={folder.parent}/cache", f"paths.run_dir={folder}"]
    return composed("train", *where, *small(experiment), *overrides)


def last_state(folder: Path) -> State:
    state: State = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def logged(folder: Path, key: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line[key] for line in lines if key in line]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("release") / "affectnet"
    return draw_faces(root, "affectnet_release", seed=1, train_faces=48, val_faces=16, workers=1)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("uni") / "uni"
    return draw_faces(root, "uni", seed=1, train_videos=6, val_videos=3, frames_per_video=20, workers=1)


@pytest.fixture(scope="module")
def multitask(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of MT-EmotiEffNet."""
    folder = tmp_path_factory.mktemp("mt") / "run"
    train(small_run("emotieffnet_backbone", release, folder, "model.network.valence_arousal=true"))
    return folder


def test_valence_and_arousal_are_learnt_and_scored(multitask: Path) -> None:
    scores = read_scores(multitask / "scores.json")
    assert {"P_VA", "P_EXPR", "F1_EXPR_contempt"} <= scores.keys()
    table = read_table(multitask / "predictions" / "val.parquet")
    assert table.expressions == AFFECTNET_EXPRESSIONS
    assert np.abs(table.predictions["valence_arousal"]).max() <= 1
    total, expression, affect = (
        logged(multitask, f"train/{name}") for name in ("loss", "expression", "valence_arousal")
    )
    assert total == pytest.approx(np.add(expression, affect), rel=1e-5)
    assert 0.4 < affect[0] < 1.5  # two concordances of next to nothing


def test_the_exported_file_is_the_best_network_with_its_classifier(multitask: Path) -> None:
    best = torch.load(multitask / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    file = str(multitask / "weights" / "emotieffnet.pth")
    again = EmotiEffNet("test_efficientnet", image_size=32, weights=file, valence_arousal=True)
    for name, value in again.state_dict().items():
        assert torch.equal(value, best[f"network.{name}"]), name
    assert FineTunedNet("test_efficientnet", image_size=32, weights=file).classifier[0].weight.shape == (8, 256)


def test_a_checkpoint_is_evaluated_by_itself(multitask: Path, tmp_path: Path) -> None:
    evaluate(
        composed(
            "evaluate", f"checkpoint={multitask}/checkpoints/best.ckpt", "trainer=cpu", f"paths.run_dir={tmp_path}/run"
        )
    )
    assert read_scores(tmp_path / "run" / "scores.json") == pytest.approx(
        read_scores(multitask / "scores.json"), abs=1e-6
    )


def test_seven_classes_from_class_folders(portraits: Path, tmp_path: Path) -> None:
    train(small_run("emotieffnet_backbone", portraits, tmp_path / "run", "model.network.classes=7"))
    table = read_table(tmp_path / "run" / "predictions" / "val.parquet")
    assert table.expressions == AFFECTNET_EXPRESSIONS[:7]


def test_losses_of_a_batch_are_those_of_a_plain_computation() -> None:
    torch.manual_seed(0)
    module = EmotiEffNetModule(
        EmotiEffNet("test_efficientnet", image_size=32, weights=None, valence_arousal=True),
        loss=MultiTaskLoss(va_weight=0.5),
        optimiser=Adam(),
    ).eval()
    module.loss.expression_weight = torch.linspace(0.5, 4, 8)
    labels, affect = torch.tensor([0, 7, 3, 3, 1, 6]), torch.rand(6, 2) * 2 - 1
    batch = {"image": torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8), "expression": labels}
    batch |= {"valence_arousal": affect, "action_units": torch.full((6, 12), float("nan"))}
    with torch.no_grad():
        losses, output = module.losses(batch), module.network(batch["image"])  # type: ignore[arg-type]
    weighted = torch.nn.functional.cross_entropy(output.expression, labels, weight=module.loss.expression_weight)
    torch.testing.assert_close(losses["expression"], weighted)
    torch.testing.assert_close(losses["valence_arousal"], ccc_loss(output.valence_arousal, affect) / 2)
    assert set(losses) == {"expression", "valence_arousal"}


def test_the_classifier_alone_then_all_layers(multitask: Path, release: Path, tmp_path: Path) -> None:
    file = multitask / "weights" / "emotieffnet.pth"
    start = torch.load(file, weights_only=True)["state_dict"]
    options = [f"model.network.weights={file}", "model.network.valence_arousal=true", "model.head_epochs=2"]
    train(small_run("emotieffnet_backbone", release, tmp_path / "head", *options))
    state = last_state(tmp_path / "head")
    assert all(
        torch.equal(state[f"network.backbone.{n}"], v) for n, v in start.items() if not n.startswith("classifier")
    )
    assert not torch.equal(state["network.classifier.weight"], start["classifier.weight"])
    options += [
        "trainer.max_epochs=3",
        "model.head_lr=0.01",
        "model.optimiser.sam_rho=0.05",
        "trainer.log_every_n_steps=1",
    ]
    train(small_run("emotieffnet_backbone", release, tmp_path / "all", *options))
    state = last_state(tmp_path / "all")
    assert not torch.equal(state["network.backbone.conv_stem.weight"], start["conv_stem.weight"])
    assert logged(tmp_path / "all", "lr-SAM/classifier") == pytest.approx([0.01, 0.01, 0.002])


@pytest.mark.slow
def test_with_sam_a_resumed_run_is_the_whole_run(portraits: Path, tmp_path: Path) -> None:
    options = ["model.optimiser.sam_rho=0.05", "model.head_epochs=1", "trainer.max_epochs=3"]
    train(small_run("emotieffnet_backbone", portraits, tmp_path / "whole", *options))
    # the same configuration, cut off after the first epoch as a kill would
    stop = "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: train/loss, "
    stop += "stopping_threshold: 1e9, check_on_train_epoch_end: true}"
    train(small_run("emotieffnet_backbone", portraits, tmp_path / "cut", *options, stop))
    stored = yaml.safe_load((tmp_path / "cut" / "config.yaml").read_text())
    del stored["callbacks"]["stop"]
    (tmp_path / "cut" / "config.yaml").write_text(yaml.safe_dump(stored))
    resumed = stored_config([f"ckpt_path={tmp_path}/cut/checkpoints/last.ckpt"])
    assert resumed is not None
    train(*resumed)
    whole, again = last_state(tmp_path / "whole"), last_state(tmp_path / "cut")
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


def test_with_sam_the_logged_losses_are_those_before_the_climb(portraits: Path, tmp_path: Path) -> None:
    losses = []
    for rho in ("null", "1.0"):
        still = [f"model.optimiser.sam_rho={rho}", "model.optimiser.lr=1e-30", "trainer.max_epochs=1"]
        train(small_run("emotieffnet_backbone", portraits, tmp_path / rho, *still))
        losses.append(logged(tmp_path / rho, "train/loss"))
        assert len(logged(tmp_path / rho, "train/loss")) == 1
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_accumulation_with_sam_is_refused(portraits: Path, tmp_path: Path) -> None:
    config = small_run(
        "emotieffnet_backbone",
        portraits,
        tmp_path / "run",
        "model.optimiser.sam_rho=0.05",
        "trainer.accumulate_grad_batches=2",
    )
    with pytest.raises(ConfigError, match="accumulate_grad_batches=2"):
        train(config)


def test_the_published_settings_are_those_of_scale_paper() -> None:
    plain = resolve(
        composed("train", "experiment=emotieffnet_backbone", "data.root=/x", "model.network.weights=random")
    )
    model, data, trainer = plain["model"], plain["data"], plain["trainer"]
    assert (model["network"]["backbone"], model["network"]["image_size"]) == ("tf_efficientnet_b0", 224)
    assert (model["head_epochs"], model["head_lr"], model["loss"]["va_weight"]) == (3, 1e-3, 0.5)
    assert (model["optimiser"]["lr"], model["optimiser"]["sam_rho"]) == (1e-4, 0.05)
    assert (data["batch_size"], trainer["max_epochs"], data["balanced"]) == (48, 9, False)
    plain = resolve(
        composed("train", "experiment=emotieffnet_finetune", "data.root=/x", "model.network.weights=random")
    )
    model, data, trainer = plain["model"], plain["data"], plain["trainer"]
    assert (model["optimiser"]["lr"], model["optimiser"]["sam_rho"]) == (1e-4, 0.05)
    assert (model["loss"]["label_smoothing"], model["loss"]["expression_weight"]) == (0.1, "train")
    assert (data["batch_size"], trainer["max_epochs"], data["task"]) == (64, 5, "expr")
    augmentation = plain["augmentation"]
    assert (augmentation["flip"], augmentation["resize_ratio"], augmentation["jitter_probability"]) == (0.5, 1.0, 0.0)


def test_fine_tuning_on_expression_frames(multitask: Path, videos: Path, tmp_path: Path) -> None:
    weights = f"model.network.weights={multitask}/weights/emotieffnet.pth"
    train(small_run("emotieffnet_finetune", videos, tmp_path / "run", weights, "model.optimiser.sam_rho=0.05"))
    table = read_table(tmp_path / "run" / "predictions" / "val.parquet")
    assert table.expressions == EXPRESSIONS
    scores = read_scores(tmp_path / "run" / "scores.json")
    assert scores["SCORE"] == scores["P_EXPR"]
    before = torch.load(multitask / "weights" / "emotieffnet.pth", weights_only=True)["state_dict"]
    assert not torch.equal(
        last_state(tmp_path / "run")["network.backbone.conv_stem.weight"], before["conv_stem.weight"]
    )


def test_class_weights_of_fine_tuning_are_relative_to_the_most_frequent_class(videos: Path) -> None:
    data = AffWild2UniDataModule(str(videos), task="expr", image_size=32, batch_size=8)
    loss = MultiTaskLoss(expression_weight="train", expression_reduction="mean_valid")
    module = MultiTaskModule(FineTunedNet("test_efficientnet", image_size=32, weights=None), loss, Adam())

    class Trainer:
        datamodule = data

    module._trainer = Trainer()  # type: ignore[assignment]
    module.setup("fit")
    counts = np.bincount(data.frames("train").select(data.train_rows).expression, minlength=8)
    assert counts.max() > counts.min()
    present = counts > 0
    weights = loss.expression_weight.numpy()
    np.testing.assert_allclose(weights[present], counts.max() / counts[present], rtol=1e-5)
    assert np.isfinite(weights).all()
