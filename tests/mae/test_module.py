"""Masked autoencoding as it is trained: masks, losses, pictures, exports."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import torch
from hydra import compose, initialize_config_dir

from affect.errors import CheckpointError, ConfigError
from backbones.vit import build_vit
from mae.grid import grid
from mae.module import MAEModule
from mae.network import MAE
from rendering.cache import draw as draw_faces
from runs.checkpoints import load_module
from runs.config import CONFIG_DIR
from runs.stored_config import stored_config
from runs.train import train
from tests.conftest import small
from training.optimisation import AdamW

SIZES = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "heads": 2,
         "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}  # fmt: skip


@pytest.fixture
def module() -> MAEModule:
    torch.manual_seed(0)
    return MAEModule(MAE(**SIZES), optimiser=AdamW())


def batch(rows: int = 4):
    torch.manual_seed(1)
    return {"image": torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8), "row": torch.arange(rows)}


def test_masks_change_in_training_and_stay_in_validation(module, monkeypatch) -> None:
    rows = torch.arange(8)
    seen = [(module.masks(rows, training=True), module.masks(rows, training=False)) for _ in range(1)]
    monkeypatch.setattr(MAEModule, "current_epoch", 5)
    seen.append((module.masks(rows, training=True), module.masks(rows, training=False)))
    assert not torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(seen[0][1], seen[1][1])
    assert seen[0][0].shape == (8, 4)


def test_a_step_reaches_every_trained_parameter(module) -> None:
    module.log_losses = lambda *_: None
    module.training_step(batch(), 0).backward()
    missing = [name for name, p in module.network.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


@pytest.mark.parametrize("normalise", [True, False])
def test_seen_patches_are_shown_and_a_perfect_decoder_gives_the_image_back(module, monkeypatch, normalise) -> None:
    module.normalise_pixels = normalise
    few = batch()
    original, masked, drawn = module.reconstruct(few)
    assert torch.equal(original, few["image"])
    grey = (masked == 128).all(dim=1)
    assert grey.float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert (masked == original)[(~grey)[:, None].expand_as(masked)].all()
    off = (drawn.int() - original.int()).abs()[(~grey)[:, None].expand_as(drawn)]
    assert off.max() <= 1
    from losses.reconstruction import normalised_patches

    def perfect(image, keep):
        pixels = module.network.patch_pixels(image)
        return normalised_patches(pixels) if normalise else pixels

    monkeypatch.setattr(module.network, "forward", perfect)
    assert (module.reconstruct(few)[2].int() - original.int()).abs().max() <= 1


def test_grid_places_rows_and_columns() -> None:
    rows = torch.stack([torch.full((2, 3, 4, 5), value, dtype=torch.uint8) for value in (10, 20, 30)])
    picture = grid(rows, gap=1)
    assert picture.shape == (15, 12, 3)
    assert [picture[5 * row, 6, 0] for row in range(3)] == [10, 20, 30]
    assert (picture[4] == 255).all()


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.99, -0.5])
def test_a_mask_that_hides_all_or_nothing_is_refused(ratio) -> None:
    with pytest.raises(ConfigError, match=r"model\.mask_ratio"):
        MAEModule(MAE(**SIZES), optimiser=AdamW(), mask_ratio=ratio)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = draw_faces(tmp_path_factory.mktemp("faces") / "f", "faces", seed=1, train_faces=40, val_faces=9, workers=1)
    (root / "img_align_celeba" / "000003.jpg").write_bytes(b"damaged")
    return root


def small_run(faces: Path, folder: Path, *more: str):
    sizes = ["model.network.patch_size=8", "model.network.decoder_width=16", "model.network.decoder_heads=2"]
    given = [*small("mae"), "data=faces", f"data.root={faces}", *sizes, "model.optimiser.warmup_epochs=1"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=[*given, f"paths.run_dir={folder}", *more])


def test_a_run_leaves_encoder_pictures_and_losses(faces: Path, tmp_path: Path, capsys) -> None:
    best = train(small_run(faces, tmp_path / "run", "trainer.max_epochs=3"))
    printed = capsys.readouterr().out
    assert "training left out 1 unreadable images" in printed
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["val/loss"] for line in logged if "val/loss" in line]
    assert best == pytest.approx(min(losses))
    assert losses[-1] < losses[0]
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["LOSS"] == pytest.approx(best, rel=1e-5)
    assert scores["FLAT_LOSS"] == pytest.approx(1.0, abs=0.02)
    picture = cv2.imread(str(tmp_path / "run" / "reconstructions" / "epoch_0003.png"))
    assert picture.shape == (3 * 34, 8 * 34, 3)
    vit = build_vit(image_size=32, patch_size=8, width=32, depth=2, heads=2,
                    weights=str(tmp_path / "run" / "weights" / "encoder.pth"))  # fmt: skip
    stored = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(value, stored[f"network.{name}"]) for name, value in vit.state_dict().items())
    with pytest.raises(CheckpointError, match="MAEModule, which predicts nothing"):
        load_module(tmp_path / "run" / "checkpoints" / "best.ckpt")


def test_a_resumed_run_is_the_whole_run(faces: Path, tmp_path: Path) -> None:
    train(small_run(faces, tmp_path / "whole"))
    stop = "+callbacks.stop={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: train/loss, "
    train(small_run(faces, tmp_path / "cut", stop + "stopping_threshold: 1e9, check_on_train_epoch_end: true}"))
    path = tmp_path / "cut" / "config.yaml"
    path.write_text(path.read_text().replace("stopping_threshold: 1000000000.0", "stopping_threshold: -1.0"))
    train(*stored_config([f"ckpt_path={tmp_path}/cut/checkpoints/last.ckpt"]))
    whole, again = (
        torch.load(tmp_path / run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in ("whole", "cut")
    )
    assert all(torch.equal(value, again[name]) for name, value in whole.items() if "network" in name)
