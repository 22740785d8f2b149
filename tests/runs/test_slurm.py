"""Runs in SLURM jobs, by the variables and the signal that SLURM gives; tests/cluster has a real one."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from affect.errors import UserError
from runs.folder import RUN_FOLDER_VARIABLE, Run, opened_run, run_folder
from runs.slurm import check_leftovers, queued_again

Start = Callable[..., None]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    """Sets the variables of a start of job 12; ``restarts=1`` is its second one."""
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv(RUN_FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)

    def start_(*arguments: str, **variables: object) -> None:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        given = {"JOB_ID": 12, "CLUSTER_NAME": "c", "NTASKS": 1, "PROCID": 0, **variables}
        for name, value in given.items():
            monkeypatch.setenv(f"SLURM_{name}", str(value))

    return start_


def composed(output: Path, run_dir: str = "${paths.output_dir}/${name}/${now:%Y-%m-%d_%H-%M-%S}") -> DictConfig:
    return OmegaConf.create({"name": "emma", "paths": {"output_dir": str(output), "run_dir": run_dir}})


def opened(folder: Path) -> None:
    """Opens and closes a run in a folder."""
    with opened_run(composed(folder.parent, str(folder))):
        pass


def chosen(output: Path) -> str:
    return str(run_folder(composed(output)).relative_to(output / "emma"))


def test_a_run_folder_is_named_after_the_job(start: Start, tmp_path: Path) -> None:
    start(NTASKS=2)
    config = composed(tmp_path)
    assert run_folder(config) == run_folder(config) == tmp_path / "emma" / "slurm-12"
    start(NTASKS=2, PROCID=1)
    assert chosen(tmp_path) == "slurm-12"
    start(ARRAY_JOB_ID=11, ARRAY_TASK_ID=3)
    assert chosen(tmp_path) == "slurm-11_3"
    assert run_folder(composed(tmp_path, f"{tmp_path}/mine")) == tmp_path / "mine"


def test_processes_without_a_job_must_be_told_a_folder(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes need one folder"):
        run_folder(composed(tmp_path))
    start()
    assert chosen(tmp_path) == "slurm-12"


def test_each_training_of_a_job_has_a_folder_and_finds_it_again(start: Start, tmp_path: Path) -> None:
    for seed, name in ((0, "slurm-12"), (1, "slurm-12-2"), (2, "slurm-12-3")):
        start(f"seed={seed}", NTASKS=2)
        assert chosen(tmp_path) == name
        Run(tmp_path / "emma" / name, {}, kept=False).started()
        start(f"seed={seed}", NTASKS=2, PROCID=1)  # later than the first process
        assert chosen(tmp_path) == name
    for seed, name in ((2, "slurm-12-3"), (0, "slurm-12"), (1, "slurm-12-2")):
        start(f"seed={seed}", RESTART_COUNT=1)
        assert chosen(tmp_path) == name


@pytest.mark.parametrize(
    "other", [{}, {"JOB_ID": 13}, {"CLUSTER_NAME": "d"}, {"arguments": ["seed=2"]}, {"RESTART_COUNT": 0}]
)
def test_only_the_same_job_may_go_on_in_a_folder(start: Start, tmp_path: Path, other: dict) -> None:
    start("seed=1")
    Run(tmp_path / "run", {}, kept=False).started()
    with pytest.raises(UserError, match="not empty"):
        opened(tmp_path / "run")
    arguments = other.pop("arguments", ["seed=1"])
    start(*arguments, **{"RESTART_COUNT": 1, **other})
    if other or arguments != ["seed=1"]:
        with pytest.raises(UserError, match="not empty"):
            opened(tmp_path / "run")
    else:
        (tmp_path / "run" / "metrics.jsonl").write_text("of a first epoch that was killed")
        opened(tmp_path / "run")
        assert not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"slurm": null}', '{"slurm": {"cluster": "c", "job": "12"}}'])
def test_a_folder_that_does_not_say_whose_it_is_is_refused(start: Start, tmp_path: Path, content: str) -> None:
    start(RESTART_COUNT=1)
    (tmp_path / "environment.json").write_text(content)
    with pytest.raises(UserError, match="not empty"):
        opened(tmp_path)


@pytest.fixture
def scontrol(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program of that name, which writes down its arguments and fails for job 13; returns what it writes to."""
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ $2 = 13 ] && echo disabled >&2 && exit 1\nexit 0\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "asked"


def test_sigusr1_queues_the_job_again(start: Start, scontrol: Path, capfd: pytest.CaptureFixture[str]) -> None:
    start()
    before = signal.getsignal(signal.SIGUSR1)
    with queued_again(first=False):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert not scontrol.exists()
    with queued_again(first=True):
        child = os.fork()  # a process that loads images
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert not scontrol.exists()
        os.kill(os.getpid(), signal.SIGUSR1)
    assert scontrol.read_text() == "requeue 12\n"
    assert "SLURM job 12 is queued again" in capfd.readouterr().out
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_job_that_cannot_be_queued_again_goes_on(
    start: Start, scontrol: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    start(JOB_ID=13)
    with queued_again(first=True):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert "SLURM job 13 cannot be queued again, so training goes on: disabled" in capfd.readouterr().out
    (scontrol.parent / "bin" / "scontrol").unlink()
    os.environ["PATH"] = str(scontrol.parent)
    with queued_again(first=True):
        os.kill(os.getpid(), signal.SIGUSR1)
    assert "cannot be queued again, so training goes on: [Errno 2]" in capfd.readouterr().out


def test_what_lightning_saved_in_mid_epoch_is_refused(start: Start, tmp_path: Path) -> None:
    (tmp_path / "hpc_ckpt_1.ckpt").touch()
    check_leftovers(tmp_path)
    start()
    with pytest.raises(UserError, match=r"hpc_ckpt_1\.ckpt.*delete it"):
        check_leftovers(tmp_path)


def test_the_record_says_which_job_made_a_run(start: Start, tmp_path: Path) -> None:
    def made(name: str) -> dict:
        Run(tmp_path / name, {}, kept=False).started()
        return json.loads((tmp_path / name / "environment.json").read_text())

    assert made("plain")["slurm"] is None
    start("seed=1", STEP_ID=0)
    first = made("run")
    assert first["slurm"] == {"cluster": "c", "job": "12", "arguments": ["seed=1"], "step": "0", "restarts": 0}
    start("seed=1", STEP_ID=0, RESTART_COUNT=1)
    assert made("run") == first
    assert made("plain")["slurm"] is None
