"""What predict.py draws of a table: the timeline beside it, and the source again with what was said of its faces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from affect.checksums import file_sha256
from affect.errors import DataError
from affect.files import whole_file, write_whole
from affect.frames import FloatArray, video_numbers
from affect.labels import ACTION_UNITS
from affect.names import below
from datamodules.pictures import read_image, write_jpeg
from evaluators.figures import person_colour
from evaluators.lanes import choose_faces, to_lanes
from evaluators.names import LEARNT
from evaluators.table import Table
from evaluators.timeline import is_made, page, picture
from runs.networks import origin
from runs.predictor import Shown
from videos.decoding import Image, Picture, decode
from videos.faces import cut
from videos.overlay import SUFFIXES, Mark, Pen, write_overlay
from videos.settings import CropSettings
from videos.sources import Source
from videos.tracks import to_squares

PAGE, PICTURE, OVERLAY = "timeline.html", "timeline.png", "overlay"
THUMBNAIL: Final = CropSettings(size=72)
_QUALITY: Final = 80  # of the thumbnails, as JPEG
_PICTURE_QUALITY: Final = 92  # of pictures that are drawn over


def draw_timeline(table: Table, source: Source, path: Path, thumbnails: int, shown: Shown) -> None:
    """Write timeline.html and timeline.png beside a table, unless they are there and of the same table.

    Args:
        table: of the source.
        source: whose faces are shown small.
        path: of the table.
        thumbnails: faces that are shown at most; 0 keeps all faces out of the page.
        shown: shows the progress.

    Raises:
        DataError: the source cannot be read again, or has changed.
    """
    made = f"{file_sha256(path)} {thumbnails}"
    if is_made(path.with_name(PAGE), made) and path.with_name(PICTURE).is_file():
        return
    with whole_file(path.with_name(PICTURE)) as beside:
        beside.write_bytes(picture(table, source.name))
    rows = choose_faces(to_lanes(table), thumbnails)
    faces = dict(_thumbnails(table, source, rows.tolist(), shown)) if len(rows) else {}
    write_whole(path.with_name(PAGE), page(table, source.name, _models(table), faces, made))


def draw_overlay(table: Table, source: Source, place: Path, shown: Shown) -> list[Path]:
    """Write a video, or each picture, again with what the table says of its faces, unless that is there.

    Args:
        table: of the source.
        source: whose pictures are drawn over.
        place: folder of the table. A video becomes ``overlay.mp4`` (``.mkv`` where its sound needs it) in it, pictures
            ``overlay/<name>.jpg``.
        shown: shows the progress.

    Returns:
        What is there now.

    Raises:
        DataError: the source cannot be read again, or has changed; or this FFmpeg cannot write videos.
    """
    marks = list(_rows(table))
    if source.pictures:
        unreadable = table.metadata.get("unreadable", {})
        made = []
        for file, rows in zip(shown(source.files, "drawing over", len(marks)), marks, strict=True):
            out = below(place / OVERLAY, f"{file.stem}.jpg")
            if file.name not in unreadable:
                made.append(out)
            if file.name not in unreadable and not out.is_file():
                image = Pen().draw(np.ascontiguousarray(read_image(file)[..., ::-1]), marks_of(table, rows))
                with whole_file(out) as beside:
                    write_jpeg(image, _PICTURE_QUALITY, beside)
        return made
    there = [place / f"{OVERLAY}{suffix}" for suffix in SUFFIXES.values()]
    if before := [one for one in there if one.is_file()]:
        return before
    pen, of_picture = Pen(), iter(shown(marks, "drawing over", len(marks)))

    def draw(picture: Picture) -> Image:
        return pen.draw(picture.image, marks_of(table, next(of_picture)), picture.time or 0.0)

    return [write_overlay(source.files[0], place / OVERLAY, draw, len(marks))]


def forget_drawn(place: Path) -> None:
    """Remove what was drawn over for a table that is replaced."""
    for suffix in SUFFIXES.values():
        (place / f"{OVERLAY}{suffix}").unlink(missing_ok=True)
    for one in (place / OVERLAY).glob("*.jpg"):
        one.unlink()


def _models(table: Table) -> list[str]:
    """Say which networks a table is of, and what they have learnt from."""
    of_networks: Any = table.metadata.get("mean_of") or [table.metadata]
    return [f"{one.get('checkpoint')} ({origin(one.get(LEARNT) or {})})" for one in of_networks]


def _rows(table: Table) -> Iterator[Sequence[int]]:
    """Yield the rows of each picture, in their order."""
    numbers = np.stack([video_numbers(table.video), np.asarray(table.frame)])
    begins = np.flatnonzero(np.append(True, (np.diff(numbers, axis=1) != 0).any(axis=0)))
    ends = np.append(begins[1:], len(table))
    yield from (range(begin, end) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True))


def marks_of(table: Table, rows: Sequence[int]) -> list[Mark]:
    """Return what is drawn of a picture's faces, those in some rows of its table."""
    found, said = table.found, table.predictions
    assert found is not None
    marks = []
    for row in rows:
        if not found.success[row] or table.null[row]:
            continue
        expression, affect, units = "", None, list[tuple[int, float]]()
        if "expression" in said:
            best = int(said["expression"][row].argmax())
            expression = f"{table.expressions[best]} {said['expression'][row][best]:.2f}"
        if "valence_arousal" in said:
            affect = (float(said["valence_arousal"][row, 0]), float(said["valence_arousal"][row, 1]))
        if "action_units" in said:
            units = list(zip(ACTION_UNITS, said["action_units"][row].tolist(), strict=True))
        face_id = int(found.face_id[row])
        left, top, width, height = found.box[row].tolist()
        marks.append(Mark(face_id, person_colour(face_id), (left, top, width, height), expression, affect, units))
    return marks


def _thumbnails(table: Table, source: Source, rows: list[int], shown: Shown) -> Iterator[tuple[int, bytes]]:
    """Yield some rows, and their faces as small JPEGs."""
    assert table.found is not None
    number = np.empty(len(table), np.int64)
    for picture_number, of_picture in enumerate(_rows(table)):
        number[of_picture] = picture_number
    wanted = sorted(set(number[rows].tolist()))
    if source.pictures:
        images: Iterator[Image] = (read_image(source.files[one])[..., ::-1] for one in wanted)
    else:
        images = (one.image for one in islice(decode(source.files[0], frozenset(wanted)), len(wanted)))
    by_picture: dict[int, list[int]] = {}
    for row in rows:
        by_picture.setdefault(int(number[row]), []).append(row)
    boxes: FloatArray = table.found.box
    done = 0
    for one, image in zip(wanted, shown(images, "small pictures", len(wanted)), strict=False):
        for row in by_picture[one]:
            square = to_squares(boxes[row : row + 1].astype(np.float64))[0]
            kept, data = cv2.imencode(".jpg", cut(image, square, THUMBNAIL), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
            assert kept
            yield row, data.tobytes()
        done += 1
    if done < len(wanted):
        raise DataError(f"{source.files[0]}: it has fewer frames than its table: has it changed?")
