"""The process in which changed files are read; its parent ends it when it gives no answer.

Each line of its input is a JSON list, ``[format, folder of valid files, seed, first, last]``; for each number of the
range it writes a line of JSON. ``python -c`` starts it with the code that is to be tried in front of the search path.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from . import hostile, kills
from .engine import HOSTILE, KILLS
from .formats import FORMATS, Format
from .hostile_run import try_case
from .mutators import mutate
from .outcomes import LEGAL, difference, outcome, user_errors

Case = tuple[Path, Path, Any]
"""A folder of valid files, the path in it of one that can be changed, and what is read of it."""
Errors = tuple[type[BaseException], ...]
HARMLESS = ("/dev/null",)
WATCHED = {
    *(
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "subprocess.Popen",
        "socket.connect",
        "os.remove",
    ),
    *("os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree", "shutil.copyfile"),
    *("urllib.Request", "ctypes.dlopen", "os.putenv", "os.chmod"),
}


class Watch:
    """Notes what is run or written while a file is read."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: Any) -> None:
        if not self.on:
            return
        if event in WATCHED or (event == "open" and _writes(arguments)):
            self.seen.append(f"{event} {arguments!r}"[:200])


def _writes(arguments: Any) -> bool:
    path, _, flags = arguments
    writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return bool(writing) and path not in HARMLESS


def cases(format_: Format, folder: Path) -> list[Case]:
    """Finds the files that can be changed."""
    found = []
    for file in sorted(folder.rglob(format_.pattern)):
        inner = file.relative_to(folder)
        if file.is_file() and not inner.parts[0].startswith("."):
            top = _top(format_, folder, file)
            found.append((top, file.relative_to(top), format_.strict(file)))
    return found


def _top(format_: Format, folder: Path, file: Path) -> Path:
    """The folder that is copied with a file: the whole store, otherwise the file's own."""
    return folder / "store" if format_.pattern != "*" else file.parent


def try_one(
    format_: Format, case: Case, rng: random.Random, scratch: Path, errors: Errors, watch: Watch
) -> dict[str, str]:
    """Changes a file, reads it, and says what became of it."""
    source, inner, original = case
    changed, done = mutate((source / inner).read_bytes(), rng, text=format_.text)
    folder = Path(tempfile.mkdtemp(dir=scratch)) / source.name
    shutil.copytree(source, folder)
    (folder / inner).write_bytes(changed)
    watch.seen, watch.on = [], True
    try:
        result, said = outcome(format_, folder / inner, original, errors)
    finally:
        watch.on = False
    if watch.seen:
        result, said = "code", watch.seen[0]
    shutil.rmtree(folder.parent)
    quiet = result == "same" or (result == "refused" and not said.startswith(LEGAL))
    return {"outcome": result, "told": "" if quiet else f"{done}: {said}".replace(str(folder), "…")[:500]}


def serve(lines: Any) -> None:
    """Answers the parent until it closes the pipe."""
    warnings.simplefilter("ignore")
    scratch = Path(os.environ["CAMPAIGN_SCRATCH"])
    errors, watch = user_errors(), Watch()
    _say({"ready": True})
    for line in lines:
        name, folder, seed, first, last = json.loads(line)
        if name == HOSTILE:
            _say({"ready": True})
            for case in hostile.cases()[first:last]:
                _say(try_case(case, Path(folder), scratch, errors))
            continue
        if name in kills.SCENARIOS:
            _serve_kills(name, Path(folder), scratch, seed, range(first, last))
            continue
        format_ = FORMATS[name]
        valid = cases(format_, Path(folder))
        for top, inner, original in valid:
            if told := difference(format_.ours(top / inner), original):
                raise AssertionError(f"{name}: the readers differ on the valid file {inner}: {told}")
        _say({"ready": True})
        for number in range(first, last):
            rng = random.Random(f"{seed}/{name}/{number}")
            told = try_one(format_, rng.choice(valid), rng, scratch, errors, watch)
            _say(told)


def _serve_kills(name: str, folder: Path, scratch: Path, seed: int, numbers: range) -> None:
    import_everything()
    killed = kills.Killed(name, folder.parent / KILLS / "made", scratch)
    _say({"ready": True})
    for number in numbers:
        outcome_, told = killed.kill(number, seed)
        _say({"outcome": outcome_, "told": told and f"kill {number}: {told}"})
    shutil.rmtree(killed.folder)


def import_everything() -> None:
    """Imports what the commands import, so that they start at once; nothing is computed."""
    import videos.faces
    from runs import automl, evaluate, extract, train

    assert all((automl, evaluate, extract, train, videos.faces))


def _say(what: dict[str, Any]) -> None:
    print(json.dumps(what), file=_ANSWERS, flush=True)


_ANSWERS: Any = None


def main() -> None:
    """Serves; what libraries print goes nowhere."""
    global _ANSWERS
    _ANSWERS = os.fdopen(os.dup(1), "w")
    log = os.open(Path(os.environ["CAMPAIGN_SCRATCH"]) / f"log-{os.getpid()}", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        serve(sys.stdin)
    except BaseException as error:
        _say({"broken": f"{type(error).__name__}: {error}"})
        raise


def make_valid(folder: str, names: list[str]) -> None:
    """Writes valid files of formats below a folder."""
    makers = {HOSTILE: hostile.make, **{name: format_.make for name, format_ in FORMATS.items()}}
    makers |= dict.fromkeys(kills.SCENARIOS, kills.make)
    for name in names:
        below = Path(folder) / (KILLS if name in kills.SCENARIOS else name)
        if not below.is_dir():
            below.mkdir(parents=True)
            makers[name](below)
