"""The processes of a run watch one another, so that one that stops, dies or fails ends the run with one message.

While the Trainer is at work, each process says in a small file of the run folder, every few seconds, that it is alive
and how many batches it has done. Rank 0 reads what the others say; they read what rank 0 says. A file works with any
launcher and backend, and does not hang with the process that is looked for, as a collective or its store would.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies.launchers import subprocess_script
from torch.distributed import distributed_c10d

from affect.errors import UserError
from affect.files import reached

try:
    import fcntl
except ImportError:  # Windows: a process that is dead is then one that does not answer
    fcntl = None  # type: ignore[assignment]

TIMEOUT_S: Final = 300.0
"""Seconds without progress after which a process is given up: ``timeout_s`` in conf/."""

GRACE_S: Final = 5.0
"""Seconds in which the main thread may end the process by itself; in a collective that never ends it cannot."""

_RECORD: Final = 512
"""Bytes of a process's file, the same ones at every write: a full disk must not make a process look dead."""

_FAILED: Final = "has failed: its own message says why"
_KILLED: Final = "has ended too early: it was killed, perhaps by the system for want of memory"

State = Literal["running", "done", "failed"]


@dataclass
class Beat:
    """What a process says of itself.

    Attributes:
        pulse: grows as long as the process runs at all.
        steps: grows with every batch that it begins or ends.
        place: what it did last.
        state: ``done`` where it only waits for the others.
        host: where it holds the lock of its file; empty where it holds none.
    """

    pulse: int = 0
    steps: int = 0
    place: str = ""
    state: State = "running"
    host: str = ""


class Watch:
    """Judge from what processes say of themselves whether one of them holds the others up.

    Args:
        ranks: who is judged.
        timeout_s: after which a process that makes no progress is given up.
        clock: seconds, of this process alone: clocks of machines differ.
    """

    def __init__(self, ranks: Iterable[int], timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout_s, self.clock = timeout_s, clock
        self.last = dict.fromkeys(ranks, Beat())
        self._alive, self._moved = dict.fromkeys(self.last, clock()), dict.fromkeys(self.last, clock())

    def verdict(self, beats: Mapping[int, Beat], dead: Sequence[int] = ()) -> str | None:
        """Say which processes hold the run up, and why; None where none does.

        Args:
            beats: what the processes say now, without those that cannot be read.
            dead: those that are known to have ended.
        """
        now = self.clock()
        for rank, beat in beats.items():
            if beat != self.last[rank]:
                self._alive[rank] = now
                if beat.steps != self.last[rank].steps or beat.state != "running":
                    self._moved[rank] = now
                self.last[rank] = beat
        failed = [rank for rank, beat in self.last.items() if beat.state == "failed"]
        if failed:
            return f"{_names(failed)} {_FAILED}"
        if dead:
            return f"{_names(dead)} {_KILLED}"
        if all(now - since < self.timeout_s for since in self._moved.values()):
            return None
        # the others wait for the culprit, some of them for a little longer than it has been silent itself
        mute = [rank for rank, since in self._alive.items() if now - since >= self.timeout_s / 2]
        told = f"for {self.timeout_s:g} s (timeout_s)"
        if mute:
            seen = all(self.last[rank].pulse for rank in mute)
            shared = "" if seen else "; if it is not, check that all processes see the same run folder"
            return f"{_names(mute)} has not answered {told}: it is stopped, or its machine is{shared}"
        idle = [rank for rank, since in self._moved.items() if now - since >= self.timeout_s / 2]
        places = ", ".join(f"rank {rank} since {self.last[rank].place}" for rank in idle)
        return f"no progress {told}: {places}; where the work takes as long, give a larger timeout_s"


def _names(ranks: Sequence[int]) -> str:
    return " and ".join(f"rank {rank}" for rank in ranks)


class Ranks(Callback):
    """Watch over a run of several processes; in a run of one it does nothing.

    When the Trainer has done its work it waits for all processes, however long they take as long as they get on. What
    they have written is then complete.

    Args:
        folder: the run folder, which all processes see.
        timeout_s: seconds after which a process that makes no progress is given up.

    Raises:
        UserError: the timeout is not a positive number.
    """

    def __init__(self, folder: Path, timeout_s: float = TIMEOUT_S) -> None:
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not timeout_s > 0:
            raise UserError(f"timeout_s={timeout_s}: give a number of seconds above 0")
        self.folder, self.timeout_s = folder / ".ranks", timeout_s
        self.period = min(timeout_s / 10, 5.0)
        self.problem: str | None = None
        self._own = Beat()
        self._children: Sequence[subprocess.Popen[bytes]] = ()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin to watch; Lightning calls this in every process, as soon as they are connected."""
        if trainer.world_size == 1:
            return
        self.rank = trainer.global_rank
        self.others = range(1, trainer.world_size) if self.rank == 0 else range(1)
        self._children = getattr(trainer.strategy.launcher, "procs", ())
        # the watch speaks first; where it is not heard, the backend's own error ends the run
        set_timeout: Any = getattr(torch.distributed, "set_timeout", None) or distributed_c10d._set_pg_timeout
        set_timeout(timedelta(seconds=2 * self.timeout_s + GRACE_S))
        self._own.place, self._own.state = f"the start of {stage}", "running"
        self._open()
        trainer.strategy.barrier("ranks")  # from here on no file is of an earlier run
        self._watch = Watch([*self.others, self.rank], self.timeout_s)
        self._stop.clear()
        self._thread = threading.Thread(target=self._look, name="ranks", daemon=True)
        self._thread.start()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Wait until all processes have done their work."""
        if self._thread is None:
            return
        if self.rank > 0:
            self._say("done")
        pause = 0.01
        while not self._all_done():
            if self.problem is not None:
                raise UserError(self.problem)
            self._step("its wait for the others")
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        self._end("done")
        if self.rank == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Tell the others. Where a collective failed because a process did not take part in it, say which."""
        broken = isinstance(exception, RuntimeError) and "gloo" in str(exception).lower()
        lost = broken or isinstance(exception, torch.distributed.DistError)
        deadline = time.monotonic() + 3 * self.period
        while lost and self._thread is not None and self.problem is None and time.monotonic() < deadline:
            time.sleep(self.period / 10)
        if self._thread is not None:
            self._end("failed")
        _kill(self._children)
        if lost:
            some = f"another process has ended, or does not answer ({str(exception).strip().splitlines()[0]})"
            raise UserError(self.problem or some) from exception

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        self._step("a training batch began")

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self._step("a training batch ended")

    def on_validation_batch_start(self, *_: Any, **__: Any) -> None:
        self._step("a validation batch began")

    def on_validation_batch_end(self, *_: Any, **__: Any) -> None:
        self._step("a validation batch ended")

    def on_predict_batch_start(self, *_: Any, **__: Any) -> None:
        self._step("a prediction batch began")

    def on_predict_batch_end(self, *_: Any, **__: Any) -> None:
        self._step("a prediction batch ended")

    def _step(self, place: str) -> None:
        reached("ranks.step", self.folder)
        self._own.steps += 1
        self._own.place = place

    def _look(self) -> None:
        """Speak and read, again and again, until the main thread stops it or a process is given up."""
        while not self._stop.wait(self.period):
            self._say()
            beats = {rank: beat for rank in self.others if (beat := self._read(rank)) is not None}
            dead = [rank for rank, beat in beats.items() if beat.state == "running" and self._has_ended(rank, beat)]
            self.problem = self._watch.verdict({**beats, self.rank: replace(self._own)}, dead)
            if self.problem is not None:
                self._say("failed")
                if not self._stop.wait(GRACE_S):
                    give_up(self.problem, self._children)
                return

    def _open(self) -> None:
        """Make this process's file, and lock it: the kernel frees the lock when the process ends, however it does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self._path(self.rank), os.O_RDWR | os.O_CREAT, 0o644)
        self._own.host = ""
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._own.host = socket.gethostname()
        self._say()

    def _path(self, rank: int) -> Path:
        return self.folder / f"{rank:05d}"

    def _say(self, state: State | None = None) -> None:
        """Write what this process says of itself, as the main thread or as the one that watches."""
        with self._writing:
            self._own.pulse += 1
            self._own.state = state or self._own.state
            with suppress(OSError):  # whoever reads it will miss it soon enough
                os.pwrite(self._file, json.dumps(asdict(self._own)).encode().ljust(_RECORD), 0)
                os.fsync(self._file)

    def _read(self, rank: int) -> Beat | None:
        """Return what another process says; None where that cannot be read just now."""
        try:
            return Beat(**json.loads(self._path(rank).read_bytes()))
        except FileNotFoundError:  # a first process that fails may tidy up the run folder
            last = self._watch.last[rank]
            return replace(last, state="failed") if last.pulse and self._own.state == "running" else None
        except (OSError, ValueError, TypeError):
            return None

    def _has_ended(self, rank: int, beat: Beat) -> bool:
        """Tell whether a process of this host has lost its lock; of other hosts not every file system knows."""
        if fcntl is None or beat.host != socket.gethostname():
            return False
        try:
            with self._path(rank).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _all_done(self) -> bool:
        """Tell whether the others are done; rank 0 says so for all, and takes the files away."""
        if self.rank > 0 and not self.folder.exists():
            return True
        return all((beat := self._read(rank)) is not None and beat.state == "done" for rank in self.others)

    def _end(self, state: State) -> None:
        """Stop to watch, and say so."""
        assert self._thread is not None
        self._stop.set()
        self._thread.join()
        self._thread = None
        self._say(state)
        os.close(self._file)


def give_up(problem: str, children: Sequence[subprocess.Popen[bytes]]) -> NoReturn:
    """End this process, whatever its main thread waits for, and those that it has started."""
    _kill(children)
    print(f"error: {problem}", file=sys.stderr, flush=True)
    os._exit(1)


def _kill(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()  # nothing less ends a process that is stopped


def observe(child_processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the run when a process that this one has started fails, even before they are connected.

    Lightning's own observer kills this process then, without a word and with another exit code.
    """

    def look() -> None:
        while not any(codes := [child.poll() for child in child_processes]):
            if all(code == 0 for code in codes):
                return
            time.sleep(1)
        time.sleep(GRACE_S)
        first = int(os.environ.get("NODE_RANK", "0")) * (len(codes) + 1) + 1
        failed = _names([first + number for number, code in enumerate(codes) if code])
        killed = any(code is not None and code < 0 for code in codes)
        give_up(f"{failed} {_KILLED if killed else _FAILED}", child_processes)

    threading.Thread(target=look, name="observer", daemon=True).start()


subprocess_script._launch_process_observer = observe  # type: ignore[attr-defined]
