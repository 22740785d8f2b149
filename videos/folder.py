"""The files in a folder of faces beside the crops: its settings, the finished videos, the list of frames."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from affect.computed import image_file
from affect.errors import DataError
from affect.files import read_file, whole_file, write_whole
from affect.labels import LIST_FIELD
from affect.names import RULE, is_relative
from datamodules.readers.lists import frame_number, parse_numbers

IMAGES: Final = "cropped"
"""Aff-Wild2's folder of crops that are not aligned."""

SETTINGS: Final = "faces.json"
VIDEOS: Final = "videos.csv"
FRAMES: Final = "frames.txt"

LONGEST: Final = 100_000
"""Longest side that a frame may have, px."""


@dataclass(frozen=True)
class Finished:
    """A video whose faces are cut out: a row of ``videos.csv``.

    Attributes:
        name: name of its folder of crops.
        file: absolute path of the video.
        frames: number of the last frame, which counts frames missing in the stream if their times tell of them.
        frames_with_face: how many frames have a crop.
        frames_with_others_only: how many frames have no crop, but faces of others than the main person.
        fps: frames per second according to the container; None if it does not say.
        width: width of the frames, px.
        height: height of the frames, px.
        announced: number of frames according to the container; None if it does not say.
        seconds: how long the work took, s.
        lost: how many frames are missing in the stream; None if its rate varies, so that pictures are counted, and for
            the work of an earlier version, which always counted.
        size: size of the file in bytes; None for the work of an earlier version.
        sha256: hash of the file; None for the work of an earlier version.
    """

    name: str
    file: str
    frames: int
    frames_with_face: int
    frames_with_others_only: int
    fps: float | None
    width: int
    height: int
    announced: int | None
    seconds: float
    lost: int | None = None
    size: int | None = None
    sha256: str | None = None

    def summary(self) -> str:
        """Say in one line how many faces were found, and what is odd about the file."""
        holes = self.frames - self.frames_with_face
        text = f"{self.name}: {self.frames} frames, {self.frames_with_face} with the main face, {holes} without"
        if not self.frames_with_face:
            text += " (no face in the whole video: its folder is empty)"
        elif self.frames_with_others_only:
            text += f" ({self.frames_with_others_only} of them with another's, or far from where it was)"
        if self.lost:
            text += f"; {self.lost} frames are missing in its stream, by the times of the others"
        elif self.lost is None and self.sha256 is not None:
            text += "; its rate varies or is not told, so its pictures are counted: frame numbers are no times"
        # one more or less is usual
        if self.announced is not None and self.frames < 0.98 * self.announced - 1:
            text += f"; the container announces {self.announced} frames: is the file truncated?"
        return f"{text}; {self.frames / max(self.seconds, 0.1):.0f} frames/s"


COLUMNS: Final = tuple(field.name for field in fields(Finished))

EARLIER: Final = 10
"""How many of these columns an earlier version wrote."""


def open_folder(folder: Path) -> None:
    """Make the folder where it is missing.

    Raises:
        DataError: it holds something other than faces of videos.
    """
    ours = not folder.exists() or (folder / SETTINGS).is_file()
    if not ours and (not folder.is_dir() or any(not path.name.startswith(".") for path in folder.iterdir())):
        raise DataError(f"{folder} holds something else (there is no {SETTINGS} in it). Give another --out.")
    folder.mkdir(parents=True, exist_ok=True)


def record_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Record the settings of the crops, or check that the finished crops were made with the same.

    Raises:
        DataError: they were made with other settings.
    """
    path = folder / SETTINGS
    if (folder / VIDEOS).is_file():  # otherwise no video is finished, and any settings will do
        try:
            found = dict(json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: not as prepare.py wrote it ({error!r}). Delete {folder}, and start again."
            ) from error
        keys = [key for key in {**settings, **found} if settings.get(key) != found.get(key)]
        if keys:
            made, asked = (", ".join(f"{key} {values.get(key)}" for key in keys) for values in (found, settings))
            raise DataError(
                f"{folder} was made with {made}, but {asked} is asked for. Give the same settings, or another --out."
            )
    write_whole(path, json.dumps(settings, indent=1) + "\n")


def read_finished(folder: Path) -> dict[str, Finished]:
    """Read ``videos.csv``: the finished videos by name, in the order in which they were given.

    Raises:
        DataError: the file is faulty.
    """
    path = folder / VIDEOS
    if not path.is_file():
        return {}
    finished: dict[str, Finished] = {}
    try:
        rows = csv.DictReader(read_file(path).decode("utf-8").split("\n"), strict=True)
        columns = list(rows.fieldnames or ())
        if sorted(columns) not in (sorted(COLUMNS), sorted(COLUMNS[:EARLIER])):
            raise ValueError(f"its columns are {', '.join(columns)[:200]}")
        for row in rows:
            video = _from_row(row)
            if video.name in finished:
                raise ValueError(f"two rows are named {video.name}")
            finished[video.name] = video
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not as prepare.py wrote it ({error!r}). Delete {folder}, and start again.") from error
    return finished


def write_finished(folder: Path, finished: Mapping[str, Finished]) -> None:
    """Write ``videos.csv``."""
    with whole_file(folder / VIDEOS) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**vars(video), "seconds": f"{video.seconds:.1f}"} for video in finished.values())


def write_frames(folder: Path, finished: Mapping[str, Finished]) -> None:
    """Write ``frames.txt`` in the form of ABAW5's test lists: every frame of every video, with a face or without."""
    lines = [f"{name}/{image_file(frame)}," for name, video in finished.items() for frame in range(1, video.frames + 1)]
    write_whole(folder / FRAMES, "\n".join([LIST_FIELD, *lines]) + "\n")


def _from_row(row: Mapping[str, str]) -> Finished:
    if None in row or None in row.values():
        raise ValueError(f"{row['name']!r} has another number of fields than the header")
    if not is_relative(row["name"]) or "/" in row["name"] or row["name"] != row["name"].strip():
        raise ValueError(f"a video is named {row['name']!r}, {RULE}")
    if not row["file"].isprintable() or row["file"] != row["file"].strip() or not row["file"]:
        raise ValueError(f"a file is named {row['file'][:200]!r}")
    video = Finished(
        name=row["name"],
        file=row["file"],
        frames=_count(row["frames"]),
        frames_with_face=_count(row["frames_with_face"]),
        frames_with_others_only=_count(row["frames_with_others_only"]),
        fps=_number(row["fps"], 0, 1e6) if row["fps"] else None,
        width=_count(row["width"]),
        height=_count(row["height"]),
        announced=_count(row["announced"]) if row["announced"] else None,
        seconds=_number(row["seconds"], -1, 1e9),
        lost=_count(row["lost"]) if row.get("lost") else None,
        size=_bytes(row["size"]) if row.get("size") else None,
        sha256=_digest(row["sha256"]) if row.get("sha256") else None,
    )
    if video.frames_with_face + video.frames_with_others_only + (video.lost or 0) > video.frames:
        raise ValueError(f"{video.name} has more frames with faces than frames")
    if video.frames < 1 or not 1 <= min(video.width, video.height) <= max(video.width, video.height) <= LONGEST:
        raise ValueError(f"{video.name} has no frame, or frames of {video.width} x {video.height} pixels")
    return video


def _count(text: str) -> int:
    number = frame_number(text)
    if number is None:
        raise ValueError(f"{text[:60]!r} is no count")
    return number


def _bytes(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(2**63))):
        raise ValueError(f"{text[:60]!r} is no number of bytes")
    return int(text)


def _digest(text: str) -> str:
    if re.fullmatch("[0-9a-f]{64}", text) is None:
        raise ValueError(f"{text[:80]!r} is no SHA-256")
    return text


def _number(text: str, above: float, below: float) -> float:
    numbers = parse_numbers(text)
    if numbers is None or len(numbers) != 1 or not above < numbers[0] < below:
        raise ValueError(f"{text[:60]!r} is no rate or duration")
    return float(numbers[0])
