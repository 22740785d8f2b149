"""The prediction table: one row per row of a split's frame list, in its order, duplicates included.

A table is a Parquet file with the columns ``row``, ``video``, ``frame``, ``image``, then float32 predictions of the
tasks that the model has: ``valence``, ``arousal`` in [-1, 1], ``expr_<name>`` and ``au<k>`` probabilities, and optional
``logit_expr_<name>``, ``logit_au<k>``; last, the columns of ``evaluators.bounds`` where they were asked for. Tables of
somebody's videos and pictures have the columns of ``evaluators.found`` after the first four. A row whose image could
not be read is there with nulls (in memory: NaN). The file's metadata holds one JSON object under ``prediction_table``:
schema version, label-file hashes, what made it; and under ``sha256`` a checksum of all columns and the other metadata,
however the file lays them out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from affect.computed import Names
from affect.errors import DataError
from affect.frames import FloatArray, Frames, IntArray
from affect.labels import EXPRESSION_LISTS, EXPRESSIONS, TASKS, label_names
from evaluators.bounds import Bounds
from evaluators.found import Found
from evaluators.parquet import open_parquet, write_parquet

SCHEMA_VERSION: Final = 1
METADATA_KEY: Final = b"prediction_table"
IDENTITY: Final = {"row": "integer", "video": "string", "frame": "integer", "image": "string"}


@dataclass(frozen=True, eq=False)
class Table:
    """A prediction table in memory.

    Attributes:
        video: name of the video, per row.
        frame: (N,) frame number within the video.
        image: image path as the list has it.
        predictions: float32 arrays by the keys of ``Predictions``; NaN where the file has nulls.
        expressions: class names of the expression columns, in label order.
        metadata: what made the table, as JSON values.
        source: name of the table in messages, usually its path.
        found: of somebody's videos or pictures: when, where and whose each face is. Such a table is sorted by video,
            frame and face.
        bounds: intervals and sets around the predictions, where post-processing has made some.
    """

    video: Sequence[str]
    frame: IntArray
    image: Sequence[str]
    predictions: Mapping[str, FloatArray]
    expressions: tuple[str, ...]
    metadata: Mapping[str, Any]
    source: str
    found: Found | None = None
    bounds: Bounds | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def files(self) -> Mapping[str, str]:
        """Label-file names to sha256, as recorded when the table was made."""
        files: Mapping[str, str] = self.metadata.get("label_files", {})
        return files

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the table has predictions of."""
        return tuple(task for task in TASKS if task in self.predictions)

    @property
    def null(self) -> NDArray[np.bool_]:
        """(N,) rows without a prediction: their image is missing or unreadable."""
        missing = np.zeros(len(self), dtype=bool)
        for values in self.predictions.values():
            missing |= np.isnan(values).any(axis=1)
        return missing


def column_names(key: str, expressions: Sequence[str] = EXPRESSIONS) -> list[str]:
    """Return the column names of one entry of ``Predictions``."""
    task = key.removeprefix("logits_")
    prefix = ("" if key == task else "logit_") + ("expr_" if task == "expression" else "")
    return [prefix + name for name in label_names(expressions)[task]]


PREDICTION_KEYS: Final = (*TASKS, "logits_expression", "logits_action_units")
"""The keys of ``Predictions`` in the order of the columns."""


def table_of_rows(
    frames: Frames,
    rows: IntArray,
    predictions: Mapping[str, FloatArray],
    metadata: Mapping[str, Any],
    source: str,
    expressions: tuple[str, ...] = EXPRESSIONS,
) -> Table:
    """Make the table of a list from the predictions of some of its rows; the others are null.

    Args:
        frames: the list.
        rows: (n,) which rows are predicted.
        predictions: (n, columns) by the keys of ``Predictions``.
        metadata: what made the table; the label files' hashes are added.
        source: name of the table in messages.
        expressions: class names of the expression columns, in label order.
    """
    whole = {}
    for key, values in predictions.items():
        whole[key] = np.full((len(frames.frame), values.shape[1]), np.nan, dtype=np.float32)
        whole[key][rows] = values
    made = {**metadata, "label_files": dict(frames.files)}
    return Table(frames.video, frames.frame, frames.image, whole, expressions, made, source)


def write_table(table: Table, destination: str | Path) -> None:
    """Write a table; the file appears as a whole or not at all."""
    write_parquet(to_arrow(table), Path(destination))


def to_arrow(table: Table) -> Any:
    """Return the Arrow table that is written to the file, without its checksum."""
    videos = Names.of(table.video)
    columns = {
        "row": pa.array(np.arange(len(table), dtype=np.int64)),
        "video": pa.DictionaryArray.from_arrays(videos.numbers[0], list(videos.names)).cast(pa.string()),
        "frame": pa.array(np.asarray(table.frame, dtype=np.int64)),
        "image": pa.array(list(table.image), type=pa.string()),
    }
    if table.found is not None:
        columns |= table.found.columns()
    for key in PREDICTION_KEYS:
        if key in table.predictions:
            columns |= to_columns(key, table.predictions[key], table.expressions)
    if table.bounds is not None:
        columns |= table.bounds.columns(table.expressions)
    metadata = {**table.metadata, "schema_version": SCHEMA_VERSION}
    return pa.table(columns).replace_schema_metadata({METADATA_KEY: json.dumps(metadata)})


def read_table(path: str | Path) -> Table:
    """Read a table and check it.

    Raises:
        DataError: no such file, not Parquet, damaged, not a prediction table, another schema version, a column is
            missing or of another type, rows are not 0..N-1, a value is NaN or outside its range.
    """
    content = open_parquet(Path(path))
    metadata = _metadata(content, str(path))
    missing = [name for name in IDENTITY if name not in content.column_names]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}")
    for name, kind in IDENTITY.items():
        if not _is(kind, content[name].type) or content[name].null_count:
            raise DataError(f"{path}: column {name} is {content[name].type}, expected {kind} without nulls")
    if not np.array_equal(content["row"].to_numpy(), np.arange(len(content))):
        raise DataError(f"{path}: column row is not 0..{len(content) - 1} in order")
    expressions, keys = known_columns(content.column_names, str(path))
    predictions = {key: from_columns(content, column_names(key, expressions), str(path)) for key in keys}
    for key, values in predictions.items():
        check_range(key, values, str(path))
    return Table(
        video=_names(content["video"]),
        frame=content["frame"].to_numpy(),
        image=content["image"].to_pylist(),
        predictions=predictions,
        expressions=expressions,
        metadata=metadata,
        source=str(path),
        found=Found.of(content, str(path)),
        bounds=Bounds.of(content, expressions, str(path)),
    )


def _names(column: Any) -> Names:
    """Return the names in an Arrow column of text."""
    coded = column.combine_chunks().dictionary_encode()
    return Names(coded.dictionary.to_pylist(), coded.indices.to_numpy())


def _metadata(content: Any, source: str) -> dict[str, Any]:
    """Read from an Arrow table what made it."""
    raw = (content.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise DataError(f"{source}: no {METADATA_KEY.decode()!r} metadata, so not a prediction table of this framework")
    try:
        metadata: dict[str, Any] = dict(json.loads(raw))
        files = {str(name): str(sha256) for name, sha256 in dict(metadata.get("label_files", {})).items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{source}: its {METADATA_KEY.decode()!r} metadata is damaged ({error}); predict again"
        ) from error
    version = metadata.get("schema_version")
    if version != SCHEMA_VERSION:
        raise DataError(f"{source}: schema version {version}, this code reads {SCHEMA_VERSION}; predict again")
    return {**metadata, "label_files": files} if "label_files" in metadata else metadata


def check_same_list(tables: Sequence[Frames | Table]) -> None:
    """Refuse tables, or tables and frame lists, that do not list the same frames in the same order.

    Raises:
        DataError: other label-file hashes (where both know theirs), another length, another video or frame in a row.
    """
    called = [getattr(table, "source", "the frame list") for table in tables]
    first, first_name = tables[0], called[0]
    for other, name in zip(tables[1:], called[1:], strict=True):
        pair = f"{first_name} and {name} are of different lists"
        if len(first.frame) != len(other.frame):
            raise DataError(f"{pair}: {len(first.frame)} and {len(other.frame)} rows; use tables of one split")
        differs = np.asarray(first.frame) != np.asarray(other.frame)
        differs |= _differ(Names.of(first.video), Names.of(other.video))
        if differs.any():
            row = int(differs.argmax())
            a, b = (f"{one.video[row]} frame {one.frame[row]}" for one in (first, other))
            raise DataError(f"{pair}: row {row} is {a} in one, {b} in the other; use tables of one split")
        if first.files and other.files and sorted(first.files.values()) != sorted(other.files.values()):
            raise DataError(
                f"{pair}: same frames, but the label files {', '.join(sorted({*first.files, *other.files}))} differ in "
                "content (sha256); predict again on the present files"
            )


def _differ(first: Names, other: Names) -> NDArray[np.bool_]:
    """Return (N,) where the names of rows differ."""
    code_of = {name: code for code, name in enumerate(first.names)}
    codes = np.array([code_of.get(name, -1) for name in other.names], dtype=np.int64)
    differ: NDArray[np.bool_] = first.numbers[0] != codes[other.numbers[0]]
    return differ


def check_range(key: str, values: FloatArray, source: str) -> None:
    """Refuse probabilities outside [0, 1] (logits, say) and valence or arousal outside [-1, 1]; NaN passes.

    Raises:
        DataError: naming ``source``, the prediction and its range.
    """
    if key in TASKS:
        low = -1.0 if key == "valence_arousal" else 0.0
        if ((values < low - 1e-6) | (values > 1 + 1e-6)).any():  # float32 means may exceed 1 by a rounding error
            raise DataError(f"{source}: {key} has values outside [{low:g}, 1]; clamp, softmax or sigmoid it first")


def some_rows(rows: Iterable[int]) -> str:
    """Format row numbers as a readable list."""
    listed = list(rows)
    more = f" and {len(listed) - 10} more" if len(listed) > 10 else ""
    return f"row {', '.join(str(row) for row in listed[:10])}{more}"


def known_columns(names: Sequence[str], source: str) -> tuple[tuple[str, ...], list[str]]:
    """Find the class list of the columns, in its order, and the complete entries of ``Predictions``."""
    present = set(names)
    plain = dict.fromkeys(name.removeprefix("logit_") for name in names)
    classes = tuple(name.removeprefix("expr_") for name in plain if name.startswith("expr_"))
    if classes and classes not in EXPRESSION_LISTS:
        raise DataError(
            f"{source}: the expression columns {list(classes)} are none of the known class lists in their order"
        )
    expressions = classes or EXPRESSIONS
    keys = []
    for key in PREDICTION_KEYS:
        missing = [name for name in column_names(key, expressions) if name not in present]
        if not missing:
            keys.append(key)
        elif len(missing) < len(column_names(key, expressions)):
            raise DataError(f"{source}: no column {', '.join(missing)}")
    if not set(keys) & set(TASKS):
        raise DataError(f"{source}: no prediction columns (valence, arousal, expr_<name> or au<k>)")
    return expressions, keys


def to_columns(key: str, values: FloatArray, expressions: Sequence[str]) -> dict[str, Any]:
    """Return the Arrow columns of one entry of ``Predictions``, null where ``values`` (N, columns) is NaN."""
    names = column_names(key, expressions)
    return {name: pa.array(column, mask=np.isnan(column)) for name, column in zip(names, values.T, strict=True)}


def from_columns(table: Any, names: Sequence[str], source: str) -> FloatArray:
    """Return (N, len(names)) float32, NaN for nulls and for columns that the table does not have.

    Raises:
        DataError: a column holds NaN, an infinite value, or no floating-point numbers.
    """
    result = np.full((len(table), len(names)), np.nan, dtype=np.float32)
    for index, name in enumerate(names):
        if name not in table.column_names:
            continue
        if not _is("floating", table[name].type):
            raise DataError(f"{source}: column {name} is {table[name].type}, expected floating-point numbers")
        result[:, index] = table[name].to_numpy()
        if np.isfinite(result[:, index]).sum() != len(table) - table[name].null_count:
            raise DataError(f"{source}: column {name} holds NaN or infinity; a missing prediction must be null")
    return result


def _is(kind: str, column_type: Any) -> bool:
    """Return whether an Arrow type is one of a kind, in whatever width."""
    return bool(
        {
            "integer": pa.types.is_integer,
            "floating": pa.types.is_floating,
            "string": lambda one: pa.types.is_string(one) or pa.types.is_large_string(one),
        }[kind](column_type)
    )
