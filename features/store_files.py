"""The files of a feature store: its description, the arrays of its parts, and their checksums."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, TypedDict, get_args

import numpy as np
import numpy.typing as npt

from affect.checksums import file_sha256, sealed, unsealed, warn_unchecked
from affect.errors import DataError
from affect.files import put_in_place, reached, sync, whole_file
from affect.hints import value_errors

Dtype = Literal["float16", "float32"]
FloatArray = npt.NDArray[np.float32]

SCHEMA_VERSION: Final = 1
INFO: Final = "store.json"
ARRAYS: Final = ("frame", "embedding", "outputs")
CHECKSUMS: Final = "sha256.txt"
WRITING: Final = ".writing"
"""Name of the folder of a part that is being written, in the folder of its video."""

_MAPPED: Final = 4096
"""Size in bytes from which a file is mapped: a process may have some ten thousand maps."""
_CHUNK: Final = 1 << 22
"""Values that are checked at a time, so that temporary arrays stay small."""


class MadeBy(TypedDict):
    """What rebuilds the network of a store; ``StoreInfo.sha256`` tells whether it is the same."""

    target: str | None  # dotted name of its class; None: ``source`` is a checkpoint of this framework
    options: dict[str, Any]  # arguments of the class but ``weights``
    source: str | None  # absolute path, or name, of the weights or of the checkpoint
    preprocessing: dict[str, Any]  # keys of ``affect.preprocessing.Preprocessing``


@dataclass(frozen=True)
class StoreInfo:
    """The description of a store: what all its features have in common.

    Attributes:
        network: name of what made them, for people.
        sha256: hash of that network's weights: heads learnt on one network's features do not fit another's.
        embedding: length E of an embedding.
        outputs: names of the network's O own scores, in order; none where it has no classifier.
        images: name of the image folder below the data's root; crops and aligned crops give other features.
        image_size: side of the square input in pixels.
        dtype: type of the embeddings on disk.
        schema_version: version of this layout.
        made_by: what rebuilds the network; None where that was not written (earlier versions).
    """

    network: str
    sha256: str
    embedding: int
    outputs: tuple[str, ...]
    images: str
    image_size: int
    dtype: Dtype = "float16"
    schema_version: int = SCHEMA_VERSION
    made_by: MadeBy | None = None

    @classmethod
    def read(cls, root: Path) -> StoreInfo:
        """Read ``store.json``.

        Raises:
            DataError: no store, a damaged one, or one of another version.
        """
        path = root / INFO
        if not path.is_file():
            raise DataError(f"{path}: no such file, so {root} is no feature store; make one with extract.py store=…")
        try:
            content = dict(json.loads(path.read_text(encoding="utf-8")))
            if content["schema_version"] != SCHEMA_VERSION:
                raise DataError(
                    f"{path}: schema version {content['schema_version']}, this code reads {SCHEMA_VERSION}; make the "
                    "store again with extract.py"
                )
            content = unsealed(content, path, "a feature store")
            if not isinstance(content["outputs"], list):
                raise TypeError("outputs is no list")
            info = cls(**{**content, "outputs": tuple(content["outputs"])})
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{path}: not the description of a feature store ({error}); make it again") from error
        if problem := info.problem():
            raise DataError(f"{path}: {problem}; make the store again")
        return info

    def write(self, root: Path) -> None:
        """Write ``store.json`` with its checksum; several processes may do so at once."""
        with whole_file(root / INFO, shared=True) as beside:
            beside.write_text(json.dumps(sealed(asdict(self)), indent=2) + "\n", encoding="utf-8")
        reached("store.index", root / INFO)

    def problem(self) -> str | None:
        """Say which value cannot be; None where all can."""
        if not all(type(value) is str for value in (self.network, self.sha256, self.images, *self.outputs)):
            return "network, sha256, images and outputs must be names"
        if not all(type(value) is int and value > 0 for value in (self.embedding, self.image_size)):
            return "embedding and image_size must be whole numbers above 0"
        made = self.made_by
        if list(value_errors(made, MadeBy | None, "made_by")) or (made and set(made) != set(MadeBy.__annotations__)):
            return f"made_by must have {', '.join(MadeBy.__annotations__)}"
        return None if self.dtype in get_args(Dtype) else f"dtype {self.dtype} is none of {', '.join(get_args(Dtype))}"

    def array(self, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Return type and shape of an array of the store, without the frames' axis."""
        dtype = {"frame": "int32", "embedding": self.dtype, "outputs": "float32"}[name]
        columns = {"frame": (), "embedding": (self.embedding,), "outputs": (len(self.outputs),)}[name]
        return np.dtype(dtype), columns


def open_array(part: Path, name: str, info: StoreInfo) -> npt.NDArray[Any]:
    """Open an array of a part, mapped where it is large.

    Raises:
        DataError: the file is missing, no array of this type and width, or not as long as its header says.
    """
    path = part / f"{name}.npy"
    dtype, columns = info.array(name)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"version {version} of the format")
            shape, fortran, found = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
        if found != dtype or fortran or not shape or shape[1:] != columns:
            raise ValueError(f"{found} {shape}, expected {dtype} {('frames', *columns)}")
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if path.stat().st_size != start + size:
            raise ValueError(f"{path.stat().st_size} bytes, expected {start + size}")
        if size >= _MAPPED:
            return np.memmap(path, dtype, "r", start, shape)
        return np.fromfile(path, dtype, offset=start).reshape(shape)
    except Exception as error:  # a damaged header raises whatever its bytes lead to
        raise DataError(f"{path}: cannot be read ({error}); delete {part} and run extract.py again") from error


def read_checksums(part: Path) -> dict[str, str] | None:
    """Read the SHA-256 of each array's file by the array's name; warn and return None where an old version wrote none.

    Raises:
        DataError: they are damaged.
    """
    path = part / CHECKSUMS
    try:
        found = re.findall(r"^([0-9a-f]{64})  (\w+)\.npy\n", text := path.read_text(encoding="utf-8"), re.MULTILINE)
    except FileNotFoundError:
        warn_unchecked("a part of a feature store", part)
        return None
    except ValueError as error:
        raise DataError(f"{path}: damaged; delete {part} and run extract.py again") from error
    sums = {name: digest for digest, name in found}
    if text != _lines(sums) or tuple(sums) != ARRAYS:
        raise DataError(f"{path}: damaged; delete {part} and run extract.py again")
    return sums


def check_array(part: Path, name: str, info: StoreInfo, expected: str | None) -> None:
    """Read a whole array and check it.

    Args:
        part: folder of the part.
        name: name of the array.
        info: description of the store.
        expected: SHA-256 of its file, if that is known.

    Raises:
        DataError: other content than was written, or a value that is not finite; the message names its frame.
    """
    path, again = part / f"{name}.npy", f"delete {part} and run extract.py again"
    values, frames = open_array(part, name, info), open_array(part, "frame", info)
    if len(frames) == 0:
        raise DataError(f"{path}: no frames; {again}")
    if len(values) != len(frames):
        raise DataError(f"{path}: {len(values)} rows, but {len(frames)} frames; {again}")
    if expected is not None and file_sha256(path) != expected:
        raise DataError(f"{path}: damaged: its content does not fit {CHECKSUMS}; {again}")
    if name == "frame":
        return
    rows = max(1, _CHUNK // max(1, values.shape[1]))
    for start in range(0, len(values), rows):
        bad = not_finite(values[start : start + rows])
        if bad.any():
            frame = frames[start + int(bad.any(axis=1).argmax())]
            raise DataError(
                f"{path}: frame {frame} of video {part.parent.name} is not finite; {again}, with a network that has "
                "not diverged"
            )


def not_finite(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Find values that are NaN or infinite; for half precision three times as fast as NumPy."""
    found: npt.NDArray[np.bool_]
    found = values.view(np.uint16) & 0x7C00 == 0x7C00 if values.dtype == np.float16 else ~np.isfinite(values)
    return found


class FeatureWriter:
    """Writes the features of one video as a part of a store, batch by batch; memory does not grow with the video.

    Args:
        root: folder of the store.
        video: name of the video, which becomes a folder.
        info: description of the store.

    Raises:
        DataError: the video's folder would not be in the store.
    """

    def __init__(self, root: Path, video: str, info: StoreInfo) -> None:
        self.folder, self.info = root / video, info
        if self.folder.resolve() != root.resolve() / video or self.folder.parent != root or video in (".", ".."):
            raise DataError(f"video {video!r}: {self.folder} is no folder of its own in the store; rename the video")
        self.beside = self.folder / WRITING
        shutil.rmtree(self.beside, ignore_errors=True)  # left by a killed run
        self.beside.mkdir(parents=True)
        self.count = 0
        self._files: dict[str, BinaryIO] = {}
        for name in ARRAYS:
            self._files[name] = (self.beside / f"{name}.npy").open("wb")
            self._header(name)

    def add(self, frame: npt.NDArray[np.integer[Any]], embedding: FloatArray, outputs: FloatArray) -> None:
        """Add n frames: (n,) numbers, (n, E) and (n, O).

        Raises:
            DataError: a value is not finite, in the store's precision.
        """
        for name, values in zip(ARRAYS, (frame, embedding, outputs), strict=True):
            with np.errstate(over="ignore"):  # found below
                stored = np.ascontiguousarray(values, dtype=self.info.array(name)[0])
            if not_finite(stored).any():
                raise DataError(
                    f"{self.folder}: {name} of a frame is not finite in {stored.dtype}; give dtype=float32, or a "
                    "network that has not diverged"
                )
            self._files[name].write(stored.tobytes())
        self.count += len(frame)

    def finish(self) -> None:
        """Complete the part, which appears as a whole or not at all."""
        for name, file in self._files.items():
            file.seek(0)
            self._header(name)
            file.close()
        if not self.count:
            shutil.rmtree(self.beside)
            return
        paths = {name: self.beside / f"{name}.npy" for name in ARRAYS}
        (self.beside / CHECKSUMS).write_text(_lines({name: file_sha256(path) for name, path in paths.items()}))
        for path in (*paths.values(), self.beside / CHECKSUMS, self.beside):
            sync(path)
        numbers = [int(number) for part in self.folder.glob("part-*") if (number := part.name[5:]).isdecimal()]
        part = self.folder / f"part-{max(numbers, default=-1) + 1:05d}"
        reached("part.written", part)
        put_in_place(self.beside, part)
        sync(self.folder.parent)
        reached("part.renamed", part)

    def _header(self, name: str) -> None:
        """Write the header for the present number of rows; NumPy leaves room in it for the first axis to grow."""
        dtype, columns = self.info.array(name)
        described = np.lib.format.dtype_to_descr(dtype)
        header = {"descr": described, "fortran_order": False, "shape": (self.count, *columns)}
        np.lib.format.write_array_header_1_0(self._files[name], header)


def _lines(sums: Mapping[str, str]) -> str:
    """Write checksums as the program sha256sum does, which can check them."""
    return "".join(f"{digest}  {name}.npy\n" for name, digest in sums.items())
