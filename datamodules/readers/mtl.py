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

from affect.computed import ImageNames, Names
from affect.errors import DataError, refuse
from affect.frames import Frames, IntArray, unlabelled
from affect.labels import AFFECT, AU_NAMES, EXPRESSIONS, MISSING_CLASS, MTL_HEADER, TASKS
from datamodules.listing import IMAGE_SUFFIXES
from datamodules.readers.lists import LAST_FRAME, check_names, frame_number, parse_rows, read_rows, without_faulty
from datamodules.readers.quick import Rows, read_quickly

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
    quick = read_quickly(path, FIELDS, _TASKS, by_position=HEADERS[:1], by_name=HEADERS[1:])
    image, values, digest = _read_lines(path, faults) if quick is None else quick
    image, frame = _check_names(path, image, faults)
    return Frames(
        video=Names([folder[:-1] for folder in image.folders], image.numbers[0]),
        frame=frame,
        image=image,
        valence_arousal=values[:, :2].copy(),
        expression=np.nan_to_num(values[:, 2], nan=MISSING_CLASS).astype(np.int64),
        action_units=values[:, 3:].copy(),
        files={path.name: digest},
    )


def _read_lines(path: Path, faults: list[DataError] | None) -> Rows:
    """Read a label file line by line; the arguments are as for ``read_mtl``."""
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
    return Rows(_names(rows), values.astype(np.float32), digest)


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
    image, frame = _check_names(path, _names(rows), faults)
    video = Names([folder[:-1] for folder in image.folders], image.numbers[0])
    return unlabelled(image, video, frame, {path.name: digest})


def _names(rows: Sequence[str]) -> ImageNames:
    """Return the names of the images of rows as they are given, in whatever form."""
    parts = [row.partition(",")[0].strip().rpartition("/") for row in rows]
    folder, file = Names.of([folder + slash for folder, slash, _ in parts]), Names.of([file for *_, file in parts])
    return ImageNames(folder.names, file.names, folder.numbers[0], file.numbers[0])


def _in_order(row: str, places: Sequence[int]) -> str:
    """Return a row with the fields of these places; one with more or fewer fields as it is, for the message."""
    fields = row.split(",")
    return ",".join([fields[place] for place in places]) if len(fields) == len(places) else row


def _check_names(path: Path, image: ImageNames, faults: list[DataError] | None) -> tuple[ImageNames, IntArray]:
    """Return the names and the (N,) frame numbers of ``<video>/<frame>.jpg``; what is refused is blank."""
    folder, file = image.numbers
    number = np.array([_frame(name) for name in image.files], dtype=np.int64)[file]
    nowhere = np.array([name in ("", "/") for name in image.folders])[folder]
    refused = (number < 0) | nowhere
    for row in np.flatnonzero(refused).tolist():
        error = DataError(
            f"{path}:{row + 2}: the image is {image[row][:200]!r}, expected <video>/<frame number>.jpg, e.g. "
            f"video1/00001.jpg, up to {LAST_FRAME}. Correct the line."
        )
        refuse(error, faults)
    number[refused] = 0
    kept = np.flatnonzero(~refused)
    first = Names(image.folders, folder[kept]).first_rows()
    used = [code for code in np.argsort(first, kind="stable").tolist() if first[code] < len(kept)]
    line_of = {image.folders[code][:-1]: int(kept[first[code]]) + 2 for code in used}
    if leading_out := check_names(path, line_of, faults):
        for row in [row for row in kept.tolist() if image.folders[folder[row]][:-1] in leading_out]:
            name = image.folders[folder[row]][:-1]
            if line_of[name] != row + 2:  # the first is noted
                check_names(path, {name: row + 2}, faults)
            refused[row] = True
    if not refused.any():
        return image, number
    folders, files = dict.fromkeys([*image.folders, ""]), [*image.files, ""]
    blank = list(folders).index("")
    return ImageNames(
        list(folders), files, np.where(refused, blank, folder), np.where(refused, len(files) - 1, file)
    ), number


def _frame(file: str) -> int:
    """Return the number of the frame that an image's file is of; −1 where it is none."""
    stem, point, suffix = file.rpartition(".")
    number = frame_number(stem)
    return -1 if number is None or (point + suffix).lower() not in IMAGE_SUFFIXES else number
