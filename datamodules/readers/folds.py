"""Read and write files of folds: which fold each video, or each picture, is in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from affect.errors import DataError
from affect.files import write_whole
from affect.folds import base_video
from affect.frames import Frames, IntArray, video_numbers
from datamodules.readers.lists import read_text

FILE: Final = "folds.csv"
"""Name of the file in a run folder."""

_FACTS: Final = re.compile(r"# list sha256 ([0-9a-f]{64})")
_CHUNK: Final = 65536  # rows that are hashed at a time


@dataclass(frozen=True)
class Dealt:
    """Which fold each video, or each picture, is in.

    Attributes:
        key: ``video`` (base videos, ``affect.folds.base_video``) or ``image``.
        fold_of: name → number of the fold, from 0.
        count: how many folds there are.
        list_sha256: hash of the concatenated lists (``list_sha256``); empty where a file does not say.
    """

    key: Literal["video", "image"]
    fold_of: Mapping[str, int]
    count: int
    list_sha256: str

    def of_rows(self, frames: Frames, source: str = "the folds") -> IntArray:
        """Return the (N,) fold of each row.

        Raises:
            DataError: a video or picture is in none.
        """
        names, number = units(frames, self.key)
        if lacking := sorted({name for name in names if name not in self.fold_of}):
            raise DataError(
                f"{source}: no line for {len(lacking)} {self.key}s of the data, {lacking[0]!r} first; add them, or "
                "have the folds dealt anew (data.folds=5)"
            )
        return np.array([self.fold_of[name] for name in names], dtype=np.int64)[number]

    def write(self, path: Path) -> None:
        """Write the file that ``data.folds=<file>`` reads."""
        lines = [f"# list sha256 {self.list_sha256}"] if self.list_sha256 else []
        lines.append(f"{self.key},fold")
        lines += [f"{name},{fold}" for name, fold in sorted(self.fold_of.items())]
        write_whole(path, "\n".join(lines) + "\n")

    @classmethod
    def read(cls, path: Path) -> Dealt:
        """Read a file of folds.

        The first line may hold the hash of the lists, then come ``video,fold`` or ``image,fold`` and a line for each.
        Two people of one video (``_left``, ``_right``) may have a line each, with the same fold.

        Raises:
            DataError: no such file, no text, another header, a line that is none, a video twice, or a fold without any.
        """
        if not path.is_file():
            raise DataError(f"data.folds={path}: no such file; give a number, or the {FILE} of a run")
        lines, _ = read_text(path)
        stated = _FACTS.fullmatch(lines[0])
        start = 1 if stated else 0
        key = {"video,fold": "video", "image,fold": "image"}.get(lines[start] if len(lines) > start else "")
        if key is None:
            raise DataError(f"{path}:{start + 1}: expected video,fold or image,fold; give the {FILE} of a run")
        fold_of: dict[str, int] = {}
        line_of: dict[str, str] = {}
        for number, line in enumerate(lines[start + 1 :], start + 2):
            name, _, text = line.rpartition(",")
            if not name or not re.fullmatch(r"\d{1,6}", text, re.ASCII):
                raise DataError(f"{path}:{number}: {line[:80]!r} is not a {key}, a comma, and the number of its fold")
            unit = base_video(name) if key == "video" else name
            if name in line_of or fold_of.get(unit, int(text)) != int(text):
                other = "has a line already" if name in line_of else f"is of a video that is in fold {fold_of[unit]}"
                raise DataError(f"{path}:{number}: {name} {other}; give each {key} one fold")
            fold_of[unit], line_of[name] = int(text), text
        count = max(fold_of.values(), default=-1) + 1
        if empty := sorted(set(range(count)) - set(fold_of.values())):
            raise DataError(
                f"{path}: fold {empty[0]} has no {key}, and there is a fold {count - 1}; number them from 0"
            )
        if count < 2:
            raise DataError(f"{path}: {count} fold; two are needed, one to hold back and one to train on")
        return cls("video" if key == "video" else "image", fold_of, count, stated[1] if stated else "")


def list_sha256(frames: Frames) -> str:
    """Return the hash of a list: of the paths of its images, a line each, in its order."""
    whole = hashlib.sha256()
    for start in range(0, len(frames), _CHUNK):
        names = frames.image[start : start + _CHUNK]
        whole.update("".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def units(frames: Frames, key: str) -> tuple[list[str], IntArray]:
    """Return the distinct videos (by base video) or images of a list, and the (N,) number of each row's."""
    listed = frames.video if key == "video" else frames.image
    code, given = video_numbers(listed), list(dict.fromkeys(listed))
    units = [base_video(name) for name in given] if key == "video" else given
    names = sorted(set(units))
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[unit] for unit in units], dtype=np.int64)[code]
