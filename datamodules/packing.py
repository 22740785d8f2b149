"""Write packs (``datamodules.packs``); ``datamodules.unpacking`` restores what was packed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from affect.checksums import file_sha256, sealed
from affect.errors import DataError
from affect.files import LOCK, locked, reached, read_file, whole_file, write_whole
from datamodules.links import Links
from datamodules.listing import IMAGE_SUFFIXES
from datamodules.packs import HEADER, INDEX, MODE, VERSION, forget, joined, path_of, shard_name

PACKED: Final = (*IMAGE_SUFFIXES, ".npy")
"""What the names of packed files end in, in any case: pictures, and AffectNet's annotations. Others stay loose."""

SHARD_SIZE: Final = 2**30
"""Bytes of files after which the next archive begins, unless another number is asked for."""

_BLOCK: Final = 512  # of a tar archive


@dataclass(frozen=True)
class Item:
    """A file of the data: its folder below the data's, and name, bytes, time of change (ns) and permission bits."""

    folder: str
    name: str
    size: int
    mtime: int
    mode: int

    @property
    def path(self) -> str:
        """Path below the data's folder."""
        return path_of(self.folder, self.name)


def write_pack(
    source: Path, target: Path, *, shard_size: int = SHARD_SIZE, follow_outside: bool = False
) -> tuple[int, int, int]:
    """Pack a folder. Where a killed process began, the same call goes on after the last whole archive.

    Args:
        source: folder of the data, as ``data.root`` names it.
        target: where the pack goes; made where missing.
        shard_size: bytes of files after which the next archive begins.
        follow_outside: whether links that lead out of ``source`` are followed.

    Returns:
        How many files were packed, into how many archives, and how many stay loose.

    Raises:
        DataError: a folder cannot be used, the data hold no picture, or a file changes meanwhile.
        LockedError: another process writes to ``target``.
        OSError: a file cannot be read or written.
    """
    source, target = source.expanduser(), target.expanduser()
    _check_places(source, target)
    folders, packed, loose = _walk(source, Links(source, follow_outside=follow_outside))
    if not packed:
        raise DataError(f"no picture ({', '.join(IMAGE_SUFFIXES)}) in {source} or any folder below: nothing to pack.")
    target.mkdir(parents=True, exist_ok=True)
    with locked(target, "pack"):
        _check_target(target)
        header: dict[str, Any] = {"version": VERSION, "finished": False}
        write_whole(target / HEADER, json.dumps(sealed(header)) + "\n")
        for folder in folders:
            (target / folder).mkdir(exist_ok=True)
        listed = {item.path: _copy(source / item.path, target / item.path, item) for item in loose}
        shards = _shards(packed, shard_size)
        parts = [_shard(source, target, number, items)
                 for number, items in enumerate(track(shards, "packing", console=Console(stderr=True)))]  # fmt: skip
        with whole_file(target / INDEX) as beside, beside.open("wb") as file:
            np.savez(file, allow_pickle=False, **_index(folders, packed, shards, parts))
        header |= {
            "finished": True,
            "index": file_sha256(target / INDEX),
            "shards": [{"size": part["size"], "sha256": part["sha256"]} for part in parts],
            "files": listed,
        }
        write_whole(target / HEADER, json.dumps(sealed(header), indent=1) + "\n")
        for left in (*target.glob(".pack-*"), *_further(target, len(shards))):
            left.unlink()
    forget()
    return len(packed), len(shards), len(loose)


def _check_places(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise DataError(f"no such folder: {source}. Give the folder of the data, as data.root names it.")
    real, goal = source.resolve(), target.resolve()
    if goal.is_relative_to(real) or real.is_relative_to(goal):
        raise DataError(f"{target} and {source} are not apart: give an --out beside the data")
    for taken in (HEADER, INDEX, shard_name(0)):
        if (source / taken).exists():
            raise DataError(f"{source / taken} is there, so {source} is a pack: unpack it (prepare.py unpack)")


def _check_target(target: Path) -> None:
    header = target / HEADER
    if header.is_file():
        try:
            finished = json.loads(read_file(header))["finished"]
        except (ValueError, TypeError, LookupError, RecursionError):
            raise DataError(f"{header}: no header of a pack: give another --out") from None
        if finished:
            raise DataError(f"{target} is a finished pack: give another --out, or delete it first")
    elif any(path.name != LOCK and not path.name.startswith(f".{HEADER}") for path in target.iterdir()):
        raise DataError(f"{target} holds something else: give another --out")


def _walk(source: Path, links: Links) -> tuple[list[str], list[Item], list[Item]]:
    """Return the folders and, sorted as the index has them, the files to pack and those that stay loose."""
    folders: list[str] = []
    packed: list[Item] = []
    loose: list[Item] = []
    entered: dict[tuple[int, int], str] = {}
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        status = (source / folder).stat()
        if (first := entered.setdefault((status.st_dev, status.st_ino), folder)) != folder:
            raise DataError(
                f"{source / folder} leads to the same folder as {source / first}: a pack has each folder once. Remove "
                "one of the two."
            )
        folders.append(folder)
        with os.scandir(source / folder) as entries:
            for entry in entries:
                path = path_of(folder, entry.name)
                if entry.is_symlink():
                    _check_link(links, source / path)
                if entry.is_dir():
                    waiting.append(path)
                elif path != LOCK:
                    item = _item(entry, folder)
                    (packed if entry.name.lower().endswith(PACKED) else loose).append(item)
    for items in (packed, loose):
        items.sort(key=lambda item: (os.fsencode(item.folder), os.fsencode(item.name)))
    return sorted(folders, key=os.fsencode), packed, loose


def _check_link(links: Links, path: Path) -> None:
    try:
        links.check_files(path.parent, [path.name])
    except DataError:
        raise DataError(
            f"{path} is a link that leads out of the data's folder. Give --follow-outside to pack what it leads to, or "
            "remove it."
        ) from None


def _item(entry: os.DirEntry[str], folder: str) -> Item:
    try:
        if not entry.is_file():
            raise OSError("it is no regular file, or a link to nothing")
        status = entry.stat()
    except OSError as error:
        raise DataError(f"{entry.path}: {error.strerror or error}. Remove it, and pack again.") from error
    return Item(folder, entry.name, status.st_size, status.st_mtime_ns, status.st_mode & MODE)


def _shards(items: Sequence[Item], shard_size: int) -> list[list[Item]]:
    shards: list[list[Item]] = []
    size = shard_size
    for item in items:
        if size >= shard_size:
            shards.append([])
            size = 0
        shards[-1].append(item)
        size += item.size
    return shards


def _shard(source: Path, target: Path, number: int, items: Sequence[Item]) -> dict[str, Any]:
    """Write an archive unless a killed process finished it; return its size, SHA-256 and the files' places."""
    path, note = target / shard_name(number), target / f".{shard_name(number)}.json"
    plan = hashlib.sha256(repr(items).encode("utf-8", "surrogateescape")).hexdigest()
    try:
        part: dict[str, Any] = json.loads(read_file(note))
        if part["plan"] == plan and path.stat().st_size == part["size"]:
            return part
    except (OSError, ValueError, TypeError, LookupError):  # none, or not whole
        pass
    with whole_file(path) as beside, beside.open("wb") as file:
        part = {"plan": plan, **_write_tar(file, source, items)}
    reached("pack.shard", path)
    write_whole(note, json.dumps(part))
    return part


def _write_tar(file: BinaryIO, source: Path, items: Sequence[Item]) -> dict[str, Any]:
    whole, offsets, checksums, at = hashlib.sha256(), [], [], 0

    def write(data: bytes) -> None:
        nonlocal at
        file.write(data)
        whole.update(data)
        at += len(data)

    for item in items:
        data = read_file(source / item.path)
        _check_size(source / item.path, len(data), item)
        entry = tarfile.TarInfo(item.path)
        entry.size, entry.mtime, entry.mode = len(data), max(0, item.mtime // 10**9), item.mode
        write(entry.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
        offsets.append(at)
        checksums.append(zlib.crc32(data))
        write(data + bytes(-len(data) % _BLOCK))
    write(bytes(2 * _BLOCK))  # ends an archive
    return {"size": at, "sha256": whole.hexdigest(), "offset": offsets, "crc": checksums}


def _check_size(path: Path, size: int, item: Item) -> None:
    if size != item.size:
        raise DataError(f"{path} changed while it was packed. Pack again when nothing writes to the folder.")


def _index(
    folders: Sequence[str], items: Sequence[Item], shards: Sequence[Sequence[Item]], parts: Sequence[dict[str, Any]]
) -> dict[str, npt.NDArray[Any]]:
    number = {folder: code for code, folder in enumerate(folders)}
    counts = np.bincount([number[item.folder] for item in items], minlength=len(folders))
    return {
        "folders": joined(list(folders), b"\0"),
        "first": np.array([0, *np.cumsum(counts)], dtype="<i8"),
        "names": joined([item.name for item in items]),
        "ends": np.cumsum([len(os.fsencode(item.name)) for item in items]).astype("<i8"),
        "shard": np.repeat(np.arange(len(shards), dtype="<i4"), list(map(len, shards))),
        "offset": np.array([offset for part in parts for offset in part["offset"]], dtype="<i8"),
        "size": np.array([item.size for item in items], dtype="<i8"),
        "crc": np.array([crc for part in parts for crc in part["crc"]], dtype="<u4"),
        "mtime": np.array([item.mtime for item in items], dtype="<i8"),
        "mode": np.array([item.mode for item in items], dtype="<i4"),
    }


def _copy(source: Path, target: Path, item: Item) -> dict[str, Any]:
    """Copy a loose file; return what the header says of it."""
    with whole_file(target) as beside:
        beside.unlink(missing_ok=True)  # what a killed process left may be read-only
        shutil.copyfile(source, beside)
        shutil.copystat(source, beside)
        _check_size(source, beside.stat().st_size, item)
        digest = file_sha256(beside)
    return {"sha256": digest, "mtime": item.mtime, "mode": item.mode}


def _further(target: Path, shards: int) -> list[Path]:
    """Return archives of an earlier call with other arguments, beyond the last."""
    known = set(map(shard_name, range(shards)))
    return [path for path in target.glob("pack-*.tar") if path.name not in known]
