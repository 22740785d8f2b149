"""Run an entry point that is killed, or does something else, when it reaches a named point of ``affect.files.reached``.

``python tests/kills.py POINT COUNT ACTION SCRIPT ARGUMENT …``: at the COUNT-th time that POINT is reached, ACTION is
``kill`` (SIGKILL to this process), ``term`` (SIGTERM to it), ``stop`` (SIGSTOP to it), ``wait`` (tell, and then do
nothing but handle signals until one ends it) or ``full`` (the disk is full).
A POINT of the form ``name@part`` counts only paths whose name holds ``part``.
"""

from __future__ import annotations

import errno
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


def killed(
    point: str, script: str, *arguments: str, count: int = 1, action: str = "kill", timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Runs an entry point in its own process with one such point; both streams in ``stdout``."""
    return subprocess.run(
        [sys.executable, __file__, point, str(count), action, str(REPOSITORY / script), *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
    )


def kill_midway(
    folder: Path, script: str, *arguments: str, waits: str, until: Path, environment: Mapping[str, str], jobs: str = ""
) -> None:
    """Starts an entry point, and kills it and all that it started, when it is half done.

    Args:
        folder: an empty one.
        script: the entry point.
        *arguments: of it.
        waits: end of a path, at which the process that has just put a file there stands still, whichever it is.
        until: a file that must be there, too, before all is killed.
        environment: of the entry point.
        jobs: a command of a shell that kills what runs elsewhere.
    """
    held = folder / "held"
    # Python runs a module of this name at its start, in the processes that do the jobs, too
    (folder / "sitecustomize.py").write_text(_HOLD.format(repository=str(REPOSITORY), waits=waits, held=str(held)))
    path = os.pathsep.join(filter(None, (str(folder), environment.get("PYTHONPATH"))))
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / script), *arguments], cwd=REPOSITORY, stdout=output, stderr=output,
            env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}, start_new_session=True,
        )  # fmt: skip
    end = time.monotonic() + 600
    try:
        while not (held.exists() and until.exists()):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "output").read_text())
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run(jobs, shell=True, env=dict(environment), check=True)


_HOLD = """
import pathlib, sys, time
sys.path.insert(0, {repository!r})
from affect import files
def hook(reached, path):
    if reached == "file.renamed" and str(path).endswith({waits!r}):
        pathlib.Path({held!r}).touch()
        time.sleep(3600)
files.hook = hook
"""


def main() -> None:
    """Sets the hook and runs the script as if it had been started itself."""
    point, count, action, script = sys.argv[1:5]
    name, _, part = point.partition("@")
    sys.path.insert(0, str(REPOSITORY))
    from affect import files

    left = int(count)

    def hook(reached: str, path: Path) -> None:
        nonlocal left
        if reached != name or part not in path.name:
            return
        left -= 1
        if left == 0:
            if action == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            if action == "wait":
                print(f"waiting at {point}", flush=True)
                while True:
                    signal.pause()
            os.kill(os.getpid(), SIGNALS[action])

    files.hook = hook
    sys.argv = sys.argv[4:]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
