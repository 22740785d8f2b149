"""What is wrong with a submission, before the organisers say so: all faults at once, with their lines.

It reads the text by itself, as a grader would who forgives nothing; the readers of label files accept more.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from affect.errors import DataError
from affect.files import read_file
from affect.frames import rows_by_video
from affect.labels import (
    AFFECT,
    AU_NAMES,
    EXPRESSIONS,
    LIST_FIELD,
    LSD_EXPRESSIONS,
    LSD_HEADER,
    MTL_HEADER,
    UNI_HEADERS,
    UniTask,
)
from datamodules.readers.lists import read_text
from datamodules.readers.mtl import read_frame_list
from datamodules.readers.uni import read_frame_counts, read_test_videos

NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
Check = Callable[[str], str | None]
"""Says what is wrong with a field's text; None: nothing."""


class Fault(NamedTuple):
    """One fault: the file, its line (None: of the file as a whole), its kind, and what is wrong."""

    file: Path
    line: int | None
    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.kind}: {self.what}"


@dataclass(frozen=True)
class Form:
    """The form of a challenge's submission.

    Attributes:
        name: of the challenge.
        header: the first line.
        fields: name and check of each field of a row, the image left out.
    """

    name: str
    header: str
    fields: tuple[tuple[str, Check], ...]


def _affect(text: str) -> str | None:
    if not NUMBER.fullmatch(text):
        return "no number"
    return None if math.fabs(float(text)) <= 1 else "not in [-1, 1]"


def _class(count: int) -> Check:
    allowed = {str(number) for number in range(count)}
    return lambda text: None if text in allowed else f"none of 0 to {count - 1}"


def _unit(text: str) -> str | None:
    return None if text in ("0", "1") else "neither 0 nor 1"


_FIELDS: Final[dict[UniTask, tuple[tuple[str, Check], ...]]] = {
    "va": tuple((name, _affect) for name in AFFECT),
    "expr": (("expression", _class(len(EXPRESSIONS))),),
    "au": tuple((name, _unit) for name in AU_NAMES),
}
FORMS: Final = (
    Form("multi-task challenge", MTL_HEADER, (*_FIELDS["va"], *_FIELDS["expr"], *_FIELDS["au"])),
    Form("learning from synthetic data", LSD_HEADER, (("expression", _class(len(LSD_EXPRESSIONS))),)),
    *(Form(f"{task} challenge", f"{LIST_FIELD},{UNI_HEADERS[task]}", fields) for task, fields in _FIELDS.items()),
)
PER_VIDEO: Final = tuple(
    Form(f"{task} challenge, a file a video", UNI_HEADERS[task], fields) for task, fields in _FIELDS.items()
)
"""ABAW1 to 3: a folder of files with the header of the label files, whose rows are the frames 1, 2, 3, …"""


def check_submission(submission: Path, listed: Path) -> tuple[Form, int, list[Fault]]:
    """Compare a submission with the official list that it answers.

    Args:
        submission: the text file; of ABAW1 to 3 the folder with a file for each video.
        listed: the official list: of images, whose header tells the challenge; for a folder also one of videos, with
            their numbers of frames or without.

    Returns:
        The form, how many rows the list asks for (0 where it names videos alone), and the faults.

    Raises:
        DataError: a file is not there or no text, or the list is none of the official ones.
    """
    if submission.is_dir():
        return _check_folder(submission, listed)
    header = read_text(listed)[0][0].strip()
    form = next((form for form in FORMS if form.header.lower() == header.lower()), None)
    if form is None and header.lower() == LIST_FIELD:
        own = _first_line(submission)
        form = next((form for form in FORMS if form.header == own), None)
    if form is None:
        raise DataError(
            f"{listed}:1: the header is {header[:200]!r}, and no challenge's list has it. Give the organisers' list: "
            + ", ".join(repr(form.header) for form in FORMS)
        )
    if form.header == LSD_HEADER:
        wanted = [line.partition(",")[0].strip() for line in read_text(listed)[0][1:]]
    else:
        wanted = list(read_frame_list(listed, [form.header.split(","), (LIST_FIELD,)]).image)
    begins = _first_line(submission)
    if (other := next((one for one in FORMS if one.header == begins and one is not form), None)) is not None:
        mixed = (
            f"it is a submission to the {other.name}, and the list is of the {form.name}: give the list that it answers"
        )
        return form, len(wanted), [Fault(submission, 1, "another challenge", mixed)]
    rows, faults = _rows(submission, form)
    given = [(line, text.partition(",")[0].strip()) for line, text in rows]
    for line, text in rows:
        faults += _field_faults(submission, line, text.partition(",")[2], form)
    return form, len(wanted), [*faults, *_order_faults(submission, given, wanted)]


def _check_folder(folder: Path, listed: Path) -> tuple[Form, int, list[Fault]]:
    files = {path.stem: path for path in sorted(folder.iterdir()) if not path.name.startswith(".")}
    if not files:
        raise DataError(f"{folder} is empty: a folder with a file for each video is expected")
    header = _first_line(next(iter(files.values())))
    form = next((form for form in PER_VIDEO if form.header == header), None)
    if form is None:
        raise DataError(
            f"{next(iter(files.values()))}:1: the header is {header[:200]!r}, expected one of "
            + ", ".join(repr(form.header) for form in PER_VIDEO)
        )
    frames = _frames_of_videos(listed, form)
    faults = [Fault(folder, None, "missing", f"no file {name}.txt") for name in frames if name not in files]
    for name, path in files.items():
        if name not in frames or path.suffix != ".txt":
            faults.append(Fault(path, None, "extra", "the list has no such video" if name not in frames else "no .txt"))
            continue
        rows, found = _rows(path, form)
        faults += found
        for line, text in rows:
            faults += _field_faults(path, line, text, form)
        count = frames[name]
        if count is not None and len(rows) != count:
            kind = "missing" if len(rows) < count else "extra"
            faults.append(Fault(path, None, kind, f"{len(rows)} rows, and the list has {count} frames"))
    return form, sum(count or 0 for count in frames.values()), faults


def _frames_of_videos(listed: Path, form: Form) -> Mapping[str, int | None]:
    """Return how many frames each listed video has; None where the list does not say."""
    lines, _ = read_text(listed)
    first = lines[0].partition(",")[0].strip()
    if first.lower() == LIST_FIELD or "/" in first:
        frames = read_frame_list(listed, [(LIST_FIELD, *form.header.split(",")), (LIST_FIELD,)])
        return {video: len(rows) for video, rows in rows_by_video(frames.video).items()}
    if "," in lines[0] or " " in lines[0]:
        return dict(read_frame_counts(listed)[0])
    return dict.fromkeys(read_test_videos(listed))


def _text(path: Path) -> tuple[str, bool]:
    """Return a file's text, and whether it begins with a byte order mark."""
    content = read_file(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error}). Is this the right file?") from error
    return text.removeprefix("\ufeff"), text.startswith("\ufeff")


def _first_line(path: Path) -> str:
    return _text(path)[0].partition("\n")[0].strip()


def _rows(path: Path, form: Form) -> tuple[list[tuple[int, str]], list[Fault]]:
    """Return the rows with their lines, as they should read, and what is wrong with the file's text."""
    text, marked = _text(path)
    faults = [Fault(path, 1, "byte order mark", "save the file as UTF-8 without it")] if marked else []
    returns = text.count("\r")
    if returns:
        faults.append(Fault(path, None, "line ends", f"{returns} carriage returns: write \\n alone"))
    if not text.endswith("\n"):
        faults.append(Fault(path, None, "line ends", "the last line has none: is the file cut off?"))
    lines = text.removesuffix("\n").split("\n")
    header = lines[0].removesuffix("\r")
    if header != form.header:
        faults.append(Fault(path, 1, "header", f"{header[:200]!r}, expected {form.header!r}"))
    rows = []
    begin = 1 if header.partition(",")[0].strip().lower() == form.header.partition(",")[0].lower() else 0
    for number, line in enumerate(lines[begin:], begin + 1):
        row = line.removesuffix("\r")
        if not row.strip():
            faults.append(Fault(path, number, "blank line", "remove it"))
            continue
        if row.endswith(","):
            faults.append(Fault(path, number, "trailing comma", row[-60:]))
            row = row.removesuffix(",")
        if row != re.sub(r"\s", "", row):
            faults.append(Fault(path, number, "space", repr(row[:60])))
            row = ",".join(field.strip() for field in row.split(","))
        rows.append((number, row))
    return rows, faults


def _field_faults(path: Path, line: int, text: str, form: Form) -> Iterator[Fault]:
    values = text.split(",") if text else []
    if len(values) != len(form.fields):
        yield Fault(path, line, "fields", f"{len(values)} values, expected {len(form.fields)}")
        return
    for (name, check), value in zip(form.fields, values, strict=True):
        if (problem := check(value)) is not None:
            yield Fault(path, line, "value", f"{name} is {value[:40]!r}, {problem}")


def _order_faults(path: Path, given: Sequence[tuple[int, str]], wanted: Sequence[str]) -> Iterator[Fault]:
    """Find what is missing, there too often, unknown, or elsewhere; the list itself may have an image twice."""
    left = Counter(wanted)
    kept: list[tuple[int, str]] = []
    for line, image in given:
        if left[image] > 0:
            left[image] -= 1
            kept.append((line, image))
        elif image in left:
            yield Fault(path, line, "duplicate", f"{image} is there more often than in the list")
        else:
            yield Fault(path, line, "extra", f"{image} is not in the list")
    missing = +left
    for image, count in missing.items():
        yield Fault(path, None, "missing", f"{image}{f', {count} times' if count > 1 else ''}")
    order = []
    for image in reversed(wanted):  # of an image that is there too seldom, the last rows are the missing ones
        if missing[image] > 0:
            missing[image] -= 1
        else:
            order.append(image)
    wrong = [(line, image, right) for (line, image), right in zip(kept, reversed(order), strict=True) if image != right]
    if wrong:
        line, image, right = wrong[0]
        yield Fault(path, line, "order", f"{image} where the list has {right}; {len(wrong)} rows stand elsewhere")
