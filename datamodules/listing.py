"""Lists of image files that are made once: listing hundreds of thousands of files on a network disk takes minutes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress, SpinnerColumn, TextColumn

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")


def list_files(root: Path, cache: Path | None, *, recursive: bool) -> list[str]:
    """Sorted paths of the files below a folder, relative to it; a folder that has not changed is not listed again.

    Folders whose name begins with a dot are not entered, nor is one that a link leads to for a second time.

    Args:
        root: what to list.
        cache: folder of the kept listings, made where missing; None to list always.
        recursive: also list the folders below.
    """
    where = str(root.absolute())
    kept = None if cache is None else cache / f"{hashlib.sha256(where.encode()).hexdigest()[:16]}.json"
    known: dict[str, Any] = {}
    if kept is not None and kept.is_file():
        content = json.loads(kept.read_text())
        if content["folder"] == where:
            known = content["listings"]
    listings: dict[str, Any] = {}
    files: list[str] = []
    waiting, entered = [""], set[tuple[int, int]]()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as progress:
        shown = progress.add_task(f"listing {root}")
        while waiting:
            relative = waiting.pop()
            folder = root / relative
            # read before the listing: a file that comes meanwhile makes the kept listing old, never wrong
            status = folder.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            stamp, names, folders = known.get(relative, (None, [], []))
            if stamp != status.st_mtime_ns:
                names, folders = _scan(folder)
            listings[relative] = (status.st_mtime_ns, names, folders)
            prefix = f"{relative}/" if relative else ""
            files += [prefix + name for name in names]
            waiting += [prefix + name for name in folders] if recursive else []
            progress.update(shown, description=f"listing {root}: {len(files)} files")
    if kept is not None and listings != known:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({"folder": where, "listings": listings}))
        os.replace(beside, kept)
    return sorted(files)


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in a folder."""
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                names.append(entry.name)
            elif not entry.name.startswith("."):
                folders.append(entry.name)
    return names, folders
