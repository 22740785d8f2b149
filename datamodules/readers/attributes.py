"""Read CSV files that say something of each video or picture: its attributes, or the group that it belongs to."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from affect.errors import DataError
from affect.files import read_file

_KEYS: Final = ("video", "image")
_LARGEST: Final = 2**30  # bytes; two million pictures with ten attributes have a tenth of it


class Rows(Protocol):
    """What has a video and an image in each row: a table, or a list of frames."""

    @property
    def video(self) -> Sequence[str]:
        """Name of each row's video."""

    @property
    def image(self) -> Sequence[str]:
        """Path of each row's image, as the list has it."""


class Attributes(NamedTuple):
    """What a file says of the rows of a table.

    Attributes:
        key: ``video`` or ``image``: what each of its lines is of.
        columns: by name, the values of the N rows; an empty one is not known.
        others: the videos or images that it has a line for, and the table does not: those of another split, say.
    """

    key: str
    columns: dict[str, list[str]]
    others: list[str]


def first_found(path: Path, roots: Sequence[str]) -> Path | None:
    """Find a file by its path, or by its name in one of the folders of the data; None where it is in neither."""
    places = (path, *(Path(folder).expanduser() / path for folder in roots))
    return next((one for one in places if one.exists()), None)


def read_attributes(path: Path, table: Rows) -> Attributes:
    """Read the attributes of each row of a table.

    Args:
        path: CSV whose first column is ``video`` or ``image`` and says of which; any columns follow.
        table: whose videos or images they are.

    Raises:
        DataError: no such file, not UTF-8, another first column, a column without a name or twice, a line of another
            length, a key twice, or a video or an image of the table without a line.
    """
    try:
        text = read_file(path, _LARGEST).decode("utf-8-sig")
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except UnicodeDecodeError as error:
        at = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}, line {at}: not UTF-8; save the file as CSV in UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}; give a CSV file") from error
    key, *names = [cell.strip() for cell in header] or [""]
    if key not in _KEYS or not names or "" in names or len({key, *names}) < len(header):
        raise DataError(
            f"{path}, line 1: {','.join(header)!r}; it must name video or image, and then columns, each once, with "
            "commas between them"
        )
    known: dict[str, list[str]] = {}
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        if len(line) != len(header) or line[0] in known:
            what = f"{line[0]} has a line already" if len(line) == len(header) else f"{len(line)} cells"
            raise DataError(f"{path}, line {number}: {what}; give {len(header)} cells, once for each {key}")
        known[line[0]] = [cell.strip() for cell in line[1:]]
    keys = table.video if key == "video" else table.image
    if missing := sorted(set(keys) - known.keys()):
        raise DataError(f"{path}: no line for {len(missing)} {key}s of the table, {missing[0]!r} first; add them")
    columns = {name: [known[one][column] for one in keys] for column, name in enumerate(names)}
    return Attributes(key, columns, sorted(known.keys() - set(keys)))


def read_groups(path: Path, table: Rows) -> list[str]:
    """Read the group of each row's video, which is resampled as one: people, say.

    Args:
        path: CSV with the columns ``video`` and ``group``.
        table: whose videos they are.

    Raises:
        DataError: as ``read_attributes``; other columns, a video without a group, or videos that the table lacks.
    """
    found = read_attributes(path, table)
    group = group_column(path, found, table, ("video",))
    if found.others:
        raise DataError(
            f"{path}: {len(found.others)} videos that the table does not have, {found.others[0]!r} first; take them out"
        )
    return group


def group_column(path: Path, found: Attributes, table: Rows, keys: Sequence[str]) -> list[str]:
    """Return the group of each row, the one column that a file of groups has.

    Args:
        path: the file, for the message.
        found: what was read of it.
        table: whose rows these are.
        keys: what its lines may be of: ``video``, ``image``.

    Raises:
        DataError: it is of something else, has other columns, or a row has no group.
    """
    if found.key not in keys or list(found.columns) != ["group"]:
        raise DataError(f"{path}, line 1: it must be {' or '.join(f'{key},group' for key in keys)}")
    group = found.columns["group"]
    if "" in group:
        raise DataError(
            f"{path}: {getattr(table, found.key)[group.index('')]} has no group; give it one, its own name for example"
        )
    return group
