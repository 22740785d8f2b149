"""Read millions of rows of labels in seconds; a file that is not quite as it should be is left to ``lists``.

Arrow parses what both readers understand alike. Whatever else there is, a fault included, ends the quick reading, and
the file is read once more, line by line: so results and messages are the same.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from pyarrow import csv

from affect.computed import ImageNames
from affect.errors import DataError
from affect.files import open_file
from affect.frames import FloatArray
from affect.labels import Task
from datamodules.readers.lists import check_values, header_names

BLOCK: Final = 1 << 24
"""Bytes that are read at a time."""

_HEADER: Final = 1 << 12  # bytes of a header at most


class Rows(NamedTuple):
    """What a file holds.

    Attributes:
        image: of each of N rows.
        values: (N, fields) float32 labels, NaN where one is missing.
        digest: sha256 of the file.
    """

    image: ImageNames
    values: FloatArray
    digest: str


class _UnclearError(Exception):
    """A file that is to be read line by line."""


def read_quickly(
    path: Path,
    fields: Sequence[str],
    tasks: Sequence[Task],
    *,
    by_name: Sequence[Sequence[str]],
    by_position: Sequence[Sequence[str]],
) -> Rows | None:
    """Read a file of rows ``<folder>/<file>,<number>,…`` with one header line.

    Args:
        path: the file.
        fields: names of the columns, that of the image first, in the order in which they are returned.
        tasks: the task of each field after it.
        by_name: as for ``lists.read_rows``.
        by_position: as there; its rows have the fields in the order of ``fields``.

    Returns:
        Its rows, or None where it must be read line by line: it has a fault, blank or quoted fields, blanks around a
        name, a comma or no line end after the last field.

    Raises:
        OSError: the file cannot be read.
    """
    digest, folders, files = hashlib.sha256(), dict[str, int](), dict[str, int]()
    codes: list[list[Any]] = [[], []]
    values = []
    try:
        with open_file(path) as file:
            header = file.readline(_HEADER)
            digest.update(header)
            names = header_names(path, _text(header), "", by_name, by_position)
            columns = names if len(names) == len(fields) else fields
            while block := file.read(BLOCK):
                block += file.readline(BLOCK)
                digest.update(block)
                table = _parse(block, columns, fields[0])
                numbers = np.stack([table[name].to_numpy() for name in fields[1:]], axis=1)
                checked = check_values(numbers, tasks)
                if checked is None:
                    return None
                values.append(checked.astype(np.float32))
                for part, known, code in zip(_split(table[fields[0]]), (folders, files), codes, strict=True):
                    code.append(_coded(part, known))
    except (_UnclearError, DataError, UnicodeDecodeError, pa.ArrowInvalid):
        return None
    if not values:
        return None
    image = ImageNames([f"{name}/" for name in folders], list(files), *map(np.concatenate, codes))
    return Rows(image, np.concatenate(values), digest.hexdigest())


def _text(header: bytes) -> str:
    """Return a header line without what ``lists`` leaves out, too."""
    line = header.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    if not header.endswith(b"\n") or not line.isprintable():
        raise _UnclearError
    return line.removesuffix(",")


def _parse(block: bytes, columns: Sequence[str], image: str) -> Any:
    """Return an Arrow table of whole lines: the image as text, then numbers."""
    # to Arrow, a carriage return alone ends a line, and a byte order mark may begin any block
    alone = block.count(b"\r") != block.count(b"\r\n")
    if alone or not block.endswith(b"\n") or block.startswith(codecs.BOM_UTF8):
        raise _UnclearError
    return csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=list(columns)),
        csv.ParseOptions(quote_char=False, ignore_empty_lines=False),
        csv.ConvertOptions(
            column_types={name: pa.string() if name == image else pa.float64() for name in columns},
            null_values=[],
            strings_can_be_null=False,
        ),
    )


def _split(image: Any) -> Iterator[Any]:
    """Yield the folders and the files of paths, each with its distinct values once."""
    parts = pc.split_pattern(image.combine_chunks(), "/", max_splits=1, reverse=True)
    if pc.min_max(pc.list_value_length(parts))["min"].as_py() != 2:
        raise _UnclearError
    flat = parts.flatten()
    for place in range(2):
        yield flat.take(pa.array(np.arange(place, len(flat), 2))).dictionary_encode()


def _coded(part: Any, known: dict[str, int]) -> Any:
    """Return (N,) int32 numbers of the names of rows among those that are known, to which new ones are added."""
    names = part.dictionary.to_pylist()
    if any(not name.isprintable() or name != name.strip() for name in names):
        raise _UnclearError
    code = np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int32)
    return code[part.indices.to_numpy()]
