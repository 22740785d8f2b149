"""Lists of millions of entries without an object for each: an entry is computed from numbers when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt

Value = TypeVar("Value")
Integers = npt.NDArray[np.integer[Any]]


class Computed(Sequence[Value], Generic[Value]):
    """A sequence of N values that are computed when asked for, and not kept.

    Args:
        make: makes the value of a row from its numbers; must be picklable, because loader processes get a copy.
        numbers: (N,) integers each, one array per argument of ``make``.
    """

    def __init__(self, make: Callable[..., Value], *numbers: Integers) -> None:
        self.make = make
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers[0])

    def __eq__(self, other: object) -> bool:
        """Tell whether another sequence has the same values, as lists do among themselves."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, row: int) -> Value: ...
    @overload
    def __getitem__(self, row: slice) -> Self: ...
    def __getitem__(self, row: int | slice) -> Value | Self:
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        return self.make(*(column[row] for column in self.numbers))

    def __iter__(self) -> Iterator[Value]:
        return map(self.make, *self.numbers)

    def take(self, index: npt.NDArray[np.int64]) -> Self:
        """Return the rows of ``index``, in that order."""
        taken = copy(self)
        taken.numbers = tuple(column[index] for column in self.numbers)
        return taken


class Names(Computed[str]):
    """The names of N rows, of which few differ: each is kept once.

    Args:
        names: the distinct names.
        code: (N,) index into ``names`` of each row.
    """

    def __init__(self, names: Sequence[str], code: Integers) -> None:
        self.names = tuple(names)
        super().__init__(self.names.__getitem__, code)

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """Return the names of rows, in the order of their first rows."""
        if isinstance(names, Names):
            return names
        code_of: dict[str, int] = {}
        code = np.fromiter((code_of.setdefault(name, len(code_of)) for name in names), np.int32, len(names))
        return cls(list(code_of), code)

    def first_rows(self) -> npt.NDArray[np.int64]:
        """Return the first row of each name; N for one that no row has."""
        (code,) = self.numbers
        first = np.full(len(self.names), len(code), dtype=np.int64)
        first[code[::-1]] = np.arange(len(code))[::-1]  # of equal places, the last one written stays
        return first


class ImageNames(Computed[str]):
    """The image ``<folder>/<file>`` of each of N rows.

    Args:
        folders: names of folders, each ending in a slash; "" for a row without an image.
        files: names of files.
        folder: (N,) index into ``folders`` of each row.
        file: (N,) index into ``files``.
    """

    def __init__(self, folders: Sequence[str], files: Sequence[str], folder: Integers, file: Integers) -> None:
        self.folders, self.files = tuple(folders), tuple(files)
        super().__init__(partial(_joined, self.folders, self.files), folder, file)


def take(values: Sequence[Value], index: npt.NDArray[np.int64]) -> Sequence[Value]:
    """Return these rows of a sequence, in the order of ``index``."""
    return values.take(index) if isinstance(values, Computed) else [values[row] for row in index]


class Paths(Computed[Path | None]):
    """The file of each of N rows, None where there is none; the first numbers are −1 there."""

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(N,) true where there is a file."""
        found: npt.NDArray[np.bool_] = self.numbers[0] >= 0
        return found


class CropPaths(Paths):
    """The crop ``<folder>/<video>/<frame><suffix>`` of each of N rows, None where there is none.

    Args:
        places: image folders and the suffix of crops in them, with the dot.
        videos: the videos' names.
        place: (N,) index into ``places`` of each row's crop, −1 where there is none.
        video: (N,) index into ``videos`` of each row.
        frame: (N,) frame numbers.
    """

    def __init__(
        self,
        places: Sequence[tuple[Path, str]],
        videos: Sequence[str],
        place: Integers,
        video: Integers,
        frame: Integers,
    ) -> None:
        self.places, self.videos = tuple(places), tuple(videos)
        super().__init__(partial(_crop_path, self.places, self.videos), place, video, frame)

    @classmethod
    def join(cls, parts: Sequence[CropPaths]) -> CropPaths:
        """Return the rows of several, one after another; the videos are numbered anew, in the order of their names."""
        videos = sorted({name for part in parts for name in part.videos})
        number = {name: code for code, name in enumerate(videos)}
        columns: list[list[Integers]] = [[], [], []]
        places: list[tuple[Path, str]] = []
        for part in parts:
            place, video, frame = part.numbers
            columns[0].append(np.where(place < 0, place, place + len(places)).astype(np.int16))
            columns[1].append(np.array([number[name] for name in part.videos], dtype=np.int32)[video])
            columns[2].append(frame)
            places += part.places
        return cls(places, videos, *map(np.concatenate, columns))


def frame_names(videos: Sequence[str], video: Integers, frame: Integers) -> tuple[Names, Computed[str]]:
    """Return the name of the video and of the image, ``<video>/<frame>.jpg``, of each of N rows.

    Args:
        videos: the videos' names.
        video: (N,) index into ``videos`` of each row.
        frame: (N,) frame numbers.
    """
    names = Names(videos, video)
    return names, Computed(partial(_image_name, names.names), video, frame)


def file_paths(
    places: Sequence[Path], image: ImageNames, place: Integers, file: Integers, files: Sequence[str]
) -> Paths:
    """Return the path ``<place>/<folder><file>`` of each of N images.

    Args:
        places: the folders that all lie below.
        image: their names.
        place: (N,) index into ``places`` of each image, −1 where there is no file.
        file: (N,) index into ``files`` of each, which may be called otherwise than its image.
        files: names of files.
    """
    return Paths(partial(_path, tuple(places), image.folders, tuple(files)), place, image.numbers[0], file)


def image_file(frame: int, suffix: str = ".jpg") -> str:
    """Return the name of a frame's image file as Aff-Wild2 writes it, with at least five digits."""
    return f"{frame:05d}{suffix}"


def _joined(folders: Sequence[str], files: Sequence[str], folder: int, file: int) -> str:
    return folders[folder] + files[file]


def _image_name(videos: Sequence[str], video: int, frame: int) -> str:
    return f"{videos[video]}/{image_file(frame)}"


def _crop_path(
    places: Sequence[tuple[Path, str]], videos: Sequence[str], place: int, video: int, frame: int
) -> Path | None:
    if place < 0:
        return None
    folder, suffix = places[place]
    return folder / videos[video] / image_file(frame, suffix)


def _path(
    places: Sequence[Path], folders: Sequence[str], files: Sequence[str], place: int, folder: int, file: int
) -> Path | None:
    return None if place < 0 else places[place] / (folders[folder] + files[file])
