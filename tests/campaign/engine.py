"""Gives changed files to worker processes, ends those that give no answer, and counts what became of each."""

from __future__ import annotations

import json
import os
import queue
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import hostile

HOSTILE = "hostile files"
KILLS = "kills"
"""Folder of what all commands that are killed start from."""
TESTS = Path(__file__).resolve().parents[1]
PATIENCE = 5.0
"""Seconds after which a worker that has not answered is ended."""
LONG = 60.0
"""The same where an answer may take a training of the smallest network."""
START = 300.0
"""Seconds in which a worker must have imported everything, and read the valid files."""
LONGEST = 1200.0
"""The same of commands that are killed, which have a limit of their own."""
CHUNK = 500
_UNLIKE = re.compile(r"""['"\[(:/].*|[0-9]+""")
"""What of a message differs from file to file."""
Job = tuple[str, Path, int, int, int]


@dataclass
class Counts:
    """How often each outcome was seen, and samples of it.

    Attributes:
        number: of files by outcome.
        causes: of each outcome that was told: how often each cause was, and its first sample.
        legal: of the refused files, those that the strict reader takes.
        seconds: spent on them by the workers.
    """

    number: Counter[str] = field(default_factory=Counter)
    causes: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    legal: int = 0
    seconds: float = 0.0

    def add(self, outcome: str, told: str) -> None:
        """Counts one file; what is told of it is what was done to it, a colon, and what came of that."""
        self.number[outcome] += 1
        self.legal += outcome == "refused" and told != ""
        if told:
            cause = _UNLIKE.sub("", told.partition(": ")[2])[:60]
            self.causes.setdefault(outcome, {}).setdefault(cause, []).append(told)


class Worker:
    """A process that reads changed files.

    Args:
        code: root of the version of the framework that is tried.
        scratch: where changed files are written.
    """

    def __init__(self, code: Path, scratch: Path) -> None:
        start = f"import sys; sys.path[:0] = [{str(code)!r}]; sys.path.append({str(TESTS)!r}); "
        environment = {**os.environ, "CAMPAIGN_SCRATCH": str(scratch), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", start + "from campaign.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=code,
            env=environment,
        )
        assert self.process.stdout is not None
        self._pending = b""
        self._wait_until_ready()

    def ask(self, job: Job) -> None:
        """Gives it files to change and to read."""
        assert self.process.stdin is not None
        name, folder, seed, first, last = job
        self.process.stdin.write(f"{json.dumps([name, str(folder), seed, first, last])}\n".encode())
        self.process.stdin.flush()
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        if self.answer(START) is None:
            raise RuntimeError(f"the worker was not ready in {START:g} s")

    def answer(self, patience: float) -> dict[str, Any] | None:
        """Waits for its next answer; None where there is none in time, or the process has ended."""
        assert self.process.stdout is not None
        end = time.monotonic() + patience
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 1 << 16) if ready else b""
            if not more:
                return None
            self._pending += more
        line, _, self._pending = self._pending.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        if "broken" in found:
            raise RuntimeError(f"the campaign itself has failed: {found['broken']}")
        return found

    def ended(self) -> int | None:
        """Says how the process has ended; None where it goes on."""
        try:
            return self.process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()


def run_job(worker: Worker, job: Job, counts: Counts, code: Path, scratch: Path) -> Worker:
    """Has a worker read a range of changed files; replaces it whenever it hangs or dies.

    Returns:
        The worker to go on with.
    """
    name, folder, seed, first, last = job
    worker.ask(job)
    started, stuck = time.monotonic(), -1
    patience = {HOSTILE: LONG, KILLS: LONGEST}.get(name.partition(":")[0], PATIENCE)
    while first < last:
        answer = worker.answer(patience)
        if answer is not None:
            counts.add(answer["outcome"], answer["told"])
            first += 1
            continue
        dead = worker.ended()
        if dead is not None or stuck == first:  # twice, since the machine may be busy
            said = f"no answer in {patience:g} s" if dead is None else f"the process ended with {dead}"
            which = hostile.cases()[first].name if name == HOSTILE else f"number {first}"
            counts.add("hang" if dead is None else "traceback", f"{which}: {said}")
            first += 1
        else:
            stuck = first
        worker.end()
        worker = Worker(code, scratch)
        worker.ask((name, folder, seed, first, last))
    counts.seconds += time.monotonic() - started
    return worker


def make_valid(names: Sequence[str], code: Path, folder: Path) -> None:
    """Has the framework write valid files of each format, each below a folder of its name.

    Raises:
        subprocess.CalledProcessError: it could not.
    """
    start = f"import sys; sys.path[:0] = [{str(code)!r}]; sys.path.append({str(TESTS)!r}); "
    make = "from campaign.worker import make_valid; make_valid(sys.argv[1], sys.argv[2:])"
    subprocess.run([sys.executable, "-c", start + make, str(folder), *names], cwd=code, check=True)


def campaign(mutations: Mapping[str, int], *, seed: int, code: Path, workers: int = 2) -> dict[str, Counts]:
    """Counts what becomes of changed files of each format.

    Args:
        mutations: how many by format.
        seed: of all changes.
        code: root of the version of the framework that is tried.
        workers: processes.
    """
    memory = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(prefix="campaign-", dir=memory if memory.is_dir() else None))
    counts = {name: Counts() for name in mutations}
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    try:
        make_valid(list(mutations), code, scratch / "valid")
        for name, number in mutations.items():
            chunk = 10 if name == HOSTILE else CHUNK  # a scenario of kills is one job: its unkilled run is shared
            for first in range(0, number, chunk):
                jobs.put((name, scratch / "valid" / name, seed, first, min(first + chunk, number)))
        threads = [threading.Thread(target=_serve, args=(jobs, counts, code, scratch)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return counts


def _serve(jobs: queue.SimpleQueue[Job], counts: dict[str, Counts], code: Path, scratch: Path) -> None:
    worker = Worker(code, scratch)
    try:
        while not jobs.empty():
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                break
            worker = run_job(worker, job, counts[job[0]], code, scratch)
    finally:
        worker.end()
