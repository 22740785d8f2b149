"""The feature store: a frozen network's features of every frame of every video, on disk and memory-mapped.

Layout, below one folder::

    store.json                         what made it: ``StoreInfo``
    <video>/part-00000/frame.npy       (n,) int32 frame numbers
    <video>/part-00000/embedding.npy   (n, E) float16 or float32
    <video>/part-00000/outputs.npy     (n, O) float32, the network's own scores
    <video>/part-00000/sha256.txt      checksums of these files, as the program sha256sum writes them

A file is checked when a process opens it for the first time; the cache remembers good files by size and time. A part is
written beside its name and renamed when it is complete, so that a kill costs at most the video that was being written.
Further frames that a later list asks for go into a further part; nothing is overwritten.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import Progress

from affect.cache import read_kept, write_kept
from affect.errors import DataError
from affect.files import locked
from affect.frames import IntArray, rows_by_video
from features.store_files import (
    ARRAYS,
    INFO,
    WRITING,
    FloatArray,
    StoreInfo,
    check_array,
    open_array,
    read_checksums,
)


class Features(NamedTuple):
    """Features of n frames."""

    embedding: FloatArray  # (n, E)
    outputs: FloatArray  # (n, O)


class Places(NamedTuple):
    """The places of N rows' features: part (N,), −1 where there are none, and position in it (N,)."""

    part: IntArray
    position: IntArray

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(N,) true where there are features."""
        return self.part >= 0


class FeatureStore:
    """Reads a store.

    Args:
        root: folder of the store.
        cache: folder in which it is remembered what was checked, made where missing; None: no cache.

    Attributes:
        info: what made it.

    Raises:
        DataError: there is none, or a part of it is damaged.
    """

    def __init__(self, root: str | Path, cache: Path | None = None) -> None:
        self.root, self.cache = Path(root).expanduser(), cache
        self.info = StoreInfo.read(self.root)
        self._maps: dict[tuple[int, str], npt.NDArray[Any]] = {}
        self._checked: set[Path] = set()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_maps": {}}  # loader processes map the files themselves, and check none again

    @cached_property
    def parts(self) -> list[Path]:
        """Folders of the complete parts, sorted by video and number."""
        return sorted(part for part in self.root.glob("*/part-*") if part.is_dir())

    @cached_property
    def _of_video(self) -> dict[str, list[int]]:
        """Numbers of the parts of each video."""
        numbers: dict[str, list[int]] = {}
        for number, part in enumerate(self.parts):
            numbers.setdefault(part.parent.name, []).append(number)
        return numbers

    def check(self, videos: Sequence[str]) -> None:
        """Check all files of these videos now: training should neither wait nor fail when they are first read.

        Raises:
            DataError: a file has other content than was written, or a value that is not finite.
        """
        numbers = [number for video in dict.fromkeys(videos) for number in self._of_video.get(video, [])]
        where = f"{self.root.absolute()}: checked"
        known: dict[str, Any] = read_kept(self.cache, where) or {}
        found: dict[str, Any] = {}
        with _progress() as progress:
            for number in progress.track(numbers, description=f"checking {self.root}"):
                sums = read_checksums(self.parts[number]) or {}
                for name in ARRAYS:
                    path = self.parts[number] / f"{name}.npy"
                    if path in self._checked or not path.is_file():  # reading will say what is missing
                        continue
                    status, key = path.stat(), str(path.relative_to(self.root))
                    found[key] = [status.st_size, status.st_mtime_ns, sums.get(name)]
                    if known.get(key) != found[key]:
                        check_array(self.parts[number], name, self.info, sums.get(name))
                    self._checked.add(path)
        if not found.items() <= known.items():
            write_kept(self.cache, where, {**known, **found})

    def frames_of(self, video: str) -> npt.NDArray[np.int32]:
        """Return the frame numbers of a video that are in the store, in the order in which they were written."""
        known = [self._array(number, "frame") for number in self._of_video.get(video, [])]
        return np.concatenate([np.zeros(0, dtype=np.int32), *known])

    def find(self, videos: Sequence[str], frames: IntArray) -> Places:
        """Look up where the features of rows are.

        Args:
            videos: name of the video of each of N rows.
            frames: (N,) frame numbers.
        """
        part, position = np.full(len(frames), -1, dtype=np.int64), np.zeros(len(frames), dtype=np.int64)
        for video, rows in rows_by_video(videos).items():
            for number in self._of_video.get(video, []):
                known = self._array(number, "frame")
                order = np.argsort(known, kind="stable")
                at = np.searchsorted(known, frames[rows], sorter=order).clip(max=len(known) - 1)
                here = known[order[at]] == frames[rows]
                part[rows[here]], position[rows[here]] = number, order[at][here]
        return Places(part, position)

    def read(self, places: Places) -> Features:
        """Read the features of N rows as float32; all of them must be in the store.

        Rows of the same part are read together, in the order of the disk.
        """
        return Features(self.read_embeddings(places), self.read_outputs(places))

    def read_embeddings(self, places: Places) -> FloatArray:
        """Read the embeddings of N rows (N, E) without touching the network's own scores."""
        return self._read(places, "embedding", self.info.embedding)

    def read_outputs(self, places: Places) -> FloatArray:
        """Read the network's own scores of N rows (N, O) without touching embeddings."""
        return self._read(places, "outputs", len(self.info.outputs))

    def _read(self, places: Places, name: str, columns: int) -> FloatArray:
        values = np.empty((len(places.part), columns), dtype=np.float32)
        for number in np.unique(places.part):
            rows = np.flatnonzero(places.part == number)
            at = places.position[rows]
            rows, at = rows[order := np.argsort(at, kind="stable")], at[order]
            # neighbours on the disk are copied at once, several times faster than picking rows
            wanted: Any = slice(at[0], at[-1] + 1) if at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all() else at
            values[rows] = self._array(int(number), name)[wanted]
        return values

    def _array(self, number: int, name: str) -> npt.NDArray[Any]:
        key = number, name
        if key not in self._maps:
            part = self.parts[number]
            if (path := part / f"{name}.npy") not in self._checked:
                check_array(part, name, self.info, (read_checksums(part) or {}).get(name))
                self._checked.add(path)
            self._maps[key] = open_array(part, name, self.info)
        return self._maps[key]


def open_store(root: Path, info: StoreInfo, cache: Path | None = None) -> FeatureStore:
    """Make a store, or open one that the same network made, to add to it.

    Raises:
        DataError: the folder holds a store of another network, or something else.
    """
    if (root / INFO).is_file():
        found = StoreInfo.read(root)
        # the weights may lie elsewhere now, and earlier versions did not write where
        named = [f.name for f in fields(StoreInfo) if f.name != "made_by"]
        differ = [name for name in named if getattr(found, name) != getattr(info, name)]
        if differ:
            each = "; ".join(f"{name} is {getattr(found, name)}, not {getattr(info, name)}" for name in differ)
            raise DataError(f"{root} is a store of other features: {each}. Give another store=…")
    else:
        _check_folder(root)
        root.mkdir(parents=True, exist_ok=True)
        info.write(root)
    return FeatureStore(root, cache)


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Keep a second extraction out of a store during the block, and delete what killed ones left at the end.

    Args:
        root: folder of the store, which need not exist yet.

    Raises:
        LockedError: another process writes to the store.
        DataError: something else is there.
    """
    _check_folder(root)
    root.mkdir(parents=True, exist_ok=True)
    try:
        with locked(root, "feature store"):
            yield
            for left in (*root.glob(f"*/{WRITING}"), *root.glob(f".{INFO}.*")):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
                with suppress(OSError):  # the folder of a video without any other part
                    left.parent.rmdir()
    finally:
        with suppress(OSError):  # usually it is not empty
            root.rmdir()


def _check_folder(root: Path) -> None:
    """Refuse a place that holds something other than a store."""
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is a file, not a folder. Give another store=…")
    # names with a dot are what another rank has begun
    if root.is_dir() and not (root / INFO).is_file() and any(not path.name.startswith(".") for path in root.iterdir()):
        raise DataError(f"{root} is not empty and has no {INFO}, so it is no feature store. Give another store=…")


def problems(root: Path) -> tuple[int, list[str]]:
    """Check every file of a store, whatever the cache remembers.

    Args:
        root: folder of the store.

    Returns:
        Number of parts, and a message for each thing that is wrong.

    Raises:
        DataError: there is no store, or its description is damaged.
    """
    store, found = FeatureStore(root), list[str]()
    with _progress() as progress:
        for part in progress.track(store.parts, description=f"checking {root}"):
            try:
                sums = read_checksums(part) or {}
                for name in ARRAYS:
                    check_array(part, name, store.info, sums.get(name))
            except DataError as error:  # one per part is enough, as the part must be deleted
                found.append(str(error))
    return len(store.parts), found


def _progress() -> Progress:
    """Return a progress bar for people, gone at the end."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)


def share(sizes: Sequence[int], world_size: int) -> list[list[int]]:
    """Give whole videos to processes: the largest first, to the process that has least.

    Args:
        sizes: frames of each video.
        world_size: number of processes.

    Returns:
        Numbers of the videos of each process, ascending.
    """
    loads, mine = [0] * world_size, [list[int]() for _ in range(world_size)]
    for video in sorted(range(len(sizes)), key=lambda video: -sizes[video]):
        rank = loads.index(min(loads))
        loads[rank] += sizes[video]
        mine[rank].append(video)
    return [sorted(videos) for videos in mine]
