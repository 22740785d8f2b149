"""The feature store: what a frozen network says of every frame of every video, on disk and memory-mapped.

Layout, below one folder::

    store.json                         what made it: ``StoreInfo``
    <video>/part-00000/frame.npy       (n,) int32 frame numbers
    <video>/part-00000/embedding.npy   (n, E) float16 or float32
    <video>/part-00000/outputs.npy     (n, O) float32, the network's own scores

A part is written beside its name and renamed when it is complete, so that a kill costs at most the video that was being
written. Frames that a later list asks for besides go into a further part; nothing is written over.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from datamodules.labels import DataError

Dtype = Literal["float16", "float32"]
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

SCHEMA_VERSION: Final = 1
INFO: Final = "store.json"
_ARRAYS: Final = ("frame", "embedding", "outputs")


class StoreError(DataError):
    """A feature store that cannot be used; the message names the folder and the mend."""


@dataclass(frozen=True)
class StoreInfo:
    """What all features of a store have in common.

    Attributes:
        network: name of what made them, for people.
        sha256: of that network's weights: heads learnt on one network's features do not fit another's.
        embedding: length E of an embedding.
        outputs: names of the network's O own scores, in order; none where it has no classifier.
        images: name of the image folder below the data's root; crops and aligned crops give other features.
        image_size: side of the square input in pixels.
        dtype: of the embeddings on disk.
        schema_version: of this layout.
    """

    network: str
    sha256: str
    embedding: int
    outputs: tuple[str, ...]
    images: str
    image_size: int
    dtype: Dtype = "float16"
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def read(cls, root: Path) -> StoreInfo:
        """Read ``store.json``.

        Raises:
            StoreError: no store, or one of another version.
        """
        path = root / INFO
        if not path.is_file():
            raise StoreError(f"{path}: no such file, so {root} is no feature store; make one with predict.py store=…")
        try:
            content = json.loads(path.read_text())
            if content["schema_version"] != SCHEMA_VERSION:
                raise StoreError(
                    f"{path}: schema version {content['schema_version']}, this code reads {SCHEMA_VERSION}; make the "
                    "store again with predict.py"
                )
            return cls(**{**content, "outputs": tuple(content["outputs"])})
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"{path}: not the description of a feature store ({error}); make it again") from error


class Features(NamedTuple):
    """Features of n frames."""

    embedding: FloatArray  # (n, E)
    outputs: FloatArray  # (n, O)


class Places(NamedTuple):
    """Where the features of N rows stand: part (N,), −1 where there are none, and position in it (N,)."""

    part: IntArray
    position: IntArray

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(N,) true where there are features."""
        found: npt.NDArray[np.bool_] = self.part >= 0
        return found


class FeatureStore:
    """Reads a store.

    Args:
        root: its folder.

    Attributes:
        info: what made it.

    Raises:
        StoreError: there is none, or a part of it is damaged.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self.info = StoreInfo.read(self.root)
        self._maps: dict[tuple[int, str], npt.NDArray[Any]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "info": self.info, "_maps": {}}  # loader processes map the files themselves

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

    def frames_of(self, video: str) -> npt.NDArray[np.int32]:
        """Frame numbers of a video that are there, in the order in which they were written."""
        known = [self._array(number, "frame") for number in self._of_video.get(video, [])]
        return np.concatenate([np.zeros(0, dtype=np.int32), *known])

    def find(self, videos: Sequence[str], frames: IntArray) -> Places:
        """Look rows up.

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
        """The features of N rows as float32, all of which must be there.

        Rows of the same part are read together, in the order of the disk.
        """
        return Features(self._read(places, "embedding", self.info.embedding), self.read_outputs(places))

    def read_outputs(self, places: Places) -> FloatArray:
        """The network's own scores of N rows (N, O); embeddings are not touched."""
        return self._read(places, "outputs", len(self.info.outputs))

    def _read(self, places: Places, name: str, columns: int) -> FloatArray:
        values = np.empty((len(places.part), columns), dtype=np.float32)
        for number in np.unique(places.part):
            rows = np.flatnonzero(places.part == number)
            at = places.position[rows]
            rows, at = rows[order := np.argsort(at, kind="stable")], at[order]
            # neighbours on the disk are one copy, which is several times faster than picking rows
            wanted: Any = slice(at[0], at[-1] + 1) if at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all() else at
            values[rows] = self._array(int(number), name)[wanted]
        return values

    def _array(self, number: int, name: str) -> npt.NDArray[Any]:
        key = number, name
        if key not in self._maps:
            path = self.parts[number] / f"{name}.npy"
            try:
                # an empty array cannot be mapped
                self._maps[key] = np.load(path, mmap_mode="r" if os.path.getsize(path) > 4096 else None)
            except (OSError, ValueError, EOFError) as error:
                raise StoreError(
                    f"{path}: cannot be read ({error}); delete {self.parts[number]} and run predict.py again"
                ) from error
        return self._maps[key]


def rows_by_video(videos: Sequence[str]) -> dict[str, IntArray]:
    """Rows of each video, in order of its first row."""
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(video, len(numbers)) for video in videos), np.int64, len(videos))
    order = np.argsort(codes, kind="stable")
    ends = np.bincount(codes, minlength=len(numbers)).cumsum()
    return dict(zip(numbers, np.split(order, ends[:-1]), strict=True)) if numbers else {}


def open_store(root: Path, info: StoreInfo) -> FeatureStore:
    """Make a store, or open one that the same network has made, to add to it.

    Raises:
        StoreError: the folder holds a store of another network, or something else.
    """
    if (root / INFO).is_file():
        found = StoreInfo.read(root)
        differ = [f.name for f in fields(StoreInfo) if getattr(found, f.name) != getattr(info, f.name)]
        if differ:
            each = "; ".join(f"{name} is {getattr(found, name)}, not {getattr(info, name)}" for name in differ)
            raise StoreError(f"{root} is a store of other features: {each}. Give another store=…")
    elif root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):  # another rank's beginning
        raise StoreError(f"{root} is not empty and has no {INFO}, so it is no feature store. Give another store=…")
    else:
        root.mkdir(parents=True, exist_ok=True)
        beside = root / f".{INFO}.{os.getpid()}"
        beside.write_text(json.dumps(asdict(info), indent=2) + "\n")
        os.replace(beside, root / INFO)
    return FeatureStore(root)


class PartWriter:
    """Writes one part of a video, batch after batch; memory does not grow with the video.

    Args:
        root: of the store.
        video: name of the video, which becomes a folder.
        info: of the store.
    """

    def __init__(self, root: Path, video: str, info: StoreInfo) -> None:
        self.folder, self.info = root / video, info
        self.beside = self.folder / ".writing"
        shutil.rmtree(self.beside, ignore_errors=True)  # of a run that was killed
        self.beside.mkdir(parents=True)
        self.count = 0
        self._files: dict[str, BinaryIO] = {}
        for name in _ARRAYS:
            self._files[name] = (self.beside / f"{name}.npy").open("wb")
            self._header(name)

    def add(self, frame: npt.NDArray[np.integer[Any]], embedding: FloatArray, outputs: FloatArray) -> None:
        """Add n frames: (n,) numbers, (n, E) and (n, O).

        Raises:
            StoreError: a value is not finite, in the store's precision.
        """
        for name, values in zip(_ARRAYS, (frame, embedding, outputs), strict=True):
            with np.errstate(over="ignore"):  # found below
                stored = np.ascontiguousarray(values, dtype=self._dtype(name))
            if not np.isfinite(stored).all():
                raise StoreError(
                    f"{self.folder}: {name} of a frame is not finite in {stored.dtype}; give dtype=float32, or a "
                    "network that has not diverged"
                )
            self._files[name].write(stored.tobytes())
        self.count += len(frame)

    def finish(self) -> None:
        """Complete the part: it is there, or it is not."""
        for name, file in self._files.items():
            file.seek(0)
            self._header(name)
            file.flush()
            os.fsync(file.fileno())
            file.close()
        number = len(list(self.folder.glob("part-*")))
        if self.count:
            os.replace(self.beside, self.folder / f"part-{number:05d}")
        else:
            shutil.rmtree(self.beside)

    def _dtype(self, name: str) -> Any:
        return {"frame": "int32", "embedding": self.info.dtype, "outputs": "float32"}[name]

    def _header(self, name: str) -> None:
        """Write the header for the present number of rows; NumPy leaves room in it for the first axis to grow."""
        columns = {"frame": (), "embedding": (self.info.embedding,), "outputs": (len(self.info.outputs),)}[name]
        described = np.lib.format.dtype_to_descr(np.dtype(self._dtype(name)))
        header = {"descr": described, "fortran_order": False, "shape": (self.count, *columns)}
        np.lib.format.write_array_header_1_0(self._files[name], header)


def share(sizes: Sequence[int], world_size: int) -> list[list[int]]:
    """Whole videos for each process: the largest first, to the process that has least.

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
