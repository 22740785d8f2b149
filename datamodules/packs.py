"""Read packs, in which the small files of a data folder lie in a few large ones; ``datamodules.packing`` writes them.

A pack has the folders of the data and their label files as they were. The pictures of all folders lie one after another
in ``pack-00000.tar``, ``pack-00001.tar``, …, plain archives that ``tar`` can read; ``pack.npz`` says where each lies,
and ``pack.json`` what the whole consists of. ``datamodules.listing`` adds the packed names to those of a folder, and
``read_file`` here takes a packed file's bytes from the archive, so no data module knows of packs.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from affect import files
from affect.checksums import CHECKSUM, file_sha256, unsealed
from affect.errors import DataError, UserError

HEADER: Final = "pack.json"
INDEX: Final = "pack.npz"
VERSION: Final = 1

MODE: Final = 0o777
"""The bits of a file's mode that a pack keeps."""

_SHAPES: Final = {"folders": "u1", "first": "<i8", "names": "u1", "ends": "<i8", "shard": "<i4", "offset": "<i8",
                  "size": "<i8", "crc": "<u4", "mtime": "<i8", "mode": "<i4"}  # fmt: skip
_AGAIN: Final = "Copy the pack again from where it came from, or pack the data again (prepare.py pack)."


class PackError(DataError):
    """A pack that cannot be used; never taken for one unreadable picture, which may be skipped."""


class Row(NamedTuple):
    """A packed file.

    Attributes:
        folder: its folder below the pack; empty for the pack's own.
        name: its name there.
        row: its row of the index.
    """

    folder: str
    name: str
    row: int

    @property
    def path(self) -> str:
        """Path below the pack."""
        return path_of(self.folder, self.name)


def path_of(folder: str, name: str) -> str:
    """Return the path of a name in a folder, which is empty for the uppermost one."""
    return f"{folder}/{name}" if folder else name


def shard_name(number: int) -> str:
    """Return the name of an archive of a pack."""
    return f"pack-{number:05d}.tar"


def joined(names: list[str], between: bytes = b"") -> npt.NDArray[np.uint8]:
    """Return names as the bytes that the disk has for them."""
    return np.frombuffer(between.join(map(os.fsencode, names)), dtype=np.uint8)


class Pack:
    """An open pack. Archives are read at given places, so threads and forked loader processes may share it.

    Args:
        root: the pack's folder.

    Attributes:
        header: what ``pack.json`` says: version, archives, loose files, checksum of the index.
        index: arrays of the index, (N,) by packed file but for ``folders``, ``first`` (F + 1,) and ``names``.
        folders: number of each folder, by its path below the pack.

    Raises:
        PackError: it is of another version, unfinished or damaged, or an archive is missing or of another size.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.header = _read_header(root / HEADER)
        for number, shard in enumerate(self.header["shards"]):
            _check_shard(root / shard_name(number), int(shard["size"]))
        self.index = self._read_index(root / INDEX)
        folders = os.fsdecode(self.index["folders"].tobytes()).split("\0")
        self.folders = {folder: number for number, folder in enumerate(folders)}
        if (lost := next((one for one in folders if not (root / one).is_dir()), None)) is not None:
            raise PackError(
                f"{root / lost}: no such folder, but the pack has it; some copying leaves out folders without files. "
                f"{_AGAIN}"
            )
        self._names = self.index["names"].tobytes()
        self._open: dict[int, int] = {}

    @property
    def stamp(self) -> str:
        """Changes with whatever the pack holds."""
        return str(self.header["index"])[:16]

    def names(self, folder: str) -> list[str]:
        """Return the names of the packed files in a folder, sorted by their bytes; none in other folders."""
        return [os.fsdecode(self._name(row)) for row in range(*self._span(folder))]

    def find(self, folder: str, name: str) -> int | None:
        """Return the row of a packed file, or None where there is no such file."""
        low, end = self._span(folder)
        high, wanted = end, os.fsencode(name)
        while low < high:  # names of a folder are sorted
            middle = (low + high) // 2
            if self._name(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < end and self._name(low) == wanted else None

    def read(self, row: int, most: int | None = None) -> bytes:
        """Return the bytes of a packed file, compared with their checksum.

        Args:
            row: its row of the index.
            most: bytes that it may have; None: any number.

        Raises:
            OSError: it has more.
            PackError: the archive cannot be read, or the bytes are not those that were packed.
        """
        shard, offset, size = (int(self.index[key][row]) for key in ("shard", "offset", "size"))
        if most is not None and size > most:
            raise OSError(f"it has {size} bytes, more than the {most} that are read at most")
        path = self.root / shard_name(shard)
        try:
            if shard not in self._open:
                self._open[shard] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            data = os.pread(self._open[shard], size, offset)
        except OSError as error:
            raise PackError(f"{path}: cannot be read ({error.strerror}). {_AGAIN}") from error
        if zlib.crc32(data) != self.index["crc"][row]:
            raise PackError(
                f"{path}: {os.fsdecode(self._name(row))}, at byte {offset}, is not as it was packed: the archive is "
                f"damaged. {_AGAIN}"
            )
        return data

    def rows(self) -> Iterator[Row]:
        """Yield every packed file, in the order of the index."""
        for folder in self.folders:
            for row in range(*self._span(folder)):
                yield Row(folder, os.fsdecode(self._name(row)), row)

    def close(self) -> None:
        """Close the archives."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _span(self, folder: str) -> tuple[int, int]:
        number = self.folders.get(folder)
        return (0, 0) if number is None else (int(self.index["first"][number]), int(self.index["first"][number + 1]))

    def _name(self, row: int) -> bytes:
        ends = self.index["ends"]
        return self._names[ends[row - 1] if row else 0 : ends[row]]

    def _read_index(self, path: Path) -> dict[str, npt.NDArray[Any]]:
        """Read and check the index, so that nothing in it leads out of the pack or beyond an archive's end."""
        try:
            content = files.read_file(path)
            if file_sha256(path) != self.header["index"]:
                raise PackError(f"{path}: damaged, or of another pack than {HEADER} beside it. {_AGAIN}")
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                index = {key: stored[key] for key in _SHAPES}
            _check_index(index, [int(shard["size"]) for shard in self.header["shards"]])
        except PackError:
            raise
        except Exception as error:  # damaged files fail in the ways of numpy, zipfile and tokenize
            raise PackError(f"{path}: no index of a pack ({error}). {_AGAIN}") from error
        return index


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(files.read_file(path))
        version = header["version"]
        if version != VERSION:
            raise PackError(
                f"{path}: a pack of version {version!r}, this is for {VERSION}. Pack the data again, or read it "
                "with the version of this repository that packed it."
            )
        if CHECKSUM not in header:
            raise PackError(f"{path}: has no {CHECKSUM}, so it is no header of a pack. {_AGAIN}")
        header = unsealed(header, path, "a pack")
        if not header["finished"]:
            raise PackError(f"{path.parent}: packing was not finished. Give prepare.py pack the same arguments again.")
        if not all(shard["size"] >= 0 for shard in header["shards"]) or not isinstance(header["files"], Mapping):
            raise ValueError("its entries are not those of a pack")
    except PackError:
        raise
    except (OSError, UserError, ValueError, TypeError, LookupError, RecursionError) as error:
        told = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ")
        raise PackError(f"{path}: no header of a pack ({told}). {_AGAIN}") from error
    return dict(header)


def _check_shard(path: Path, size: int) -> None:
    if path.is_symlink():
        raise PackError(f"{path} is a link, and packs are read from their own folder only. Put the archive there.")
    if not path.is_file():
        raise PackError(f"{path}: no such file, but {HEADER} beside it lists it. {_AGAIN}")
    if (there := path.stat().st_size) != size:
        raise PackError(f"{path}: {there} bytes, but {HEADER} beside it says {size}. {_AGAIN}")


def _check_index(index: dict[str, npt.NDArray[Any]], sizes: list[int]) -> None:
    """Raise ValueError where arrays do not fit each other or the archives, or a name leads out of its folder."""
    for key, kind in _SHAPES.items():
        if index[key].ndim != 1 or index[key].dtype != np.dtype(kind):
            raise ValueError(f"{key} is {index[key].dtype} of shape {index[key].shape}")
    rows = len(index["ends"])
    ends, names = index["ends"], index["names"]
    if any(len(index[key]) != rows for key in ("shard", "offset", "size", "crc", "mtime", "mode")):
        raise ValueError("its columns are not of one length")
    lengths = np.diff(ends, prepend=0)
    if (lengths <= 0).any() or (ends[-1] if rows else 0) != len(names):
        raise ValueError("names do not fit their ends")
    if np.isin(names, (0, ord("/"))).any():
        raise ValueError("a name leads out of its folder")
    content = names.tobytes()
    short = np.flatnonzero(lengths <= 2)
    if {content[ends[row] - lengths[row] : ends[row]] for row in short} & {b".", b".."}:
        raise ValueError("a name leads out of its folder")
    folders = index["folders"].tobytes().split(b"\0")
    if len(set(folders)) < len(folders) or folders[0] or not all(map(is_below, map(os.fsdecode, folders[1:]))):
        raise ValueError("a folder is there twice, or leads out of the pack")
    first = index["first"]
    if len(first) != len(folders) + 1 or first[0] or first[-1] != rows or (np.diff(first) < 0).any():
        raise ValueError("folders do not fit their files")
    shard, offset, size = index["shard"], index["offset"], index["size"]
    if rows and (shard.min() < 0 or shard.max() >= len(sizes) or offset.min() < 0 or size.min() < 0):
        raise ValueError("a file lies in no archive")
    if (offset > np.array(sizes, dtype=np.int64)[shard] - size).any():
        raise ValueError("a file lies beyond its archive's end")


def is_below(path: str) -> bool:
    """Return whether a relative path, spelt without detours, stays below the folder that it is relative to."""
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def pack_of(folder: Path) -> tuple[Pack, str] | None:
    """Return the pack that a folder belongs to, and the folder's path below it; None where it is in no pack.

    Looked up once per process: ``forget`` begins anew.

    Raises:
        PackError: the pack cannot be used.
    """
    return _pack_of(os.fspath(folder))


def read_file(path: Path, most: int | None = None) -> bytes:
    """Read a file as ``affect.files.read_file`` does, from its pack where its folder is in one that has it.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger than ``most``.
        PackError: the pack cannot be used, or the bytes are not those that were packed.
    """
    folder, name = os.path.split(path)
    found = _pack_of(folder)
    if found is not None and (row := found[0].find(found[1], name)) is not None:
        return found[0].read(row, most)
    return files.read_file(path, most)


def forget() -> None:
    """Look for packs anew, because one was written."""
    for known in (_pack_of, _root_of, _opened):
        known.cache_clear()


@cache
def _pack_of(folder: str) -> tuple[Pack, str] | None:
    real = os.path.realpath(folder)  # a link may lead into a pack, or out of it
    root = _root_of(real)
    if root is None:
        return None
    below = os.path.relpath(real, root)
    return _opened(root), "" if below == "." else below.replace(os.sep, "/")


@cache
def _root_of(folder: str) -> str | None:
    if os.path.isfile(os.path.join(folder, HEADER)):
        return folder
    parent = os.path.dirname(folder)
    return None if parent == folder else _root_of(parent)


@cache
def _opened(root: str) -> Pack:
    return Pack(Path(root))
