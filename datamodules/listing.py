"""What is read of a folder once and kept: hundreds of thousands of files take minutes on a network disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from rich.progress import Progress, SpinnerColumn, TextColumn

from affect.files import whole_file

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")

Content = TypeVar("Content")


def list_images(folder: Path, cache: Path | None) -> list[str]:
    """Sorted names of the images in a folder; see ``list_files``."""
    return [name for name in list_files(folder, cache, recursive=False) if name.lower().endswith(IMAGE_SUFFIXES)]


def list_files(root: Path, cache: Path | None, *, recursive: bool) -> list[str]:
    """Sorted paths of the files below a folder, relative to it; a folder that has not changed is not listed again.

    What begins with a dot is left out: an archive that was packed on a Mac has a ``._0.jpg``, which is no image, beside
    each ``0.jpg``. A folder that a link leads to for a second time is not entered.

    Args:
        root: what to list.
        cache: folder of the kept listings, made where missing; None to list always.
        recursive: also list the folders below.
    """
    where = str(root.absolute())
    kept = None if cache is None else _kept(cache, where)
    known: dict[str, Any] = {} if kept is None else _read(kept, where).get("listings", {})
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
        _write(kept, {"folder": where, "listings": listings})
    return sorted(files)


def keep(folder: Path, cache: Path | None, what: str, read: Callable[[], Content]) -> Content:
    """What ``read`` returns of the files in a folder; a folder that has not changed is not read again.

    A folder changes when a file in it is added, removed or renamed. A file that is written over in place is not
    noticed: ``touch`` the folder then.

    Args:
        folder: what is read.
        cache: folder of what is kept, made where missing; None to read always.
        what: tells apart what is kept of the same folder.
        read: gives plain values, of which JSON keeps everything.
    """
    if cache is None:
        return read()
    where = f"{folder.absolute()}: {what}"
    kept, stamp = _kept(cache, where), folder.stat().st_mtime_ns  # before reading, as above
    found = _read(kept, where)
    if found.get("stamp") == stamp and "content" in found:
        return cast(Content, found["content"])
    content = read()
    _write(kept, {"folder": where, "stamp": stamp, "content": content})
    return content


def _kept(cache: Path, where: str) -> Path:
    return cache / f"{hashlib.sha256(where.encode()).hexdigest()[:16]}.json"


def _read(kept: Path, where: str) -> dict[str, Any]:
    """What is kept of a folder; nothing where the file is missing, damaged, or another folder's."""
    try:
        content = json.loads(kept.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("folder") == where else {}


def _write(kept: Path, content: dict[str, Any]) -> None:
    with whole_file(kept, shared=True) as beside:
        beside.write_text(json.dumps(content))


def _scan(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the files and of the folders in a folder."""
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                (folders if entry.is_dir() else names).append(entry.name)
    return names, folders
