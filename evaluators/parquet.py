"""Parquet files with a checksum of their content, however it is laid out: prediction tables and parts of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq  # type: ignore[import-untyped]

from affect.checksums import warn_unchecked
from affect.errors import DataError
from affect.files import whole_file

CHECKSUM_KEY: Final = b"sha256"
"""Key of the checksum in the file's metadata."""


def open_parquet(path: Path) -> Any:
    """Read a Parquet file that ``write_parquet`` wrote into an Arrow table, and check it against its checksum.

    Raises:
        DataError: no such file, not Parquet, or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such prediction table")
    try:
        table = pq.read_table(path, partitioning=None)
        metadata = dict(table.schema.metadata or {})
        expected = metadata.pop(CHECKSUM_KEY, None)
        table = table.replace_schema_metadata(metadata)
        found = None if expected is None else _checksum(table)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: not a Parquet file, or damaged ({reason}); predict again") from error
    if expected is None:
        warn_unchecked("a prediction table", path)
    elif found != expected:
        raise DataError(
            f"{path}: its content is not what was written: damaged, or edited without removing the metadata "
            f"{CHECKSUM_KEY.decode()!r}; predict again"
        )
    return table


def write_parquet(table: Any, path: Path) -> None:
    """Write an Arrow table with a checksum: the file appears as a whole or not at all."""
    metadata = {**(table.schema.metadata or {}), CHECKSUM_KEY: _checksum(table)}
    with whole_file(path) as beside:
        pq.write_table(table.replace_schema_metadata(metadata), beside)


def _checksum(table: Any) -> bytes:
    """Return the hexadecimal SHA-256 of an Arrow table's names, types, values and metadata."""
    digest = hashlib.sha256()
    for key, value in sorted((table.schema.metadata or {}).items()):
        digest.update(b"%d %d %s%s" % (len(key), len(value), key, value))
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(json.dumps([name, str(column.type), len(column), column.null_count]).encode())
        values = column.to_numpy()  # nulls become NaN or None
        digest.update(json.dumps(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return digest.hexdigest().encode()
