"""SLURM jobs: one that is pre-empted is queued again, and its next start goes on in the same folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig

from affect.errors import UserError


def is_first_process() -> bool:
    """Tell whether this process is rank 0, before Lightning has started the others or the process group."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"))


def job_id() -> str | None:
    """Look up the job that this process is part of: ``<job>``, or ``<job>_<task>`` in an array; None outside of one."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def job_name() -> str | None:
    """Name a run folder after the job, so that all its processes and starts agree; None outside of one."""
    job = job_id()
    return job and f"slurm-{job}"


def this_start() -> dict[str, Any] | None:
    """Describe what tells this start of this run from others; ``environment.json`` keeps it. None outside of a job."""
    job = job_id()
    if job is None:
        return None
    return {
        "cluster": os.environ.get("SLURM_CLUSTER_NAME"),
        "job": job,
        "arguments": list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else sys.argv[1:],
        "step": os.environ.get("SLURM_STEP_ID"),
        "restarts": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
    }


def is_own(folder: Path, *, first: bool) -> bool:
    """Tell whether an earlier start of this job, queued again since, made the run in a folder with the same arguments.

    Args:
        folder: of a run, or of nothing.
        first: whether this is the first process. It can be ahead of the others, so to them a run that the present
            start has made is their own, too.
    """
    here = this_start()
    if here is None:
        return False
    try:
        made = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["slurm"]
        same = all(made[key] == here[key] for key in ("cluster", "job", "arguments"))
        return same and (made["restarts"] < here["restarts"] or (not first and made == here))
    except (OSError, ValueError, KeyError, TypeError):  # no run, or one that was made outside of SLURM
        return False


def check_leftovers(folder: Path) -> None:
    """Refuse what Lightning saved in mid-epoch for an earlier version: in a job it would predict with those weights.

    Raises:
        UserError: names the file.
    """
    left = next(folder.glob("*hpc_ckpt_*"), None)
    if job_id() is not None and left is not None:
        raise UserError(
            f"{left}: an earlier version's job saved this in mid-epoch, and Lightning would predict with it; delete "
            "it: the run goes on after its last finished epoch"
        )


@contextmanager
def queued_again(*, first: bool) -> Iterator[None]:
    """Ask SLURM to queue this job again when it sends SIGUSR1 during the block (``--signal=SIGUSR1@60 --requeue``).

    Stands in for Lightning's handler. What that saves in mid-epoch cannot be resumed exactly: the epoch's first batches
    would be trained on again, and its last ones never. The next start goes on after the last finished epoch.

    Args:
        first: whether this is the first process, which asks; the others only outlive the signal.
    """
    job, process = job_id(), os.getpid()
    if job is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if not first or os.getpid() != process:  # SLURM signals all processes of a step, those that load images too
            return
        try:
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
            answer = done.stderr.strip() if done.returncode else ""
        except (OSError, subprocess.SubprocessError) as error:
            answer = str(error)
        told = f"cannot be queued again, so training goes on: {answer}" if answer else "is queued again"
        os.write(1, f"SIGUSR1: SLURM job {job} {told}\n".encode())  # print fails where it was interrupted in a print

    former = signal.signal(signal.SIGUSR1, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, former)
