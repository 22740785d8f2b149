"""Read label files and test lists of the s-Aff-Wild2 multi-task challenge.

A label file has one header line and then rows of 16 fields, ``video/frame.jpg,V,A,E,AU1,…,AU26``. Its header comes
with 5 names (the organisers' files), below which fields are read by position, or with 16 (edited by some teams), whose
order the fields follow. A missing value is written −5 (valence/arousal) or −1 (expression, action unit), with or
without decimals: compared as numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import DataError, refuse
from affect.frames import Frames, IntArray, unlabelled
from affect.labels import AFFECT, AU_NAMES, EXPRESSIONS, MISSING_CLASS, MTL_HEADER, TASKS
from datamodules.listing import IMAGE_SUFFIXES
from datamodules.readers.lists import LAST_FRAME, check_names, frame_number, parse_rows, read_rows, without_faulty

FIELDS: Final = ("image", *AFFECT, "expression", *AU_NAMES)
HEADERS: Final = (tuple(MTL_HEADER.split(",")), FIELDS)
"""The organisers' header, and the one with a name for each field."""

_TASKS: Final = tuple(task for task, fields in zip(TASKS, (2, 1, len(AU_NAMES)), strict=True) for _ in range(fields))
"""The task of each field after the image."""


def read_mtl(path: Path, faults: list[DataError] | None = None) -> Frames:
    """Read a label file of the multi-task challenge.

    CRLF, one trailing comma and blank lines at the end are accepted; anything else but 16 fields is an error.

    Args:
        path: the label file.
        faults: of the data so far, to which those of all rows are added: what a faulty row would label is missing, and
            an image with a faulty name is "", in no video. None: the first is raised.

    Returns:
        Its rows, duplicates and rows without any label included.

    Raises:
        DataError: naming file and line, what was found there and how to fix it.
        OSError: the file cannot be read.
    """
    fix = "Is this a label file of the multi-task challenge?"
    names, rows, digest = read_rows(path, fix, by_position=HEADERS[:1], by_name=HEADERS[1:], faults=faults)
    if len(names) == len(FIELDS) and names != FIELDS:
        places = [names.index(name) for name in FIELDS]
        rows = [_in_order(row, places) for row in rows]
    values = parse_rows([row.partition(",")[2] for row in rows], _TASKS)
    if values is None:
        correct = "Correct or remove the line."
        rows = without_faulty(path, rows, FIELDS, _TASKS, len(EXPRESSIONS), (correct, correct), faults)
        values = parse_rows([row.partition(",")[2] for row in rows], _TASKS)
        assert values is not None
    image = [row.partition(",")[0].strip() for row in rows]
    video, frame = _split_names(path, image, faults)
    return Frames(
        video=video,
        frame=frame,
        image=image,
        valence_arousal=values[:, :2].astype(np.float32),
        expression=np.nan_to_num(values[:, 2], nan=MISSING_CLASS).astype(np.int64),
        action_units=values[:, 3:].astype(np.float32),
        files={path.name: digest},
    )


def read_frame_list(
    path: Path, headers: Sequence[Sequence[str]] = HEADERS, faults: list[DataError] | None = None
) -> Frames:
    """Read a list of frames: the first field of each row is the image, whatever follows is ignored.

    Args:
        path: the list, with one header line.
        headers: header lines that are accepted.
        faults: as for ``read_mtl``.

    Returns:
        Its rows in order, duplicates included, all labels missing.

    Raises:
        DataError: naming file and line, what was found there and how to fix it.
        OSError: the file cannot be read.
    """
    _, rows, digest = read_rows(path, "Is this the challenge's list?", by_position=headers, faults=faults)
    image = [row.partition(",")[0].strip() for row in rows]
    video, frame = _split_names(path, image, faults)
    return unlabelled(image, video, frame, {path.name: digest})


def _in_order(row: str, places: Sequence[int]) -> str:
    """Return a row with the fields of these places; one with more or fewer fields as it is, for the message."""
    fields = row.split(",")
    return ",".join([fields[place] for place in places]) if len(fields) == len(places) else row


def _split_names(path: Path, image: list[str], faults: list[DataError] | None) -> tuple[list[str], IntArray]:
    """Return video names and (N,) frame numbers of ``<video>/<frame>.jpg``; what is refused is blank."""
    video, frame = [], np.empty(len(image), dtype=np.int64)
    line_of: dict[str, int] = {}
    for line, name in enumerate(image, start=2):
        folder, _, file = name.rpartition("/")
        stem, point, suffix = file.rpartition(".")
        number = frame_number(stem)
        if not folder or number is None or (point + suffix).lower() not in IMAGE_SUFFIXES:
            error = DataError(
                f"{path}:{line}: the image is {name[:200]!r}, expected <video>/<frame number>.jpg, e.g. "
                f"video1/00001.jpg, up to {LAST_FRAME}. Correct the line."
            )
            refuse(error, faults)
            image[line - 2], folder, number = "", "", 0
        video.append(folder)
        frame[line - 2] = number
        if folder:
            line_of.setdefault(folder, line)
    if leading_out := check_names(path, line_of, faults):
        for row in [row for row, name in enumerate(video) if name in leading_out]:
            if line_of[video[row]] != row + 2:  # the first is noted
                check_names(path, {video[row]: row + 2}, faults)
            image[row] = video[row] = ""
    return video, frame
