"""Runs that a signal or a full disk ends: their exit code, what stays, how to go on."""

from __future__ import annotations

import errno
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect import files
from runs.config import CONFIG_DIR
from runs.ending import clear_errors
from runs.evaluate import evaluate
from runs.train import train
from tests.conftest import SMALL
from tests.kills import killed

Compose = Callable[..., DictConfig]
Act = Callable[[Path], None]


def at(monkeypatch: pytest.MonkeyPatch, point: str, count: int, act: Act) -> None:
    """Acts when a point is reached for the ``count``-th time; a point ``name@part`` counts only such paths."""
    name, _, part = point.partition("@")
    left = count

    def hook(reached: str, path: Path) -> None:
        nonlocal left
        if reached == name and part in path.name:
            left -= 1
            if left == 0:
                act(path)

    monkeypatch.setattr(files, "hook", hook)


def full(path: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def ends(run: Callable[[], object]) -> str | int | None:
    with pytest.raises(SystemExit) as ended, clear_errors():
        run()
    return ended.value.code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_is_stopped_goes_on_from_its_last_whole_epoch(
    compose_run: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    config = compose_run("logger=wandb", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1")
    at(monkeypatch, "run.kept", 3, lambda path: signal.raise_signal(number))  # the first step of the second epoch
    assert ends(lambda: train(config)) == 128 + number
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 0
    assert f"train.py ckpt_path={last}" in capsys.readouterr().err
    assert wandb.run is None
    assert not (tmp_path / "run" / "scores.json").exists()
    assert not (tmp_path / "run" / files.LOCK).exists()


def test_a_training_that_is_stopped_at_its_start_leaves_nothing(
    compose_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = compose_run()
    at(monkeypatch, "file.renamed@config.yaml", 1, lambda path: signal.raise_signal(signal.SIGTERM))
    assert ends(lambda: train(config)) == 143
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_leaves_nothing(compose_run: Compose, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code = ends(lambda: train(compose_run("trainer.accelerator=gpu", f"paths.run_dir={tmp_path}/new/run")))
    assert str(code).startswith("error: 1 error in the configuration:\n  - trainer: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("act", "code"), [
    (lambda path: signal.raise_signal(signal.SIGTERM), "143"), (full, "error: .*the disk is full: make room"),
])  # fmt: skip
def test_an_evaluation_that_is_stopped_leaves_nothing(
    compose_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Act, code: str
) -> None:
    train(compose_run("+trainer.max_steps=1"))
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        overrides = [f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", f"paths.run_dir={tmp_path}/a/b", "trainer=cpu"]
        config = compose("evaluate", overrides=overrides)
    at(monkeypatch, "file.written@val.parquet", 1, act)
    assert re.match(code, str(ends(lambda: evaluate(config))))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_a_killed_first_epoch_starts_over_on_request(faces: Path, tmp_path: Path) -> None:
    command = ["experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, f"paths.run_dir={tmp_path}/run"]
    assert killed("run.kept", "train.py", *command).returncode == -signal.SIGKILL
    refused = killed("never", "train.py", *command)
    assert refused.returncode == 1
    assert "overwrite=true" in refused.stdout
    again = killed("never", "train.py", *command, "overwrite=true")
    assert again.returncode == 0, again.stdout
    assert (tmp_path / "run" / "scores.json").is_file()


@pytest.mark.slow
def test_two_trainings_do_not_share_a_folder(faces: Path, tmp_path: Path) -> None:
    command = ["experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, f"paths.run_dir={tmp_path}/run"]
    (tmp_path / "run").mkdir()
    with files.locked(tmp_path / "run", "run folder"):
        second = killed("never", "train.py", *command)
    assert second.returncode == 1
    assert "another process" in second.stdout
    assert "Traceback" not in second.stdout
