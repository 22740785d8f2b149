"""Find the video files of a call, and those whose faces are still to be cut out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
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

_log = logging.getLogger(__name__)


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
