"""Check packs (``datamodules.packs``), and restore the data that were packed, to the byte."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import track

from affect.checksums import file_sha256
from affect.errors import DataError
from affect.files import LOCK, locked, put_in_place, reached
from datamodules.links import Links
from datamodules.packs import HEADER, INDEX, MODE, Pack, PackError, is_below, shard_name

_BACK: Final = "put the former file back, or pack the data again"


def check_pack(folder: Path) -> tuple[Pack, list[str]]:
    """Compare every file of a pack with its checksum.

    Returns:
        The pack, and a line for each file that is not as it was.

    Raises:
        PackError: the pack cannot be read at all.
    """
    pack = _pack(folder)
    wrong = []
    for number, shard in enumerate(track(pack.header["shards"], "checking", console=Console(stderr=True))):
        if file_sha256(pack.root / shard_name(number)) != shard["sha256"]:
            wrong.append(f"{pack.root / shard_name(number)}: not as it was written")
    links = Links(pack.root, follow_outside=False)
    for path, facts in pack.header["files"].items():
        try:
            _check_loose(pack, path, facts, links)
        except DataError as error:
            wrong.append(str(error))
    return pack, wrong


def unpack(folder: Path, target: Path) -> tuple[int, list[str]]:
    """Restore the data of a pack: folders, the bytes of every file, its time of change and its permissions.

    Files come beside ``target``, which appears when all are there. A killed call is gone on with: what it wrote is kept
    where the bytes are right. Permissions are those for reading, writing and running; folders get new ones.

    Args:
        folder: of the pack.
        target: where the data go; missing or empty.

    Returns:
        How many files were restored, and the files that came into the pack later, which are left out.

    Raises:
        DataError: the pack is damaged, or ``target`` cannot be used.
        LockedError: another process restores to the same place.
        OSError: a file cannot be written.
    """
    pack, target = _pack(folder), target.expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} is there already: give another --out")
    if target.resolve().is_relative_to(pack.root.resolve()):
        raise DataError(f"{target} is in the pack: give an --out beside it")
    loose: Mapping[str, Any] = pack.header["files"]
    own = {HEADER, INDEX, *map(shard_name, range(len(pack.header["shards"])))}
    later = sorted(path for path in _loose_files(pack.root) if path not in own and path not in loose)
    beside = target.with_name(f".{target.name}.unpacking")
    beside.mkdir(parents=True, exist_ok=True)
    links = Links(pack.root, follow_outside=False)
    total = len(pack.index["ends"])
    with locked(beside, "folder"):
        for name in pack.folders:
            (beside / name).mkdir(exist_ok=True)
        for path, facts in loose.items():
            _check_loose(pack, path, facts, links)
            (beside / path).unlink(missing_ok=True)  # what a killed call left may be read-only
            shutil.copyfile(pack.root / path, beside / path)
            _finish(beside / path, int(facts["mtime"]), int(facts["mode"]))
        for row in track(pack.rows(), "unpacking", total=total, console=Console(stderr=True)):
            _write(beside / row.path, pack.read(row.row))
            _finish(beside / row.path, int(pack.index["mtime"][row.row]), int(pack.index["mode"][row.row]))
        reached("unpack.written", target)
    put_in_place(beside, target)
    return total + len(loose), later


def _pack(folder: Path) -> Pack:
    folder = folder.expanduser()
    if not (folder / HEADER).is_file():
        raise DataError(f"{folder} is no pack: there is no {HEADER} in it")
    return Pack(folder)


def _check_loose(pack: Pack, path: str, facts: Mapping[str, Any], links: Links) -> None:
    """Raise PackError unless a loose file lies in the pack, as it was packed."""
    file = pack.root / path
    if not is_below(path):
        raise PackError(f"{pack.root / HEADER}: {path!r} leads out of the pack: do not use it")
    links.check(file)
    try:
        if not file.is_file():
            raise OSError("there is no such file")
        digest = file_sha256(file)
    except OSError as error:
        raise PackError(f"{file}: cannot be read ({error.strerror or error}); {_BACK}") from error
    if digest != facts["sha256"]:
        raise PackError(f"{file}: not as it was packed; {_BACK}")


def _loose_files(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
            if path != LOCK:
                yield path


def _write(path: Path, data: bytes) -> None:
    """Write a file unless it is there with these bytes."""
    if not (path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data):
        path.unlink(missing_ok=True)
        path.write_bytes(data)


def _finish(path: Path, mtime: int, mode: int) -> None:
    path.chmod(mode & MODE)
    os.utime(path, ns=(mtime, mtime))
