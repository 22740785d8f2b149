"""The rows of a stream, written as they come: a CSV that grows, from which the table is made at the end.

Each frame's rows are one write at the end of the file, so a kill leaves whole lines, of all frames but the last. What a
kill has left is a CSV with the columns of the table's own, for any program.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.csv  # type: ignore[import-untyped]

from affect.errors import DataError
from evaluators.parquet import write_parquet
from evaluators.table import METADATA_KEY, SCHEMA_VERSION, Table, to_arrow

SUFFIX: Final = ".recording.csv"
"""Of the file while it grows."""


class Recording:
    """Writes the tables of frames, one after the other.

    Args:
        path: of the CSV, which must not be there.

    Raises:
        DataError: it is there: it is what a killed process left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("xb", buffering=0)
        except FileExistsError as error:
            raise DataError(
                f"{path} is there: it is what a recording left that was killed, a CSV with all its rows. Move it away, "
                "or give overwrite=true"
            ) from error
        self._rows = 0
        self._types: dict[str, Any] = {}

    def add(self, table: Table) -> None:
        """Write the rows of the next frame."""
        content = to_arrow(table)
        rows = pa.array(np.arange(self._rows, self._rows + len(table), dtype=np.int64))
        content = content.set_column(0, "row", rows)
        text = io.BytesIO()
        options = pa.csv.WriteOptions(
            include_header=not self._rows, quoting_style="needed", quoting_header="none"
        )  # as evaluators.text.write_csv
        pa.csv.write_csv(content, text, options)
        self._file.write(text.getbuffer())
        self._types = {field.name: field.type for field in content.schema}
        self._rows += len(table)

    def close(self) -> None:
        """Write no more; of a stream without any frame nothing is left."""
        if not self._file.closed and not self._rows:
            self.path.unlink()
        self._file.close()

    def finish(self, path: Path, metadata: Mapping[str, Any]) -> None:
        """Make the table of all rows, as Parquet, and remove the CSV.

        Args:
            path: of the table; it appears as a whole or not at all.
            metadata: what made it.
        """
        self.close()
        options = pa.csv.ConvertOptions(column_types=self._types)
        content = pa.csv.read_csv(self.path, convert_options=options)
        told = {**metadata, "schema_version": SCHEMA_VERSION}
        write_parquet(content.replace_schema_metadata({METADATA_KEY: json.dumps(told)}), path)
        self.path.unlink()
