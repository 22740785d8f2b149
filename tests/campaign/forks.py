"""Command lines in processes that are forked from this one, which has imported everything: a start costs no seconds.

This process itself only imports: what computes may start threads, and a fork takes none of them along.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 240.0
"""Seconds after which a command that has not ended is ended, and counts as one that hangs."""


def forked(do: Callable[[], Any], log: Path) -> tuple[int, Any]:
    """Calls something in a process of its own.

    Args:
        do: what to call; gives plain values.
        log: file that what it prints is added to.

    Returns:
        How the process ended (the exit code, or minus the signal), and what ``do`` returned, or None.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(reading)
            os.setpgid(0, 0)
            stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(stream, 1)
            os.dup2(stream, 2)
            sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.write(writing, json.dumps(do()).encode())
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    return _ended(process, reading)


def _ended(process: int, reading: int) -> tuple[int, Any]:
    answer, end = b"", time.monotonic() + PATIENCE
    os.set_blocking(reading, False)
    while True:
        with suppress(BlockingIOError):
            answer += os.read(reading, 1 << 20)
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            break
        if time.monotonic() > end:
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.02)
    os.set_blocking(reading, True)
    with os.fdopen(reading, "rb") as rest:
        answer += rest.read()
    return os.waitstatus_to_exitcode(status), json.loads(answer) if answer else None


class Points:
    """Counts the named points that a command passes, and ends its process at one of them.

    Args:
        last: number of the point at which it is killed; None: at none.
        below: only points of paths in this folder count; None: all.
    """

    def __init__(self, last: int | None, below: Path | None) -> None:
        self.last, self.below, self.passed = last, below, 0
        self.names: list[str] = []

    def __call__(self, point: str, path: Path) -> None:
        if self.below is not None and self.below not in Path(path).absolute().parents:
            return
        self.passed += 1
        self.names.append(f"{point} {Path(path).name}")
        if self.passed == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


def command(script: str, arguments: Sequence[str], points: Points) -> list[str]:
    """Does what the command line does, in this process; gives the points that it passed."""
    from affect import files

    files.hook = points
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        if end.code not in (None, 0):
            raise
    return points.names
