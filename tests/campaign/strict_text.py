"""What all strict readers of text files share: lines, numbers, names.

The strict readers were written from the description of the official files, not from the framework's own readers. They
return the exact values of a legal file and refuse everything else: what no official file holds, and what two careful
people could read in two ways.
"""

from __future__ import annotations

import re
from pathlib import Path

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[0-9]+")
_FRAME = re.compile(r"([0-9]{1,18})\.[^.]+")


class RefusedError(Exception):
    """A file that the strict reader does not take."""


def lines_of(path: Path) -> list[str]:
    """Reads the lines of a UTF-8 file: a byte order mark, CRLF and blank lines at the end are accepted."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(f"no UTF-8: {error}") from error
    lines = text.removeprefix("\ufeff").split("\n")
    while lines and lines[-1].strip() in ("", ","):
        lines.pop()
    if not lines:
        raise RefusedError("an empty file")
    return lines


def fields_of(line: str) -> list[str]:
    """Splits a line at its commas; one at its end is left out, and so are spaces around a field."""
    return [field.strip() for field in line.rstrip().removesuffix(",").split(",")]


def number(text: str) -> float:
    """Reads an ordinary decimal number."""
    if not _NUMBER.fullmatch(text):
        raise RefusedError(f"no number: {text!r}")
    return float(text)


def whole(text: str, most: int = 10**12) -> int:
    """Reads an ordinary whole number from 0 on."""
    if not _WHOLE.fullmatch(text) or int(text) > most:
        raise RefusedError(f"no whole number: {text!r}")
    return int(text)


def affect(text: str) -> float | None:
    """Reads valence or arousal: from -1 to 1, None for -5."""
    value = number(text)
    if value == -5:
        return None
    if not -1 <= value <= 1:
        raise RefusedError(f"not from -1 to 1: {text}")
    return value


def category(text: str, classes: int) -> int:
    """Reads a class or an action unit: 0 to ``classes`` - 1, or -1 where it is missing."""
    value = number(text)
    if value not in range(-1, classes):
        raise RefusedError(f"none of {classes} classes: {text}")
    return int(value)


def both(valence: str, arousal: str) -> list[float | None]:
    """Reads valence and arousal, both missing where either is."""
    values = [affect(valence), affect(arousal)]
    return [None, None] if None in values else values


def name(text: str) -> str:
    """Reads the name of a file or folder, perhaps one in another, below the folder that it is relative to."""
    if text.startswith("/") or not {"", ".", ".."}.isdisjoint(text.split("/")) or "\\" in text:
        raise RefusedError(f"leads out of its folder: {text!r}")
    return word(text)


def word(text: str) -> str:
    """Reads what is compared with other names and never opened."""
    if not text or "\0" in text or "\r" in text:
        raise RefusedError(f"nothing, or no text: {text!r}")
    return text


def image(text: str) -> tuple[str, str, int]:
    """Reads ``<video>/<frame>.jpg``: itself, the video and the number of the frame."""
    video, slash, frame = text.rpartition("/")
    found = _FRAME.fullmatch(frame)
    if not slash or not found:
        raise RefusedError(f"no <video>/<frame>.jpg: {text!r}")
    return text, name(video), int(found[1])
