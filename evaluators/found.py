"""The columns that a table of somebody's videos or pictures has besides: when, where and whose each face is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from affect.errors import DataError
from affect.frames import FloatArray, IntArray

BOX: Final = ("x", "y", "width", "height")

COLUMNS: Final = ("timestamp", "face_id", "success", "detection_score", *BOX)
"""Their names, in order."""


@dataclass(frozen=True, eq=False)
class Found:
    """The faces that were found in a video or in pictures; a frame without a face has one row, too.

    Attributes:
        timestamp: (N,) float64, s after the beginning of the stream at which the frame is shown; NaN: not told.
        face_id: (N,) from 1: the same number within a video is the same person; 0 where there is no face.
        detection_score: (N,) float32, how sure the detector is, 0..1; NaN where there is no face.
        box: (N, 4) float32, left, top, width and height, px of the upright frame; NaN where there is no face.
    """

    timestamp: NDArray[np.float64]
    face_id: IntArray
    detection_score: FloatArray
    box: FloatArray

    @property
    def success(self) -> NDArray[np.bool_]:
        """(N,) whether there is a face."""
        return self.face_id > 0

    def columns(self) -> dict[str, Any]:
        """Return the Arrow columns."""
        none = ~self.success
        return {
            "timestamp": pa.array(self.timestamp, mask=np.isnan(self.timestamp)),
            "face_id": pa.array(self.face_id, mask=none),
            "success": pa.array(self.success),
            "detection_score": pa.array(self.detection_score, mask=none),
            **{name: pa.array(column, mask=none) for name, column in zip(BOX, self.box.T, strict=True)},
        }

    @classmethod
    def of(cls, content: Any, source: str) -> Found | None:
        """Read them from an Arrow table; None if it has none of them.

        Raises:
            DataError: some are missing, of another type, outside their range, or do not agree on where there is a face.
        """
        there = [name for name in COLUMNS if name in content.column_names]
        if not there:
            return None
        if missing := [name for name in COLUMNS if name not in there]:
            raise DataError(f"{source}: it has the column {there[0]}, but not {', '.join(missing)}; predict again")
        kinds = {"success": pa.types.is_boolean, "face_id": pa.types.is_integer}
        for name in COLUMNS:
            if not kinds.get(name, pa.types.is_floating)(content[name].type):
                raise DataError(f"{source}: column {name} is {content[name].type}, which it must not be; predict again")
        success = np.asarray(content["success"].to_numpy(zero_copy_only=False), dtype=object) == True  # noqa: E712
        for name in COLUMNS[1:]:
            if name != "success" and not np.array_equal(content[name].is_valid().to_numpy(), success):
                raise DataError(f"{source}: {name} must be null exactly where success is false; predict again")
        face_id = content["face_id"].fill_null(0).to_numpy().astype(np.int64)
        if content["success"].null_count or (face_id[success] < 1).any():
            raise DataError(f"{source}: face_id counts from 1, and success is true or false; predict again")
        score, *box = (_floats(content, name, source, np.float32) for name in ("detection_score", *BOX))
        if (score[success] < 0).any() or (score[success] > 1).any():
            raise DataError(f"{source}: detection_score has values outside [0, 1]; predict again")
        time = _floats(content, "timestamp", source, np.float64)
        return cls(time, face_id, score, np.stack(box, axis=1))


def _floats(content: Any, name: str, source: str, kind: type[Any]) -> NDArray[Any]:
    values = content[name].to_numpy(zero_copy_only=False)
    if np.isfinite(values.astype(np.float64)).sum() != len(content) - content[name].null_count:
        raise DataError(f"{source}: column {name} holds NaN or infinity; what is missing must be null")
    made: NDArray[Any] = values.astype(kind)
    return made
