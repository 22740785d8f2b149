"""A process that stops, dies or fails ends a run of several; unequal work does not."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies.launchers import subprocess_script

from affect.errors import UserError
from runs.ranks import Beat, Ranks, Watch, observe
from tests.conftest import SMALL
from tests.kills import REPOSITORY

ENDED = "rank 1 has ended too early: it was killed, perhaps by the system for want of memory"


class Clock:
    """Processes that speak every 10 s, seen by a watch with a timeout of 300 s."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.beats = {rank: Beat(pulse=1, place="a training batch began") for rank in range(count)}
        self.watch = Watch(self.beats, 300, lambda: self.now)

    def run(self, seconds: int, *, alive: tuple[int, ...], moving: tuple[int, ...] = (), dead: Any = ()) -> str | None:
        """The first verdict within so many seconds, in which some processes live and some of these get on."""
        for _ in range(seconds // 10):
            self.now += 10
            for rank in alive:
                beat = self.beats[rank]
                self.beats[rank] = replace(beat, pulse=beat.pulse + 1, steps=beat.steps + (rank in moving))
            problem = self.watch.verdict(self.beats, dead)
            if problem is not None:
                return problem
        return None


def test_unequal_work_may_take_any_time() -> None:
    clock = Clock(3)
    clock.beats[1] = replace(clock.beats[1], state="done")
    assert clock.run(20_000, alive=(0, 1, 2), moving=(0, 2)) is None


def test_a_stopped_process_is_named_alone() -> None:
    clock = Clock(3)
    assert clock.run(1000, alive=(0, 1, 2), moving=(0, 1, 2)) is None
    assert clock.run(50, alive=(0, 1, 2), moving=(1,)) is None  # the others wait for it already
    problem = clock.run(10_000, alive=(0, 2))
    assert problem == "rank 1 has not answered for 300 s (timeout_s): it is stopped, or its machine is"
    assert 1290 <= clock.now <= 1360


def test_a_process_that_hangs_is_among_those_without_progress() -> None:
    clock = Clock(3)
    clock.beats[1] = replace(clock.beats[1], place="a training batch ended")
    clock.beats[2] = replace(clock.beats[2], state="done")
    problem = clock.run(10_000, alive=(0, 1, 2))
    assert problem is not None
    assert "rank 0 since a training batch began, rank 1 since a training batch ended; " in problem
    assert "no progress for 300 s (timeout_s)" in problem
    assert clock.now <= 320


def test_a_process_that_has_ended_is_told_at_once() -> None:
    clock = Clock(2)
    assert clock.run(100, alive=(0, 1), moving=(0, 1)) is None
    assert clock.run(10, alive=(0, 1), dead=[1]) == ENDED
    clock.beats[1] = replace(clock.beats[1], state="failed")
    assert clock.run(10, alive=(0, 1)) == "rank 1 has failed: its own message says why"


def test_a_run_folder_that_is_not_shared_is_a_possible_reason() -> None:
    clock = Clock(2)
    clock.beats = {0: clock.beats[0]}
    problem = clock.run(1000, alive=(0,), moving=(0,))
    assert problem is not None
    assert problem.endswith("all processes see the same run folder")


def test_the_timeout_is_checked(tmp_path: Path) -> None:
    for wrong in (0, -1, "5", None, True):
        with pytest.raises(UserError, match=r"timeout_s=.*above 0"):
            Ranks(tmp_path, wrong)  # type: ignore[arg-type]


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Ranks, Any]]:
    """Two ranks as threads of this process, with their trainers, after ``setup``."""
    monkeypatch.setattr(torch.distributed, "set_timeout", lambda _: None, raising=False)
    meeting = threading.Barrier(2, timeout=10)
    strategy = SimpleNamespace(barrier=lambda _: meeting.wait(), launcher=None)
    made = [
        (Ranks(tmp_path, 1), SimpleNamespace(world_size=2, global_rank=rank, strategy=strategy)) for rank in range(2)
    ]
    together(*(lambda ranks=ranks, trainer=trainer: ranks.setup(trainer, None, "predict") for ranks, trainer in made))
    return made


def together(*jobs: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_processes_wait_for_one_another_longer_than_the_timeout(two: list[tuple[Ranks, Any]], tmp_path: Path) -> None:
    (first, trainer), (second, other) = two
    order = []

    def work() -> None:
        for _ in range(15):
            second._step("a prediction batch ended")
            threading.Event().wait(0.1)
        order.append("the work")
        second.teardown(other, None, "predict")  # type: ignore[arg-type]

    def wait() -> None:
        first.teardown(trainer, None, "predict")
        order.append("the wait")

    together(work, wait)
    assert order == ["the work", "the wait"]
    assert not list(tmp_path.iterdir())


def test_a_failure_ends_the_wait_of_the_others(two: list[tuple[Ranks, Any]]) -> None:
    (first, trainer), (second, other) = two
    second.on_exception(other, None, ValueError("an image"))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="rank 1 has failed: its own message says why"):
        first.teardown(trainer, None, "predict")
    first.on_exception(trainer, None, ValueError())  # type: ignore[arg-type]


def test_a_run_folder_that_was_tidied_up_is_a_failure(two: list[tuple[Ranks, Any]], tmp_path: Path) -> None:
    (first, trainer), (second, other) = two
    for _ in range(50):
        if second._watch.last[0].pulse:
            break
        threading.Event().wait(0.1)
    shutil.rmtree(tmp_path / ".ranks")
    with pytest.raises(UserError, match="rank 0 has failed"):
        second.on_exception(other, None, RuntimeError("[gloo/transport/tcp/pair.cc:5] Connection closed by peer"))  # type: ignore[arg-type]
    first.on_exception(trainer, None, ValueError())  # type: ignore[arg-type]


def test_a_lost_connection_names_the_process(two: list[tuple[Ranks, Any]]) -> None:
    (first, trainer), (second, _) = two
    second._stop.set()  # as a kill leaves it: nothing is said any more, and the lock is free
    second._thread.join()  # type: ignore[union-attr]
    os.close(second._file)
    with pytest.raises(UserError, match="rank 1 has ended too early"):
        first.on_exception(trainer, None, RuntimeError("[gloo/transport/tcp/pair.cc:5] Connection closed by peer"))  # type: ignore[arg-type]


def test_a_process_that_fails_at_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    told: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr("runs.ranks.give_up", lambda problem, _: told.put(problem))
    monkeypatch.setattr("runs.ranks.GRACE_S", 0)
    assert subprocess_script._launch_process_observer is observe  # type: ignore[attr-defined]
    for script, message in (("exit 1", "rank 1 has failed: its own message says why"), ("kill -9 $$", ENDED)):
        observe([subprocess.Popen(["sh", "-c", script])])
        assert told.get(timeout=10) == message


def start(rank: int, port: int, folder: Path, faces: Path, *wrapped: str) -> subprocess.Popen[str]:
    """One of two processes of a training, as torchrun or SLURM would start it."""
    overrides = [
        "experiment=emma", "data=affwild2_mtl", f"data.root={faces}", *SMALL, "trainer.devices=2",
        "trainer.max_epochs=50", f"paths.run_dir={folder}", "timeout_s=4",
    ]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *wrapped, str(REPOSITORY / "train.py"), *overrides],
        env={**os.environ, "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        cwd=REPOSITORY, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "message"), [("stop", "has not answered for 4 s (timeout_s)"), ("kill", "has ended too early")]
)
def test_a_rank_that_stops_in_training(faces: Path, tmp_path: Path, action: str, message: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kills = str(REPOSITORY / "tests" / "kills.py")
    first = start(0, port, tmp_path / "run", faces)
    second = start(1, port, tmp_path / "run", faces, kills, "ranks.step", "20", action)
    try:
        _, told = first.communicate(timeout=120)
        assert first.returncode == 1, told
        assert f"error: rank 1 {message}" in told
        assert "Traceback" not in told
        assert second.poll() in (None, -signal.SIGKILL)
    finally:
        second.kill()
        second.communicate()
        first.kill()
