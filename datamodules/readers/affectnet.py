"""Read AffectNet as it is given out: ``images/<id>.jpg``, and ``annotations/<id>_<kind>.npy`` for each annotation.

Each annotation file holds one number, as a number or as a string: the expression (``exp``), valence (``val``) or
arousal (``aro``). The landmarks (``lnd``) are not read.
"""

from __future__ import annotations

import hashlib
import io
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from rich.progress import track

from affect.errors import DataError, refuse
from affect.frames import FloatArray, Frames, IntArray, unlabelled
from affect.labels import AFFECTNET_EXPRESSIONS, AFFECTNET_NO_EXPRESSION, MISSING_AFFECTNET
from datamodules.links import Links
from datamodules.listing import IMAGE_SUFFIXES, keep, list_images, scan
from datamodules.packs import PackError, read_file

Kind = Literal["exp", "val", "aro"]

NUMBERED: Final = (*AFFECTNET_EXPRESSIONS, *AFFECTNET_NO_EXPRESSION)
"""What each number in an ``exp`` file means."""

_VALENCE_AROUSAL: Final = f"a number from -1 to 1, or {MISSING_AFFECTNET:g} where it is missing"
_EXPECTED: Final[dict[Kind, str]] = {
    "exp": f"a whole number from 0 to {len(NUMBERED) - 1}",
    "val": _VALENCE_AROUSAL,
    "aro": _VALENCE_AROUSAL,
}
_AFFECT: Final[tuple[Kind, Kind]] = ("val", "aro")
_LARGEST: Final = 100_000  # most bytes of an annotation
_THREADS: Final = 16  # they wait for the disk most of the time
_CHUNK: Final = 256  # files per task: handing each over by itself would take longer than reading it

_log = logging.getLogger(__name__)


def read_release(
    folder: Path,
    *,
    classes: int,
    valence_arousal: bool,
    cache: Path | None,
    links: Links,
    faults: list[DataError] | None = None,
) -> tuple[Frames, list[Path | None]]:
    """Read a split: the images that show one of the first ``classes`` expressions, in order of file name.

    An image without its annotation, or an annotation without its image, is an error in either split, because they come
    together: training on the rest, or a score on it, would pass for that of the whole split. Images of other classes,
    and those that show no expression, are left out and counted in the log.

    Args:
        folder: folder that holds ``images`` and ``annotations``.
        classes: how many of ``AFFECTNET_EXPRESSIONS`` are learnt.
        valence_arousal: whether to read valence and arousal, too.
        cache: folder in which listings and annotations are cached; None: no cache.
        links: decides which links are followed.
        faults: of the data so far, to which those of all files are added, the rows of which are left out. None: the
            first is raised.

    Returns:
        The rows and their images; a row's ``files`` entry is a hash of all expression annotations of the split.

    Raises:
        FileNotFoundError: one of the two folders is missing.
        DataError: an image or an annotation is missing, a file cannot be read, a value is out of range, no image is
            left, or a link leads out of the root. The message names the first such file and how many there are.
    """
    images, annotations = folder / "images", folder / "annotations"
    for path in (images, annotations):
        if not path.is_dir():
            raise FileNotFoundError(
                f"no such folder: {path}. Unpack AffectNet's archive, so that images and annotations lie in {folder}."
            )
    names = list_images(images, cache, links)
    labels = read_annotations(annotations, "exp", cache, links, faults)
    names, values = _of_images(annotations, "exp", names, labels, faults)
    expression = values.astype(np.int64)
    orphans = sorted(labels.keys() - {_stem(name) for name in names})
    if orphans:
        error = DataError(
            f"{annotations / orphans[0]}_exp.npy has no image in {images} ({', '.join(IMAGE_SUFFIXES)}), nor have "
            f"{len(orphans) - 1} more of {len(labels)}. Unpack the archive again, or take these annotations out of the "
            "folder."
        )
        refuse(error, faults)
    rows = _rows_of(folder, expression, classes)
    names = [names[row] for row in rows]
    frames = unlabelled(
        names,
        [""] * len(names),  # photographs are of no video, and their position in the list is their frame number
        np.arange(len(names), dtype=np.int64),
        {f"{folder.name}/{annotations.name}": _digest(labels)},
    )
    frames = replace(frames, expression=expression[rows])
    if valence_arousal:
        frames = replace(frames, valence_arousal=_valence_arousal(annotations, names, cache, links, faults))
    return frames, [images / name for name in names]


def _rows_of(folder: Path, expression: IntArray, classes: int) -> IntArray:
    """Return the rows that show one of the first ``classes`` expressions, and count the others in the log."""
    rows = np.flatnonzero(expression < classes)
    if not len(rows):
        raise DataError(
            f"none of the {len(expression)} images of {folder / 'images'} ({', '.join(IMAGE_SUFFIXES)}) shows one of "
            f"the {classes} expressions, so the split is empty. Unpack AffectNet's archive again."
        )
    if len(rows) < len(expression):
        numbers, counts = np.unique(expression[expression >= classes], return_counts=True)
        left_out = ", ".join(f"{count} {NUMBERED[number]}" for number, count in zip(numbers, counts, strict=True))
        _log.info("%s: %d of %d images; left out: %s", folder.name, len(rows), len(expression), left_out)
    return rows


def read_annotations(
    folder: Path, kind: Kind, cache: Path | None, links: Links, faults: list[DataError] | None = None
) -> dict[str, float]:
    """Read all annotations of a kind.

    Args:
        folder: folder that holds ``<id>_<kind>.npy``.
        kind: kind of annotation to read.
        cache: folder in which annotations are cached; None: no cache.
        links: decides which links are followed.
        faults: of the data so far, to which every file that cannot be used is added. None: the first is raised.

    Returns:
        ID to value, in order of file name.

    Raises:
        DataError: a file cannot be read, its value is not one of the kind, or a link leads out of the data's folders;
            the message names the first such file.
    """

    def read() -> tuple[dict[str, float], list[str]]:
        found = scan(folder)
        names = sorted(name for name in found.files if name.endswith(f"_{kind}.npy"))
        linked = list(set(found.links).intersection(names))
        links.check_files(folder, linked)  # before they are read; kept ones are checked below
        return _read_annotations(folder, kind, names, faults), linked

    links.check(folder)
    values, linked = keep(folder, cache if faults is None else None, kind, read)  # what is kept has no faults
    links.check_files(folder, linked)
    return values


def _read_annotations(
    folder: Path, kind: Kind, names: Sequence[str], collected: list[DataError] | None
) -> dict[str, float]:
    ending = f"_{kind}.npy"
    chunks = [names[first : first + _CHUNK] for first in range(0, len(names), _CHUNK)]

    def read(chunk: Sequence[str]) -> list[float | str]:
        return [_read_number(folder / name, kind) for name in chunk]

    title = f"reading {folder.parent.name}/{folder.name}/*{ending}"
    with ThreadPoolExecutor(_THREADS) as pool:
        shown = sys.stdout.isatty()
        parts = track(pool.map(read, chunks), description=title, total=len(chunks), transient=True, disable=not shown)
        found = list(zip(names, chain.from_iterable(parts), strict=True))
    values = {name.removesuffix(ending): value for name, value in found if not isinstance(value, str)}
    faults = [f"{folder / name} {fault}" for name, fault in found if isinstance(fault, str)]
    if collected is not None:
        collected += map(DataError, faults)
    elif faults:
        raise DataError(
            f"{faults[0]}. {len(faults)} of {len(names)} such files cannot be used. Copy them again from AffectNet's "
            "archive, or take these annotations and their images out of the folders."
        )
    return values


def _read_number(path: Path, kind: Kind) -> float | str:
    """Return the number that a file holds, or what is wrong with it."""
    try:
        array = np.load(io.BytesIO(read_file(path, _LARGEST)), allow_pickle=False)
        text = array.item()
        value = float(text)
    except PackError:
        raise
    except Exception as error:  # damaged files fail in the ways of numpy, zipfile and tokenize
        return f"cannot be read ({type(error).__name__}: {(str(error).splitlines() or [''])[0]})"
    if _is_allowed(value, kind):
        return value
    return f"holds {text!r}, expected {_EXPECTED[kind]}"


def _is_allowed(value: float, kind: Kind) -> bool:
    """Return whether a value is one of the kind; NaN never is."""
    if kind == "exp":
        return value in range(len(NUMBERED))
    return -1 <= value <= 1 or value == MISSING_AFFECTNET


def _valence_arousal(
    annotations: Path, names: Sequence[str], cache: Path | None, links: Links, faults: list[DataError] | None
) -> FloatArray:
    """Return (N, 2) values of these images, both NaN where either is missing."""
    values = np.full((len(names), 2), MISSING_AFFECTNET, dtype=np.float32)
    row_of = {name: row for row, name in enumerate(names)}
    for column, kind in enumerate(_AFFECT):
        labels = read_annotations(annotations, kind, cache, links, faults)
        known, of_known = _of_images(annotations, kind, names, labels, faults)
        values[[row_of[name] for name in known], column] = of_known
    values[(values == MISSING_AFFECTNET).any(axis=1)] = np.nan
    return values


def _of_images(
    annotations: Path, kind: Kind, names: Sequence[str], labels: dict[str, float], faults: list[DataError] | None
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Return these images and their (N,) annotations; refuse those that lack their own, and leave them out."""
    lacking = [stem for stem in map(_stem, names) if stem not in labels]
    if lacking:
        otherwise = "take these images out of the folder" if kind == "exp" else "set data.valence_arousal=false"
        error = DataError(
            f"no such file: {annotations / lacking[0]}_{kind}.npy, the annotation of an image; {len(lacking) - 1} more "
            f"of {len(names)} images lack theirs. Unpack the archive again, or {otherwise}."
        )
        refuse(error, faults)
    known = [name for name in names if _stem(name) in labels]
    return known, np.array([labels[_stem(name)] for name in known])


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _digest(labels: dict[str, float]) -> str:
    lines = "".join(f"{stem},{value:g}\n" for stem, value in labels.items())
    return hashlib.sha256(lines.encode()).hexdigest()
