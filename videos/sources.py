"""Find the video files of a call, and those whose faces are still to be cut out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from affect.checksums import file_sha256
from affect.errors import DataError
from affect.names import is_relative
from videos.decoding import Container, inspect
from videos.folder import IMAGES, VIDEOS, Finished

SUFFIXES: Final = frozenset(
    [".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm"]
)
"""Suffixes, in any case, of the files in a folder that count as videos; a file that is given may have any."""

PICTURES: Final = frozenset([".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])
"""Suffixes, in any case, of the files that count as pictures."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What becomes one table: a video, a picture, or all pictures of a folder.

    Attributes:
        name: of the file without its suffix, or of the folder.
        files: the video, or the pictures in the order of their names.
        pictures: whether they are pictures.
    """

    name: str
    files: tuple[Path, ...]
    pictures: bool


def find_sources(given: Sequence[Path]) -> tuple[list[Source], dict[Path, list[str]]]:
    """Sort out files and folders: each video and each picture is a source, and the pictures of a folder are one.

    Args:
        given: files and folders; folders in them are left out. A file with the suffix of a picture is one, any other
            must be a video.

    Returns:
        The sources, and the names of what is neither by the folder that it is in.

    Raises:
        DataError: naming everything that is missing, no video, or cannot be told apart by its name.
    """
    sources: dict[tuple[str, Path], Source] = {}
    left_out: dict[Path, list[str]] = {}
    wrong: list[str] = []

    def add(source: Source, place: Path) -> None:
        sources.setdefault((source.name, place.resolve()), source)

    for path in given:
        if not path.is_dir():
            add(Source(path.stem, (path,), path.suffix.lower() in PICTURES), path)
            continue
        files = sorted(one for one in path.iterdir() if one.is_file() and one.name[0] != ".")
        pictures = tuple(one for one in files if one.suffix.lower() in PICTURES)
        videos = [one for one in files if one.suffix.lower() in SUFFIXES]
        if others := [one.name for one in files if one not in pictures and one not in videos]:
            left_out[path] = others
        if pictures:
            add(Source(path.resolve().name, pictures, pictures=True), path)
            wrong += _alike(pictures)
        for video in videos:
            add(Source(video.stem, (video,), pictures=False), video)
        if not pictures and not videos:
            known = " ".join(sorted(SUFFIXES | PICTURES))
            wrong.append(f"{path}: neither a video nor a picture in this folder ({known}). Give its files")
    found = list(sources.values())
    counts = Counter(source.name for source in found)
    for name in (name for name, count in counts.items() if count > 1):
        same = [str(source.files[0]) for source in found if source.name == name]
        wrong.append(f"{', '.join(same)}: sources of the same name, {name}. Rename one, or give each another out=…")
    for source in found:
        if problem := _problem(source):
            wrong.append(problem)
    if wrong:
        raise DataError("; ".join(wrong))
    return found, left_out


def _alike(pictures: Sequence[Path]) -> list[str]:
    """Find pictures of one folder that have the same name but for the suffix."""
    names = Counter(path.stem for path in pictures)
    return [
        f"{', '.join(str(path) for path in pictures if path.stem == name)}: pictures of the same name. Rename one"
        for name, count in names.items()
        if count > 1
    ]


def _problem(source: Source) -> str:
    """Say why a source cannot be looked at; empty where it can."""
    names = [source.name, *(file.stem for file in source.files)]
    if bad := next((name for name in names if not is_relative(name) or not name.isprintable()), None):
        return f"{source.files[0]}: the name {bad!r} cannot name a folder. Rename it to letters and digits"
    if not source.files[0].is_file():
        return f"{source.files[0]}: no such file. Give the path of a video, a picture, or a folder of either"
    try:
        if not source.pictures:
            inspect(source.files[0])
    except DataError as error:
        return str(error).rstrip(".")
    return ""


def find_videos(given: Sequence[Path]) -> list[Path]:
    """Replace each folder by its videos, sorted by name, and each file that is given twice by one.

    Args:
        given: files, and folders of files; folders in them are left out.

    Raises:
        DataError: a folder without a video.
    """
    found: dict[tuple[str, Path], Path] = {}
    for path in given:
        files = [path]
        if path.is_dir():
            files = sorted(one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and one.name[0] != ".")
            if not files:
                raise DataError(f"{path}: no video in this folder ({' '.join(sorted(SUFFIXES))}). Give its files.")
        for file in files:
            found.setdefault((file.stem, file.resolve()), file)
    return list(found.values())


def waiting_videos(videos: Sequence[Path], folder: Path, finished: Mapping[str, Finished]) -> dict[str, Container]:
    """Check all videos, and return the containers of those whose faces are not cut out yet.

    Args:
        videos: the files.
        folder: folder of faces.
        finished: its finished videos.

    Raises:
        DataError: naming everything that is wrong.
    """
    waiting: dict[str, Container] = {}
    wrong = [
        f"{', '.join(str(path) for path in videos if path.stem == name)}: files of the same name, {name}. Rename one."
        for name, count in Counter(path.stem for path in videos).items() if count > 1
    ]  # fmt: skip
    for path in videos:
        name, before, crops = path.stem, finished.get(path.stem), folder / IMAGES / path.stem
        try:
            container = inspect(path)
        except DataError as error:
            wrong.append(str(error))
            continue
        place = str(path.resolve())
        strange = not place.isprintable() or name != name.strip() or place != place.strip()
        if strange or "," in name or not is_relative(name):
            wrong.append(f"{path}: a video's name stands in lists with commas. Rename the file to letters and digits.")
        elif before is not None and Path(before.file).resolve() != path.resolve():
            wrong.append(
                f"{path}: {folder} has a video of this name from {before.file}. Rename it, or give another --out."
            )
        elif not crops.exists():
            waiting[name] = container
        elif before is None:
            wrong.append(f"{crops} is not listed in {folder / VIDEOS}. Move it away.")
        elif _changed(path, before, crops):
            _log.warning("%s has changed since its faces were cut out: they are made again", path)
            waiting[name] = container
    if wrong:
        raise DataError("; ".join(wrong))
    return waiting


def _changed(path: Path, before: Finished, crops: Path) -> bool:
    """Return whether a file differs from the one whose faces are in ``crops``."""
    status = path.stat()
    if before.size is None or before.sha256 is None:  # of an earlier version, which recorded neither
        return status.st_mtime > crops.stat().st_mtime
    return status.st_size != before.size or file_sha256(path) != before.sha256
