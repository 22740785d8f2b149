"""Runs that go on: in another folder, after a kill, with nothing left to train, from a checkpoint that does not fit."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from pytorch_lightning.callbacks import ModelCheckpoint

from affect.errors import CheckpointError
from evaluators.report import read_records
from runs.callbacks import MetricsFile
from runs.checkpoints import read_checkpoint
from runs.config import CONFIG_DIR
from runs.ending import clear_errors
from runs.resuming import _here, best_epoch
from runs.stored_config import stored_config
from runs.train import train
from tests.conftest import SMALL
from tests.kills import killed


def resume(folder: Path, *arguments: str) -> float:
    """Goes on from ``last.ckpt``, in this process."""
    stored = stored_config([f"ckpt_path={folder}/checkpoints/last.ckpt", *arguments])
    assert stored is not None
    return train(*stored)


def hashes(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    files = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def steps(folder: Path, key: str) -> list[int]:
    return [record["step"] for record in read_records(folder / "metrics.jsonl") if key in record]


@pytest.fixture(scope="module")
def finished(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs with a best checkpoint for each task, which was not better than this one's."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    overrides = ["data=affwild2_mtl", f"data.root={faces}", *SMALL, f"paths.run_dir={folder}", "callbacks=per_task",
                 "logger=csv", "trainer.limit_train_batches=2"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return folder


def as_3aa692f_wrote(path: Path, folder: Path, score: float) -> None:
    """Puts the paths of a folder, and a best score that no later epoch reaches, in a checkpoint's callbacks."""
    checkpoint = torch.load(path, weights_only=True)
    for state in checkpoint["callbacks"].values():
        if "best_k_models" in state:
            placed = {key: str(folder / state[key]) for key in ("best_model_path", "kth_best_model_path") if state[key]}
            models = {str(folder / name): torch.tensor(score) for name in state["best_k_models"]}
            state |= {**placed, "dirpath": str(folder), "best_k_models": models, "kth_value": torch.tensor(score)}
    torch.save(checkpoint, path)


def test_a_moved_run_keeps_its_best_checkpoints_and_touches_nothing_else(finished: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    checkpoints = moved / "checkpoints"
    as_3aa692f_wrote(checkpoints / "last.ckpt", finished / "checkpoints", 10.0)
    with (moved / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "val/score": 0.2}\n{"step": 5, "val/sc')
    before, original = hashes(moved, "checkpoints/best*"), hashes(finished)
    score = resume(moved, "trainer.max_epochs=3")
    assert score == 10.0
    assert len(before) == 4
    assert hashes(moved, "checkpoints/best*") == before
    assert hashes(finished) == original
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)
    assert last["epoch"] == 2
    kept = [state for state in last["callbacks"].values() if state.get("best_k_models")]
    assert {name for state in kept for name in state["best_k_models"]} == set(map(lambda n: Path(n).name, before))
    assert "moved" not in repr(last["callbacks"])
    assert str(finished) not in repr(last["callbacks"])
    assert steps(moved, "val/score") == [1, 3, 5]
    assert steps(moved, "train/loss") == [1, 3, 5]


def test_a_finished_run_says_so_and_has_its_result(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    (moved / "scores.json").unlink()
    last = read_checkpoint(moved / "checkpoints" / "last.ckpt")
    best = next(state for state in last["callbacks"].values() if state.get("monitor") == "val/score")
    logged = [record["val/score"] for record in read_records(moved / "metrics.jsonl") if "val/score" in record]
    assert resume(moved) == pytest.approx(float(best["best_model_score"])) == pytest.approx(max(logged))
    assert f"{moved}: all 2 epochs are trained" in capsys.readouterr().out
    assert (moved / "scores.json").read_bytes() == (finished / "scores.json").read_bytes()
    assert hashes(moved, "checkpoints/*") == hashes(finished, "checkpoints/*")


def test_a_finished_run_whose_best_checkpoint_is_gone_is_an_error(tmp_path: Path) -> None:
    trainer = pl.Trainer(callbacks=[ModelCheckpoint(tmp_path, "best")], logger=False)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"has no best\.ckpt: python evaluate\.py checkpoint=.*last\.ckpt"):
        best_epoch(trainer, tmp_path)


def test_a_finished_run_without_a_monitor_has_its_score_from_the_metrics(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, "best")
    best.best_model_path = str(tmp_path / "best.ckpt")
    MetricsFile(tmp_path).log_metrics({"val/score": 0.25}, 3)
    assert best_epoch(pl.Trainer(callbacks=[best], logger=False), tmp_path) == (tmp_path / "best.ckpt", 0.25)


def test_the_last_checkpoint_knows_the_best_of_its_own_epoch(finished: Path) -> None:
    last = torch.load(finished / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    records = read_records(finished / "metrics.jsonl")
    for monitor in ("val/score", "val/P_VA", "val/P_EXPR", "val/P_AU"):
        (state,) = (state for state in last.values() if state.get("monitor") == monitor)
        logged = max(record[monitor] for record in records if monitor in record)
        assert float(state["best_model_score"]) == pytest.approx(logged), monitor


def test_names_in_a_checkpoint_lead_nowhere_else_and_what_is_gone_is_forgotten(tmp_path: Path) -> None:
    callback = ModelCheckpoint(tmp_path / "checkpoints", "best", "val/score", mode="max")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "victim.ckpt").touch()
    hostile = {str(tmp_path / "victim.ckpt"): torch.tensor(1.0), "..": torch.tensor(2.0)}
    state = {
        **callback.state_dict(), "best_k_models": hostile, "best_model_path": "..", "kth_best_model_path": "../x",
        "dirpath": str(tmp_path),
    }  # fmt: skip
    with pytest.warns(UserWarning, match="is gone"):
        callback.load_state_dict(_here(state, callback))
    fresh = ModelCheckpoint(tmp_path / "checkpoints", "best", "val/score", mode="max")
    assert callback.state_dict() == fresh.state_dict()


def changed(where: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(checkpoint: Any) -> None:
        *path, last = where.split("/")
        for part in path:
            if isinstance(checkpoint, list):
                checkpoint = checkpoint[int(part)]
            else:
                checkpoint = next(v for k, v in checkpoint.items() if str(k).startswith(part))
        checkpoint[last] = value

    return change


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("loops/fit_loop/epoch_progress/current/processed", "two"),
        ("callbacks/ModelCheckpoint/best_k_models", {"best.ckpt": "high"}),
        ("optimizer_states/0/param_groups/0/lr", "fast"),
        ("optimizer_states/0/state/0/exp_avg", torch.zeros(5)),
        ("lr_schedulers/0/last_epoch", None),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_error(finished: Path, tmp_path: Path, where: str, value: Any) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved)
    last = moved / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    changed(where, value)(checkpoint)
    torch.save(checkpoint, last)
    with pytest.raises(CheckpointError, match=r"last\.ckpt .*best\.ckpt is readable: give that one instead"):
        resume(moved, "trainer.max_epochs=3")
    assert steps(moved, "val/score") == [1, 3]


def test_what_a_kill_cut_off_is_dropped_from_the_metrics(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path)
    for step in range(4):
        metrics.log_metrics({"a": step}, step)
    with metrics.path.open("a") as file:
        file.write('{"step": 4, "a"')
    assert [record["step"] for record in read_records(metrics.path)] == [0, 1, 2, 3]
    again = MetricsFile(tmp_path)
    again.first_step = 2
    again.log_metrics({"a": 12}, 2)
    again.log_metrics({"a": 13}, 3)
    lines = metrics.path.read_text().splitlines()
    assert [json.loads(line)["a"] for line in lines] == [0, 1, 12, 13]


@pytest.mark.slow
@pytest.mark.parametrize(("point", "epoch"), [("file.written", 0), ("file.synced", 0), ("file.renamed", 1)])
def test_a_killed_write_leaves_a_whole_checkpoint(
    faces: Path, tmp_path: Path, point: str, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    memory = Path("/dev/shm")
    folder = (memory if memory.is_dir() else tmp_path) / f"{tmp_path.name}-{point}"
    try:
        arguments = ["data=affwild2_mtl", f"data.root={faces}", *SMALL, f"paths.run_dir={folder}", "name=killed"]
        done = killed(f"{point}@last.ckpt", "train.py", *arguments, count=2)
        assert done.returncode == -9, done.stdout
        last = read_checkpoint(folder / "checkpoints" / "last.ckpt", resume=True)
        assert last["epoch"] == epoch
        assert sum(path.stat().st_size for path in temporary.rglob("*")) < 10**5
        resume(folder)
        names = [path.name for path in (folder / "checkpoints").iterdir()]
        assert sorted(names) == ["best.ckpt", "last.ckpt"]
        assert steps(folder, "val/score") == [3, 7]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that has room for two checkpoints, and not for a third."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(disk)], capture_output=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_truncates_nothing_and_the_run_goes_on_when_there_is_room(
    faces: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_disk / "run"
    overrides = ["data=affwild2_mtl", f"data.root={faces}", *SMALL, f"paths.run_dir={run}", "trainer.max_epochs=3"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", overrides=overrides)
    with pytest.raises(SystemExit, match=rf"error: {run}/checkpoints/.*: the disk is full"), clear_errors():
        train(config)
    before = hashes(run)
    assert read_checkpoint(run / "checkpoints" / "last.ckpt", resume=True)["epoch"] == 0
    (small_disk / "others").write_bytes(b"")
    with suppress(OSError), (small_disk / "others").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    # config.yaml is to be written anew, which is not possible; then the checkpoint is not
    for arguments in (["trainer.max_epochs=4"], []):
        with pytest.raises(SystemExit, match=rf"error: {run}/.*: the disk is full"), clear_errors():
            resume(run, *arguments)
        assert {**hashes(run), "metrics.jsonl": ""} == {**before, "metrics.jsonl": ""}
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    resume(run)
    assert steps(run, "val/score") == [3, 7, 11]
    assert (run / "scores.json").is_file()
