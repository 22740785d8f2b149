"""A training ends with a validated state and a result, or is refused before anything is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from affect.errors import ConfigError
from runs.limits import limit_errors
from runs.train import train

Compose = Callable[..., DictConfig]


TRAINER = {
    "fast_dev_run": True,
    "limit_val_batches": 0.0,
    "limit_train_batches": 0,
    "limit_predict_batches": 1,
    "overfit_batches": 1,
    "barebones": True,
    "max_epochs": 0,
    "max_steps": 0,
    "check_val_every_n_epoch": 0,
    "val_check_interval": 0,
    "accumulate_grad_batches": 0,
    "enable_checkpointing": False,
}


def test_all_that_cannot_end_with_a_result_is_told_at_once() -> None:
    errors = list(limit_errors(TRAINER, {"best": {"filename": "best", "save_top_k": 3, "every_n_epochs": 5}}))
    assert len(errors) == 14
    for key in [*(f"trainer.{key}" for key in TRAINER), "callbacks.best.save_top_k", "callbacks.best.every_n_epochs"]:
        assert any(key in error for error in errors)


@pytest.mark.parametrize("best", [None, {"filename": "x"}])
def test_there_has_to_be_a_best_checkpoint(best: dict[str, str] | None) -> None:
    (error,) = limit_errors({}, {"best": best})
    assert error.startswith("callbacks.best has to keep")


def test_what_a_run_may_have_is_accepted() -> None:
    trainer = {"limit_val_batches": None, "limit_predict_batches": 1.0, "max_steps": -1, "fast_dev_run": False}
    assert not list(limit_errors(trainer))


@pytest.mark.parametrize(("setting", "message"), [
    ("trainer.limit_val_batches=0", "trainer.limit_val_batches=0: without validation"),
    ("+trainer.val_check_interval=1000", "an epoch has . batches"),
    ("+trainer.val_check_interval=1.5", "trainer: .*val_check_interval"),
    ("+trainer.max_time=00:00:00:00", "ended before its first epoch"),
])  # fmt: skip
def test_a_training_without_a_result_is_refused_and_leaves_nothing(
    compose_run: Compose, tmp_path: Path, setting: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(compose_run(setting))
    assert not (tmp_path / "run").exists()


def slow(*settings: str) -> Any:
    return pytest.param(list(settings), marks=pytest.mark.slow)


@pytest.mark.parametrize("settings", [
    ["+trainer.max_steps=5", "callbacks=final"],
    ["+trainer.max_steps=2", "+trainer.check_val_every_n_epoch=3"],
    ["+trainer.check_val_every_n_epoch=3"],
    ["+trainer.val_check_interval=00:01:00:00"],
    slow("+trainer.max_steps=2"),
    slow("+trainer.max_steps=5"),
    slow("+trainer.check_val_every_n_epoch=3", "callbacks=final"),
    slow("+trainer.check_val_every_n_epoch=3", "callbacks=epochs", "callbacks.epochs.every_n_epochs=1"),
    slow("+trainer.check_val_every_n_epoch=null", "+trainer.val_check_interval=100"),
    slow("+trainer.val_check_interval=2"),
    slow("+trainer.val_check_interval=0.5"),
    slow("+trainer.max_time={milliseconds: 1}", "+trainer.check_val_every_n_epoch=3"),
    slow("callbacks.last=null"),
])  # fmt: skip
def test_what_a_training_ends_with_is_validated(compose_run: Compose, tmp_path: Path, settings: list[str]) -> None:
    score = train(compose_run("trainer.max_epochs=2", *settings))
    folder = tmp_path / "run"
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    validated = {line["step"]: line["val/score"] for line in logged if "val/score" in line}
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert score == pytest.approx(validated[best["global_step"] - 1])
    assert json.loads((folder / "scores.json").read_text())["SCORE"] == pytest.approx(score, abs=1e-6)
    if "callbacks.last=null" not in settings:
        last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        assert last["global_step"] - 1 == max(validated)
