"""Write a prediction table as text: CSV, which every statistics program reads as it is."""

from __future__ import annotations

from pathlib import Path

import pyarrow.csv  # type: ignore[import-untyped]

from affect.errors import UserError
from affect.files import whole_file
from evaluators.table import Table, to_arrow


def check_separator(separator: str) -> None:
    """Refuse what no program takes for a separator, or what numbers and names consist of.

    Raises:
        UserError: it is not one character, or one of those.
    """
    if len(separator) != 1 or not separator.isascii() or separator.isalnum() or separator in "\"'.-+_\r\n":
        raise UserError(f"separator is {separator!r}: give one character, ',' ';' or a tab ('separator=\"\\t\"')")


def write_csv(table: Table, path: Path, separator: str = ",") -> None:
    """Write a table as CSV (RFC 4180, UTF-8, one header line); the file appears as a whole or not at all.

    Every number has as many digits as give back the float32 or float64 of the table; what is null is empty; success is
    ``true`` or ``false``. Texts with a separator, a quote or a line break are in double quotes.
    """
    check_separator(separator)
    options = pyarrow.csv.WriteOptions(delimiter=separator, quoting_style="needed", quoting_header="none")
    with whole_file(path) as beside:
        pyarrow.csv.write_csv(to_arrow(table), str(beside), options)
