"""Lists of millions of entries without an object for each: an entry is computed from numbers when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

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

    @overload
    def __getitem__(self, row: int) -> Value: ...
    @overload
    def __getitem__(self, row: slice) -> Computed[Value]: ...
    def __getitem__(self, row: int | slice) -> Value | Computed[Value]:
        if isinstance(row, slice):
            return self.take(np.arange(len(self))[row])
        return self.make(*(column[row] for column in self.numbers))

    def __iter__(self) -> Iterator[Value]:
        return map(self.make, *self.numbers)

    def take(self, index: npt.NDArray[np.int64]) -> Computed[Value]:
        """Return the rows of ``index``, in that order."""
        return Computed(self.make, *(column[index] for column in self.numbers))


def take(values: Sequence[Value], index: npt.NDArray[np.int64]) -> Sequence[Value]:
    """Return these rows of a sequence, in the order of ``index``."""
    return values.take(index) if isinstance(values, Computed) else [values[row] for row in index]


class CropPaths(Computed[Path | None]):
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

    def take(self, index: npt.NDArray[np.int64]) -> CropPaths:
        """Return the rows of ``index``, in that order."""
        return CropPaths(self.places, self.videos, *(column[index] for column in self.numbers))

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

    @property
    def found(self) -> npt.NDArray[np.bool_]:
        """(N,) true where there is a crop."""
        found: npt.NDArray[np.bool_] = self.numbers[0] >= 0
        return found


def frame_names(videos: Sequence[str], video: Integers, frame: Integers) -> tuple[Computed[str], Computed[str]]:
    """Return the name of the video and of the image, ``<video>/<frame>.jpg``, of each of N rows.

    Args:
        videos: the videos' names.
        video: (N,) index into ``videos`` of each row.
        frame: (N,) frame numbers.
    """
    names = tuple(videos)
    return Computed(names.__getitem__, video), Computed(partial(_image_name, names), video, frame)


def image_file(frame: int, suffix: str = ".jpg") -> str:
    """Return the name of a frame's image file as Aff-Wild2 writes it, with at least five digits."""
    return f"{frame:05d}{suffix}"


def _image_name(videos: Sequence[str], video: int, frame: int) -> str:
    return f"{videos[video]}/{image_file(frame)}"


def _crop_path(
    places: Sequence[tuple[Path, str]], videos: Sequence[str], place: int, video: int, frame: int
) -> Path | None:
    if place < 0:
        return None
    folder, suffix = places[place]
    return folder / videos[video] / image_file(frame, suffix)
