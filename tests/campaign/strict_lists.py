"""Strict readers of the challenges' label files and lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .strict_text import RefusedError, both, category, fields_of, image, lines_of, name, whole, word

UNITS = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
EARLY_UNITS = (1, 2, 4, 6, 12, 15, 20, 25)  # of ABAW1 and 2
EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
MTL = ["image", "valence", "arousal", "expression", "aus"]
MTL_NAMED = [*MTL[:4], *(f"au{unit}" for unit in UNITS)]
UNI = {
    "va": [["valence", "arousal"]],
    "expr": [list(EXPRESSIONS), list(EXPRESSIONS[:7])],
    "au": [[f"AU{unit}" for unit in UNITS], [f"AU{unit}" for unit in EARLY_UNITS]],
}


def mtl(path: Path) -> list[list[Any]]:
    """Reads a label file of the multi-task challenge: image, video, frame, valence, arousal, expression, 12 units."""
    header, *rows = lines_of(path)
    order = _mtl_order(fields_of(header))
    return _each(rows, lambda row: _mtl_row(row, order))


def _mtl_order(names: list[str]) -> list[int]:
    """Place of each of the 16 fields in a row."""
    plain = ["image" if given.lower() in ("image_path", "image_location") else given.lower() for given in names]
    if plain == MTL:
        return list(range(16))
    if sorted(plain) != sorted(MTL_NAMED):
        raise RefusedError(f"unknown header: {names}")
    return [plain.index(wanted) for wanted in MTL_NAMED]


def _mtl_row(row: str, order: list[int]) -> list[Any]:
    fields = fields_of(row)
    if len(fields) != 16:
        raise RefusedError(f"{len(fields)} fields: {row!r}")
    listed, valence, arousal, expression, *units = (fields[place] for place in order)
    return [*image(listed), *both(valence, arousal), category(expression, 8), *(_unit(unit) for unit in units)]


def _unit(text: str) -> int | None:
    value = category(text, 2)
    return None if value == -1 else value


def mtl_list(path: Path) -> list[list[Any]]:
    """Reads a list of frames of the multi-task challenge; what follows the first field is not read."""
    header, *rows = lines_of(path)
    _mtl_order(fields_of(header))
    if fields_of(header)[0].lower() not in ("image", "image_path", "image_location"):
        raise RefusedError(f"images do not stand first: {header}")
    return _each(rows, _listed)


def _listed(row: str) -> list[Any]:
    return list(image(fields_of(row)[0]))


def labels(path: Path, task: str) -> list[list[Any]]:
    """Reads a label file of one video; valence and arousal, one expression, or twelve units, None where missing."""
    header, *rows = lines_of(path)
    names = _known(fields_of(header), task)
    known = next((known for known in UNI[task] if sorted(known) == sorted(names)), None)
    if known is None or (task == "expr" and names != known):
        raise RefusedError(f"unknown header: {names}")
    return _each(rows, lambda row: _label_row(fields_of(row), task, names))


def _known(names: list[str], task: str) -> list[str]:
    """Names as the challenge has them, whatever their case."""
    known = {name.lower(): name for names in UNI[task] for name in names}
    return [known.get(name.lower(), name) for name in names]


def _label_row(fields: list[str], task: str, names: list[str]) -> list[Any]:
    if len(fields) != (1 if task == "expr" else len(names)):
        raise RefusedError(f"{len(fields)} fields: {fields}")
    if task == "expr":
        return [category(fields[0], len(names))]
    by_name = dict(zip(names, fields, strict=True))
    if task == "va":
        return both(by_name["valence"], by_name["arousal"])
    values = {known: _unit(text) for known, text in by_name.items()}
    return [values.get(f"AU{unit}") for unit in UNITS]


def test_list(path: Path, task: str) -> list[Any]:
    """Reads a list of test frames, or one of test videos, of a uni-task challenge."""
    header, *rows = lines_of(path)
    names = fields_of(header)
    lower = [given.lower() for given in names]
    if "image_location" in lower[1:]:
        raise RefusedError(f"images do not stand first: {header}")
    if lower[0] != "image_location":
        return ["videos", *video_list(path)]
    if names[1:] and _known(names[1:], task) not in UNI[task]:
        raise RefusedError(f"unknown header: {names}")
    return ["frames", *_each(rows, _listed)]


def video_list(path: Path) -> list[str]:
    """Reads a list of videos: a name a line, its file's suffix left out."""
    videos = [_video(fields_of(line)[0]) for line in lines_of(path)]
    if len(set(videos)) < len(videos):
        raise RefusedError("a video is there twice")
    return videos


def _video(text: str) -> str:
    for suffix in (".mp4", ".avi", ".txt"):
        text = text.removesuffix(suffix)
    if "/" in name(text):
        raise RefusedError(f"more than one name: {text!r}")
    return text


def frame_counts(path: Path) -> list[tuple[str, int]]:
    """Reads ``video,n`` a line, or a sentence a line whose third word is the video and whose tenth is its number."""
    counts = {_count(line) for line in lines_of(path)}
    if len({video for video, _ in counts}) < len(counts):
        raise RefusedError("a video has two numbers of frames")
    return sorted(counts)


def _count(line: str) -> tuple[str, int]:
    fields, words = fields_of(line), line.split()
    if len(fields) == 2:
        video, count = fields
    elif len(words) >= 10 and len(fields) == 1:
        video, count = words[2], words[9]
    else:
        raise RefusedError(f"neither video,n nor a sentence: {line!r}")
    frames = whole(count)
    if frames == 0:
        raise RefusedError(f"a video without frames: {line!r}")
    return word(video), frames


def partition(path: Path) -> list[tuple[str, str]]:
    """Reads CelebA's partition: ``000001.jpg 0`` a line, or the same with commas below a header."""
    lines = lines_of(path)
    if any("," in line.strip().removesuffix(",") for line in lines[:2]):
        if fields_of(lines[0]) != ["image_id", "partition"]:
            raise RefusedError(f"unknown header: {lines[0]!r}")
        rows = [fields_of(line) if "," in line else line.split() for line in lines[1:]]
    else:
        rows = [line.strip().removesuffix(",").split() for line in lines]
    found = set()
    for row in rows:
        if row and (len(row) != 2 or row[1] not in ("0", "1", "2")):
            raise RefusedError(f"no image and its part: {row}")
        found |= {(word(row[0]), row[1])} if row else set()
    if len({listed for listed, _ in found}) < len(found):
        raise RefusedError("an image is in two parts")
    return sorted(found)


def _each(rows: list[str], read: Callable[[str], list[Any]]) -> list[list[Any]]:
    if not rows:
        raise RefusedError("no row")
    return [read(row) for row in rows]
