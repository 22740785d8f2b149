"""Trainings and sweeps as jobs of a real SLURM: pre-empted, queued again, killed, ended as if nothing had happened."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch

from evaluators.report import read_scores
from tests.cluster.local import Cluster, missing, running
from tests.conftest import SMALL
from tests.kills import REPOSITORY
from tests.runs.test_sweeps import given_twice, undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

# what docs/training.md says to submit; slurmctld looks twice a minute, so the signal comes 60 to 90 s before the end
JOB = """#!/bin/bash
#SBATCH --nodes=1 --ntasks-per-node={processes} --output=job-%j.out
#SBATCH --time={minutes} --signal=SIGUSR1@60 --requeue --open-mode=append
export OMP_NUM_THREADS=1
wait_at() {{ [ "${{SLURM_RESTART_COUNT:-0}}" = "$1" ] && echo "{kills} file.written@last.ckpt $2 wait"; }}
srun {python} $({holds}) {repository}/train.py {arguments}
"""
TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.sync_batchnorm=false"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # not pytest's folder: a socket's path has at most 108 characters
    with TemporaryDirectory(prefix="slurm-") as folder, running(Path(folder)) as started:
        yield started


def job(faces: Path, *arguments: str, waits: str = "true", processes: int = 1, minutes: int = 30) -> str:
    """A job script that trains without ``paths.run_dir``; ``waits`` says at which start it stands still, and where."""
    every = ["experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, *arguments]
    return JOB.format(
        processes=processes, minutes=minutes, kills=REPOSITORY / "tests" / "kills.py", python=sys.executable,
        holds=waits, repository=REPOSITORY, arguments=" ".join(every),
    )  # fmt: skip


def told(cluster: Cluster, number: str, what: str, times: int) -> None:
    """Wait until a job's starts have printed something so many times."""
    output = Path(cluster.job(number)["StdOut"])
    cluster.wait(lambda: output.is_file() and output.read_text().count(what) >= times, 150)


def test_a_preempted_job_ends_as_one_that_ran_through(cluster: Cluster, faces: Path, tmp_path: Path) -> None:
    whole = cluster.submit(job(faces), tmp_path)
    cut = cluster.submit(job(faces, waits="wait_at 0 1 || wait_at 1 2", minutes=2), tmp_path)
    told(cluster, cut, "is queued again", 1)  # by its time limit, before its first checkpoint
    cluster.call("scontrol", "update", f"JobId={cut}", "TimeLimit=30")
    told(cluster, cut, "waiting at", 2)  # while its second one is written
    cluster.call("scancel", "--signal=USR1", cut)
    for number in (whole, cut):
        assert cluster.end(number, 240)["ExitCode"] == "0:0", (tmp_path / f"job-{number}.out").read_text()
    assert cluster.job(cut)["Restarts"] == "2"
    assert Path(cluster.job(cut)["StdOut"]).read_text().count("goes on from") == 1
    runs = tmp_path / "logs" / "emma"
    assert {path.name for path in runs.iterdir()} == {f"slurm-{whole}", f"slurm-{cut}"}
    assert read_scores(runs / f"slurm-{cut}" / "scores.json") == read_scores(runs / f"slurm-{whole}" / "scores.json")
    first, second = (
        torch.load(runs / f"slurm-{number}" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for number in (whole, cut)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not list(runs.rglob("*hpc*"))


def test_two_processes_agree_on_the_folder_and_go_on_in_it(cluster: Cluster, faces: Path, tmp_path: Path) -> None:
    number = cluster.submit(job(faces, *TWO, "trainer.devices=2", waits="wait_at 0 2", processes=2), tmp_path)
    told(cluster, number, "waiting at", 1)
    cluster.call("scancel", "--signal=USR1", number)
    assert cluster.end(number, 240)["ExitCode"] == "0:0", (tmp_path / f"job-{number}.out").read_text()
    assert cluster.job(number)["Restarts"] == "1"
    assert Path(cluster.job(number)["StdOut"]).read_text().count("goes on from") == 1
    (run,) = (tmp_path / "logs" / "emma").iterdir()
    assert run.name == f"slurm-{number}"
    assert read_scores(run / "scores.json")


def test_a_sweep_that_is_killed_and_given_again_has_the_table_of_one_that_is_not(
    cluster: Cluster, faces: Path, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    before = cluster.jobs()
    rows, _ = given_twice(
        faces, tmp_path, "0,1,2", "hydra/launcher=submitit_slurm", "hydra.launcher.array_parallelism=1",
        "hydra.launcher.name=sweep", environment=cluster.environment,
        # those that run have to be told at once, or SIGTERM comes first; then those that wait
        cancel="scancel --name=sweep --state=RUNNING --signal=KILL --full; scancel --name=sweep",
    )  # fmt: skip
    assert rows == undisturbed(faces)
    print(cluster.call("sacct", "--allocations", "--name=sweep"))
    states = [state for job, state in cluster.jobs().items() if job not in before]
    # two arrays of three: done, killed, never started, which leaves no account; then done before, resumed, started
    assert states[:2] in (["COMPLETED", "CANCELLED"], ["COMPLETED", "FAILED"])
    assert states[2:] == ["COMPLETED"] * 3
