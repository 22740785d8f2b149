"""Open every picture once: those that cannot be read, are of an odd size or show nothing, and videos that stand still.

What was seen of a picture is kept until its size or time of change differs, so a pass that was stopped goes on.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from affect.cache import read_kept, write_kept
from datamodules.base import FaceDataModule, Split
from datamodules.doctor.copies import SIDE, find_copies, small, thumbnail
from datamodules.doctor.reading import Finding, Part
from datamodules.pictures import UnreadableImageError, read_image

_CHUNK: Final = 1000  # pictures after which what was seen is kept
_FLAT: Final = 2.0  # deviation in grey levels below which a picture shows nothing: JPEG alone makes about 1
_BLACK: Final = 16.0  # mean below which it is called black
_USUAL: Final = 0.9  # share of one size from which another one is odd
_STILL: Final = 3  # pictures that make a video


class Seen(NamedTuple):
    """What is kept of a picture: its file's size and time (ns), what is wrong with it, px, and grey levels."""

    bytes: int
    changed: int
    problem: str
    width: int
    height: int
    mean: float
    deviation: float
    thumbnail: str  # hexadecimal


def check_pictures(module: FaceDataModule, parts: Sequence[Part], cache: Path | None) -> list[Finding]:
    """Find what is wrong with the pictures of all lists, and near copies between splits.

    Args:
        module: reads the data.
        parts: its lists.
        cache: folder for what was seen of each picture; None: nothing is kept.
    """
    of_split: dict[Split, dict[Path, None]] = defaultdict(dict)
    for part in parts:
        of_split[part.split] |= dict.fromkeys(path for path in part.images if path is not None)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True, disable=not sys.stdout.isatty()) as progress:
        seen = _look_at_all(sorted({path for paths in of_split.values() for path in paths}), cache, module, progress)
        findings = [*_of_pictures(seen), *(_still(seen) if module.of_videos else ())]
        shown = {path for path, one in seen.items() if not one.problem and one.deviation >= _FLAT}
        for one, other in combinations(of_split, 2):
            asked, among = sorted((one, other), key=lambda split: len(of_split[split]))
            kept = {split: [path for path in of_split[split] if path in shown] for split in (asked, among)}
            if module.of_videos:  # a video of both splits is told by its name
                videos = {path.parent for path in kept[asked]}
                kept[among] = [path for path in kept[among] if path.parent not in videos]
            thumbnails = _thumbnails(seen, kept[among])
            task = progress.add_task(f"copies of {asked} in {among}", total=len(kept[asked]))
            for copy in find_copies(kept[asked], kept[among], thumbnails, lambda: progress.advance(task)):  # noqa: B023
                told = f"of {asked}, a near copy of {copy.original} of {among} (correlation {copy.correlation:.3f})"
                findings.append(Finding("copy", told, copy.path))
    return findings


def _look_at_all(
    paths: Sequence[Path], cache: Path | None, module: FaceDataModule, progress: Progress
) -> dict[Path, Seen]:
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    task = progress.add_task("opening pictures", total=len(paths))
    seen: dict[Path, Seen] = {}
    for folder, files in folders.items():
        for start in range(0, len(files), _CHUNK):
            where = f"{folder.absolute()}: pictures from {start} of {module.max_pixels} px"
            kept: dict[str, Any] = read_kept(cache, where) or {}
            now = {}
            for path in files[start : start + _CHUNK]:
                before = kept.get(path.name)
                seen[path] = _look(path, module.max_pixels, None if before is None else Seen(*before))
                now[path.name] = list(seen[path])
                progress.advance(task)
            if now != kept:
                write_kept(cache, where, now)
    return seen


def _look(path: Path, max_pixels: int, before: Seen | None) -> Seen:
    """Open a picture, unless it was seen as it is."""
    try:
        status = os.stat(path)
        stamp = (status.st_size, status.st_mtime_ns)
    except OSError as error:
        return Seen(0, 0, error.strerror or str(error), 0, 0, 0.0, 0.0, "")
    if before is not None and before[:2] == stamp:
        return before
    try:
        image = read_image(path, max_pixels)
    except UnreadableImageError as error:
        return Seen(*stamp, str(error).removeprefix(f"{path}: "), 0, 0, 0.0, 0.0, "")
    height, width = image.shape[:2]
    grey = small(image)
    mean, deviation = float(grey.mean()), float(grey.std())
    return Seen(*stamp, "", width, height, mean, deviation, thumbnail(grey).tobytes().hex())


def _of_pictures(seen: dict[Path, Seen]) -> Iterator[Finding]:
    """Find unreadable, constant and odd-sized pictures."""
    sizes = Counter((one.width, one.height) for one in seen.values() if not one.problem)
    (usual, count), *_ = sizes.most_common(1) or [((0, 0), 0)]
    odd = usual if count >= _USUAL * sizes.total() else None
    for path, one in seen.items():
        if one.problem:
            yield Finding("unreadable", one.problem, path)
            continue
        if one.deviation < _FLAT:
            what = "is black" if one.mean < _BLACK else "has one colour"
            yield Finding("constant", f"the picture {what}: it shows no face", path)
        if odd and (one.width, one.height) != odd:
            told = f"{one.width} x {one.height} px, where {count} of {sizes.total()} are {odd[0]} x {odd[1]}"
            yield Finding("size", told, path, fault=False)


def _still(seen: dict[Path, Seen]) -> Iterator[Finding]:
    """Find videos whose pictures are all the same one."""
    videos: dict[Path, list[Seen]] = defaultdict(list)
    for path, one in seen.items():
        if not one.problem and one.deviation >= _FLAT:
            videos[path.parent].append(one)
    for folder, pictures in videos.items():
        if len(pictures) >= _STILL and len({one.thumbnail for one in pictures}) == 1:
            yield Finding("constant", f"the {len(pictures)} pictures of this video are all the same", folder)


def _thumbnails(seen: dict[Path, Seen], paths: Sequence[Path]) -> npt.NDArray[np.uint8]:
    joined = bytes.fromhex("".join(seen[path].thumbnail for path in paths))
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(paths), SIDE * SIDE)
