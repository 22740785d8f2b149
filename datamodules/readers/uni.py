"""Read label files, test lists and frame counts of ABAW's uni-task challenges.

A label file belongs to one video (or to one of two people in it): one header line, then a row for each frame from 1 on.
Where its header has a name for each field, the fields follow the names' order; above one number stand the names of all
expressions, in the official order only. Missing values are as in ``datamodules.readers.mtl``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import DataError, refuse
from affect.folds import base_video
from affect.frames import Frames
from affect.labels import (
    ABAW2_ACTION_UNITS,
    ABAW2_EXPRESSIONS,
    LIST_FIELD,
    UNI_HEADERS,
    UNI_TASKS,
    Task,
    UniTask,
)
from datamodules.readers.lists import (
    Values,
    check_names,
    frame_number,
    parse_rows,
    read_rows,
    read_text,
    without_faulty,
)
from datamodules.readers.mtl import read_frame_list

HEADERS: Final[dict[UniTask, tuple[tuple[str, ...], ...]]] = {
    "va": (tuple(UNI_HEADERS["va"].split(",")),),
    "expr": (tuple(UNI_HEADERS["expr"].split(",")), tuple(name.capitalize() for name in ABAW2_EXPRESSIONS)),
    "au": (tuple(UNI_HEADERS["au"].split(",")), tuple(f"AU{unit}" for unit in ABAW2_ACTION_UNITS)),
}
"""Headers of label files since ABAW3, and as ABAW1 and 2 had them."""

MOST_FRAMES: Final = 10_000_000
"""Most frames that a video may have (four days); a larger number is a mistake, and would fill the memory."""

_SUFFIXES: Final = (".mp4", ".avi", ".txt")


def read_labels(path: Path, task: UniTask, faults: list[DataError] | None = None) -> tuple[Values, str]:
    """Read the label file of one video.

    CRLF, a byte order mark, one trailing comma and blank lines at the end are accepted.

    Args:
        path: the label file.
        task: task of the challenge.
        faults: of the data so far, to which those of all rows are added: what such a row would label is missing. None:
            the first is raised.

    Returns:
        Values of its N rows, NaN where missing, and the file's sha256. (N, 2) valence and arousal, both missing where
        either is; (N, 1) the expression's number; (N, 12) action units, those that the file does not have missing.

    Raises:
        DataError: naming file and line, what was found there and how to fix it.
        OSError: the file cannot be read.
    """
    fix, known = f"Is this a label file of data.task={task}?", HEADERS[task]
    by_name, by_position = ((), known) if task == "expr" else (known, ())
    names, rows, digest = read_rows(path, fix, by_name=by_name, by_position=by_position, faults=faults)
    columns = ("expression",) if task == "expr" else names
    tasks = [UNI_TASKS[task]] * len(columns)
    values = _parse_distinct(rows, tasks, len(names))
    if values is None:
        leave = "Correct the line, but leave it: the rows are the frames 1, 2, 3, ..."
        rows = without_faulty(path, rows, columns, tasks, len(names), (leave, "Correct the line."), faults)
        values = _parse_distinct(rows, tasks, len(names))
        assert values is not None
    return _placed(values, names, task), digest


def _parse_distinct(rows: Sequence[str], tasks: Sequence[Task], classes: int) -> Values | None:
    """Parse rows as ``parse_rows`` does, each distinct one once: most repeat the one before them."""
    code_of = {row: code for code, row in enumerate(dict.fromkeys(rows))}
    values = parse_rows(list(code_of), tasks, classes)
    return None if values is None else values[[code_of[row] for row in rows]]


def read_test_frames(path: Path, task: UniTask, faults: list[DataError] | None = None) -> tuple[Frames | None, str]:
    """Read a test list, if it lists frames.

    Args:
        path: a list of frames (``image_location,…`` and rows ``<video>/<frame>.jpg,…``, of which only the first field
            is read) or of videos.
        task: task of the challenge.
        faults: as for ``datamodules.readers.mtl.read_mtl``.

    Returns:
        Its rows in order, or None where the file lists videos; and its sha256.

    Raises:
        DataError: the file is no text or empty, its header is missing, or an image's name is of another form.
    """
    lines, digest = read_text(path, faults)
    fields = [line.partition(",")[0] for line in lines[:2]]
    if fields[0].strip().lower() != LIST_FIELD and not any("/" in field for field in fields):
        return None, digest
    return read_frame_list(path, [(LIST_FIELD, *names) for names in (*HEADERS[task], ())], faults), digest


def read_test_videos(path: Path, faults: list[DataError] | None = None) -> list[str]:
    """Read a list of videos: one name per line, no header; a suffix .mp4, .avi or .txt is left out.

    Args:
        path: the list.
        faults: of the data so far; faulty lines are left out then. None: the first is raised.

    Raises:
        DataError: the file is no text or empty, a line is blank or there twice, or a name leads elsewhere.
    """
    lines, _ = read_text(path, faults)
    line_of: dict[str, int] = {}
    for line, text in enumerate(lines, start=1):
        _add_video(path, line_of, _video(text), line, faults)
    leading_out = check_names(path, line_of, faults)
    return [name for name in line_of if name not in leading_out]


def read_frame_counts(path: Path, faults: list[DataError] | None = None) -> tuple[dict[str, int], str]:
    """Read how many frames videos have: ``<video>,<n>`` a line (ABAW2 and 3), or a sentence of ABAW1.

    The sentences have the video's name as their third word and the number as their tenth
    (github.com/zerosansan/fg2020_abaw, src/fix_missing_predictions.py).

    Args:
        path: the file.
        faults: of the data so far; faulty lines are left out then. None: the first is raised.

    Returns:
        Number of frames by video, and the file's sha256.

    Raises:
        DataError: the file is no text or empty, a line is neither, a video is there twice, or a name leads
            elsewhere.
    """
    lines, digest = read_text(path, faults)
    counts: dict[str, int] = {}
    line_of: dict[str, int] = {}
    for line, text in enumerate(lines, start=1):
        words = text.split(",") if "," in text else text.split()[2:10:7]
        name, count = (_video(words[0]), frame_number(words[1].strip())) if len(words) == 2 else ("", None)
        if not name or count is None or not 0 < count <= MOST_FRAMES:
            error = DataError(
                f"{path}:{line}: {text[:60]!r} is not <video>,<number of frames>, from 1 to {MOST_FRAMES}. Correct or "
                "remove the line."
            )
            refuse(error, faults)
            continue
        if _add_video(path, line_of, name, line, faults):
            counts[name] = count
    check_names(path, line_of, faults)
    return counts, digest


def frame_count(video: str, counts: dict[str, int]) -> int | None:
    """Return a video's number of frames; ``_left`` and ``_right`` are two people in a video that is counted once."""
    return counts.get(video, counts.get(base_video(video)))


def _add_video(path: Path, line_of: dict[str, int], name: str, line: int, faults: list[DataError] | None) -> bool:
    """Note the line of a video; return false where it is refused: it is none, or several, or named already."""
    if not name or "," in name or "/" in name or name in line_of:
        found = (
            f"video {name!r} is listed in line {line_of[name]} already"
            if name in line_of
            else (f"{name[:200]!r} is not the name of one video")
        )
        refuse(DataError(f"{path}:{line}: {found}. Correct or remove the line."), faults)
        return False
    line_of[name] = line
    return True


def _video(text: str) -> str:
    name = text.strip()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _placed(values: Values, names: Sequence[str], task: UniTask) -> Values:
    """Return (N, fields) values in the columns of the framework, NaN in those that the file does not have."""
    columns = HEADERS[task][0]
    if task == "expr" or tuple(names) == columns:
        return values
    placed = np.full((len(values), len(columns)), np.nan)
    for place, name in enumerate(names):
        if name in columns:
            placed[:, columns.index(name)] = values[:, place]
    return placed
