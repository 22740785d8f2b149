"""Read what all lists and label files have in common: lines, numbers, labels, and names that become paths."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from affect.errors import DataError, refuse
from affect.files import read_file
from affect.frames import BoolArray
from affect.labels import EXPRESSIONS, MISSING_CLASS, MISSING_VALENCE_AROUSAL, Task
from affect.names import RULE, is_relative
from datamodules.listing import IMAGE_SUFFIXES

Values = npt.NDArray[np.float64]

LAST_FRAME: Final = 2**31 - 1
"""The largest frame number: feature stores keep them in four bytes."""


_IMAGE_FIELDS: Final = ("image", "image_path", "image_location")  # the organisers' names, and those in edited files


def read_text(path: Path, faults: list[DataError] | None = None) -> tuple[list[str], str]:
    """Read a text file: its lines without line ends and one trailing comma, none blank at the end, and its sha256.

    Args:
        path: the file.
        faults: of the data so far; None: the first line with a character that cannot be seen ends the reading.

    Raises:
        DataError: the file is no text, is empty, or holds a character that cannot be seen.
        OSError: the file cannot be read.
    """
    text, digest = _read(path)
    return _lines(path, text, faults), digest


def read_rows(
    path: Path,
    fix: str,
    *,
    by_name: Sequence[Sequence[str]] = (),
    by_position: Sequence[Sequence[str]] = (),
    faults: list[DataError] | None = None,
) -> tuple[tuple[str, ...], list[str], str]:
    """Read a file with one header line: the header's names, its rows and the file's sha256.

    Where a header has one name per field and the official names stand in another order, the fields follow them; other
    headers are official or an error (formats.md, section 0, rule 1).

    Args:
        path: the file.
        fix: what to do if the file has another header, for the message.
        by_name: official headers with one name per field, so that a file may have the fields in another order.
        by_position: official headers that stand in this order only.
        faults: of the data so far; None: the first fault of a row ends the reading.

    Returns:
        The names in the file's order and the official spelling, the rows, and the sha256.

    Raises:
        DataError: the file is no text, is empty, or cut off; it has another header, or no row.
        OSError: the file cannot be read.
    """
    text, digest = _read(path)
    header, *rows = _lines(path, text, faults)
    names = header_names(path, header, fix, by_name, by_position)
    if not rows:
        raise DataError(f"{path}: no row after the header. Copy the file again, or remove it.")
    if not text.endswith("\n"):
        _check_end(path, rows, faults)
    return names, rows, digest


def _read(path: Path) -> tuple[str, str]:
    content = read_file(path)
    try:
        return content.decode("utf-8-sig"), hashlib.sha256(content).hexdigest()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error}). Is this the right file?") from error


def _lines(path: Path, text: str, faults: list[DataError] | None) -> list[str]:
    lines = [line.removesuffix("\r").strip(" \t") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DataError(f"{path}: the file is empty. Copy it again from the archive.")
    if not "".join(lines).replace("\t", " ").isprintable():
        for number, line in enumerate(lines, 1):
            if not line.replace("\t", " ").isprintable():
                text = f"{path}:{number}: a character that cannot be seen: {line[:200]!r}"
                refuse(DataError(f"{text}. Correct the line, or copy the file again."), faults)
    return [line.removesuffix(",") for line in lines]


def header_names(
    path: Path, header: str, fix: str, by_name: Sequence[Sequence[str]], by_position: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """Return the names of a header in the official spelling, in the file's order."""
    given = [name.strip().lower() for name in header.split(",")]
    given = ["image" if name in _IMAGE_FIELDS else name for name in given]
    expected = ",".join([*by_position, *by_name][0])
    if "/" in given[0] or given[0].endswith(IMAGE_SUFFIXES) or parse_numbers(given[0]) is not None:
        raise DataError(
            f"{path}:1: the header is missing, the first line is already a row ({header[:60]!r}). Put '{expected}' "
            "above it, or its row would be lost."
        )
    for names in [*by_position, *by_name]:
        spelled = {"image" if name in _IMAGE_FIELDS else name.lower(): name for name in names}
        if given == list(spelled) or (names in by_name and sorted(given) == sorted(spelled)):
            return tuple(spelled[name] for name in given)
        if sorted(given) == sorted(spelled):
            expected = ",".join(names)
            fix = "The rows do not tell which order they follow: if it is this one, put it there."
    raise DataError(f"{path}:1: the header is {header[:200]!r}, expected '{expected}'. {fix}")


def _check_end(path: Path, rows: Sequence[str], faults: list[DataError] | None) -> None:
    """Check a file whose last line has no line end, which may be cut off inside its last number.

    Numbers may have any decimals, so only one with fewer than every other row is told from a whole one.
    """
    last, *others = (row.rpartition(",")[2].strip() for row in reversed(rows))
    decimals = _decimals(last)
    known = [count for text in set(others) if (count := _decimals(text)) is not None]
    if decimals is not None and decimals < min(known, default=0):
        error = DataError(
            f"{path}:{len(rows) + 1}: the file ends in {last!r}, without a line end and with fewer decimals than every "
            "other row, so it is cut off. Copy it again; if it is whole, end its last line."
        )
        refuse(error, faults)


def _decimals(text: str) -> int | None:
    """Return how many decimals a number has; None for other text, numbers with an exponent, and a missing value."""
    number = parse_numbers(text)
    if number is None or number[0] == MISSING_VALENCE_AROUSAL or "e" in text.lower():
        return None
    return len(text.partition(".")[2])


def parse_numbers(text: str) -> npt.NDArray[np.float64] | None:
    """Return the numbers of comma-separated text, or None where any is none: ASCII digits, without underscores."""
    if "_" in text or not text.isascii() or not text.isprintable():  # Python's float accepts more
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


def parse_rows(rows: Sequence[str], tasks: Sequence[Task], classes: int = len(EXPRESSIONS)) -> Values | None:
    """Parse rows of labels, NaN where one is missing; valence and arousal are missing together.

    Args:
        rows: comma-separated numbers.
        tasks: the task of each field.
        classes: how many expressions there are.

    Returns:
        (N, fields) values, or None where a row has more or fewer fields, or a value that its task cannot have.
    """
    if any(row.count(",") != len(tasks) - 1 for row in rows):
        return None
    numbers = parse_numbers(",".join(rows))
    return None if numbers is None else check_values(numbers.reshape(len(rows), len(tasks)), tasks, classes)


def check_values(values: Values, tasks: Sequence[Task], classes: int = len(EXPRESSIONS)) -> Values | None:
    """Return (N, fields) numbers of a file as ``parse_rows`` does; None where a task cannot have one of them."""
    if not all(_allowed(column, task, classes).all() for column, task in zip(values.T, tasks, strict=True)):
        return None
    paired = np.array([task == "valence_arousal" for task in tasks])
    missing = values == np.where(paired, MISSING_VALENCE_AROUSAL, MISSING_CLASS)
    missing[:, paired] = missing[:, paired].any(axis=1, keepdims=True)
    return np.where(missing, np.nan, values)


def without_faulty(
    path: Path,
    rows: Sequence[str],
    names: Sequence[str],
    tasks: Sequence[Task],
    classes: int,
    fixes: tuple[str, str],
    faults: list[DataError] | None,
) -> list[str]:
    """Raise the error that names the first faulty row of a file whose labels ``parse_rows`` refuses.

    Where faults are collected, those of all rows are noted instead, and what such a row would label is missing.

    Args:
        path: the file.
        rows: its rows, from the second line on.
        names: names of the fields; those of labels are the last.
        tasks: the task of each field of labels.
        classes: how many expressions there are.
        fixes: what to do about a row with more or fewer fields, and about one with a faulty field.
        faults: of the data so far; None: the first is raised.

    Returns:
        The rows, each with as many fields as there are names.
    """
    before = len(names) - len(tasks)
    mended, labels = list(rows), [row.split(",", before)[-1] for row in rows]
    missing = [f"{MISSING_VALENCE_AROUSAL if task == 'valence_arousal' else MISSING_CLASS:g}" for task in tasks]
    waiting = [(0, len(rows))]
    while waiting:
        first, end = waiting.pop()
        if parse_rows(labels[first:end], tasks, classes) is None:
            if end - first == 1:
                refuse(_fault(f"{path}:{first + 2}", rows[first], names, tasks, classes, fixes), faults)
                mended[first] = ",".join([*rows[first].split(",")[:before], *missing])
            else:
                middle = (first + end) // 2
                waiting += [(middle, end), (first, middle)]
    return mended


def _fault(
    where: str, row: str, names: Sequence[str], tasks: Sequence[Task], classes: int, fixes: tuple[str, str]
) -> DataError:
    """Return the error that says what is wrong with a row; the arguments are as for ``without_faulty``."""
    before, fields = len(names) - len(tasks), row.split(",")
    if len(fields) != len(names):
        return DataError(
            f"{where}: {len(fields)} fields where {len(names)} ({','.join(names)}) are expected: {row[:60]!r}. "
            f"{fixes[0]}"
        )
    expected = {
        "valence_arousal": f"a number from -1 to 1, or {MISSING_VALENCE_AROUSAL:g} where it is missing",
        "expression": f"a whole number from 0 to {classes - 1}, or {MISSING_CLASS} where it is missing",
        "action_units": f"0 or 1, or {MISSING_CLASS} where it is missing",
    }
    faulty = next(i for i, text in enumerate(fields[before:]) if parse_rows([text], [tasks[i]], classes) is None)
    name, text = names[before + faulty], fields[before + faulty].strip()
    return DataError(f"{where}: {name} is {text!r}, expected {expected[tasks[faulty]]}. {fixes[1]}")


def _allowed(values: Values, task: Task, classes: int) -> BoolArray:
    """Return true where a value is one that a field of a task may have; NaN never is."""
    found: npt.NDArray[Any]
    if task == "valence_arousal":
        found = (np.abs(values) <= 1) | (values == MISSING_VALENCE_AROUSAL)
    elif task == "expression":
        found = (values >= MISSING_CLASS) & (values < classes) & (values == np.floor(values))
    else:
        found = np.isin(values, (MISSING_CLASS, 0, 1))
    return found


def check_names(path: Path, line_of: Mapping[str, int | None], faults: list[DataError] | None = None) -> set[str]:
    """Check that the names in a list stay below the folder that they are relative to.

    Args:
        path: the list, or a folder of files whose names are meant.
        line_of: each distinct name, and the line where it stands first; None in a folder.
        faults: of the data so far; None: the first is raised.

    Returns:
        The names that do not; they must not become paths.

    Raises:
        DataError: naming file, line and name.
    """
    leading_out = {name for name in line_of if not is_relative(name)}
    for name, line in line_of.items():
        if name in leading_out:
            where, what = (path, "file") if line is None else (f"{path}:{line}", "line")
            refuse(DataError(f"{where}: the name is {name[:200]!r}, {RULE}. Correct or remove the {what}."), faults)
    return leading_out
