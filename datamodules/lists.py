"""What all readers of lists and label files have in common: lines, numbers, and names that become paths."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from affect.files import read_file
from affect.names import RULE, is_relative
from datamodules.labels import DataError

LAST_FRAME: Final = 2**31 - 1
"""The largest frame number: feature stores keep them in four bytes."""


class AnnotationError(DataError):
    """A label file or list that cannot be read; the message names the file, the line and the fix."""


def read_text(path: Path) -> tuple[list[str], str]:
    """Read a text file: its lines without line ends and one trailing comma, none blank at the end, and its sha256.

    Raises:
        AnnotationError: the file is no text, or is empty.
        OSError: the file cannot be read.
    """
    content = read_file(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not a text file ({error}). Is this the right file?") from error
    lines = [line.removesuffix("\r").removesuffix(",") for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise AnnotationError(f"{path}: the file is empty. Copy it again from the archive.")
    return lines, hashlib.sha256(content).hexdigest()


def parse_numbers(text: str) -> npt.NDArray[np.float64] | None:
    """Return the numbers of comma-separated text, or None where any is none: ASCII digits, without underscores."""
    if "_" in text or not text.isascii() or not text.isprintable():  # Python's float takes more
        return None
    fields = text.split(",")
    try:
        return np.fromiter(map(float, fields), dtype=np.float64, count=len(fields))
    except ValueError:
        return None


def frame_number(text: str) -> int | None:
    """Return the frame number that ASCII digits say, or None where they say none that a frame can have."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LAST_FRAME))):
        return None
    return number if (number := int(text)) <= LAST_FRAME else None


def check_names(path: Path, line_of: Mapping[str, int | None]) -> None:
    """Check that the names in a list stay below the folder that they are relative to.

    Args:
        path: the list, or a folder of files whose names are meant.
        line_of: each distinct name, and the line where it stands first; None in a folder.

    Raises:
        AnnotationError: naming file, line and name.
    """
    for name, line in line_of.items():
        if not is_relative(name):
            where, what = (path, "file") if line is None else (f"{path}:{line}", "line")
            raise AnnotationError(f"{where}: the name is {name[:200]!r}, {RULE}. Correct or remove the {what}.")
