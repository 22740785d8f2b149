"""What is wrong with lists that can be read: rows twice, without image, of one class, shared by splits, or left out."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import DataError
from affect.folds import base_video
from affect.frames import Frames, rows_by_video
from affect.labels import AFFECT
from datamodules.affwild2 import AffWild2DataModule
from datamodules.affwild2_joint import AffWild2JointDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.base import FaceDataModule
from datamodules.doctor.reading import Finding, Part
from datamodules.faces import FacesDataModule
from datamodules.listing import IMAGE_SUFFIXES, existing_roots, scan, scan_if_there
from datamodules.readers.celeba import read_partition

_FEW: Final = 10
"""Rows with one label from which a column of one class is a fault; fewer may be alike by chance."""

_SHOWN: Final = 5  # names in a message


def check_lists(module: FaceDataModule, parts: Sequence[Part]) -> list[Finding]:
    """Find everything that is wrong with lists that could be read, and with the folders that they name.

    Args:
        module: reads the data.
        parts: its lists.
    """
    findings: list[Finding] = []
    for part in parts:
        findings += _twice(part)
        findings += _without_image(part)
        findings += _one_class(part)
    for one, other in combinations(parts, 2):
        if one.split != other.split:
            findings += _shared_videos(module, one, other) if one.module.of_videos else _shared_images(one, other)
    findings += _lengths(parts)
    if isinstance(module, AffWild2DataModule):
        findings += _not_listed(module, parts)
    elif isinstance(module, FacesDataModule):
        findings += _partition(module)
    return findings


def _twice(part: Part) -> Iterator[Finding]:
    """Find rows of an image that an earlier row has; other labels are a fault."""
    if part.lines == "frame":
        return  # a label file has each frame once
    first: dict[str, int] = {}
    frames = part.frames
    for row, image in enumerate(frames.image):
        before = first.setdefault(image, row)
        if before != row and image:
            file, line = part.place(row)
            at = f"in line {part.place(before)[1]} already" if line else "twice"
            if _same_labels(frames, row, before):
                yield Finding("twice", f"{image} is listed {at}, with the same labels", file, line, fault=False)
            else:
                yield Finding("contradiction", f"{image} is listed {at}, with other labels", file, line)


def _same_labels(frames: Frames, row: int, other: int) -> bool:
    return bool(frames.expression[row] == frames.expression[other]) and all(
        np.array_equal(values[row], values[other], equal_nan=True)
        for values in (frames.valence_arousal, frames.action_units)
    )


def _without_image(part: Part) -> Iterator[Finding]:
    """Find the videos of which frames have no crop; one without any is a fault where it has labels."""
    frames, found = part.frames, part.found
    absent = np.flatnonzero(part.named & ~found)
    if not len(absent) or not part.module.of_videos:
        return  # the readers of photographs refuse a row without its image
    for video, rows in rows_by_video([*frames.video]).items():
        missing = rows[~found[rows]]
        if not len(missing) or not video:
            continue
        file, line = part.place(int(missing[0]))
        if len(missing) == len(rows):
            lost = bool(frames.select(rows).has_label.any())
            said = "" if lost else " and no label"
            yield Finding(
                "no crop", f"video {video} has no crop at all{said} ({len(rows)} rows)", file, line, fault=lost
            )
            continue
        gaps = ""
        if part.lines == "frame":
            runs = np.split(missing, np.flatnonzero(np.diff(frames.frame[missing]) > 1) + 1)
            holes = f"{len(runs)} hole{'s' * (len(runs) > 1)}"
            gaps = f", in {holes}, the longest of {max(map(len, runs))} in a row"
        first = frames.image[int(missing[0])]
        told = f"{len(missing)} of {len(rows)} rows of video {video} have no crop{gaps}; the first is {first}"
        yield Finding("no crop", told, file, line, fault=False)


def _one_class(part: Part) -> Iterator[Finding]:
    """Find columns of one value, from which nothing can be learnt, or on which a score says nothing."""
    frames, file = part.frames, part.source
    known = frames.expression[frames.expression >= 0]
    counts = np.bincount(known, minlength=len(part.module.expressions))
    if len(known) and np.count_nonzero(counts) == 1:
        name = part.module.expressions[int(counts.argmax())]
        yield _constant(part, f"all {len(known)} expressions are {name}", len(known))
    elif len(known) and not counts.all():
        names = ", ".join(np.array(part.module.expressions)[counts == 0])
        yield Finding("one class", f"{part.name}: no row shows {names}", file, fault=False)
    units = frames.constant()
    for name in AFFECT:
        if (value := units.pop(name, None)) is not None:
            valid = int(frames.labelled("valence_arousal").sum())
            yield _constant(part, f"{name} is {value:g} in all {valid} rows that have it", valid)
    valid = int(frames.labelled("action_units").sum())
    if units and len(units) == np.count_nonzero(~np.isnan(frames.action_units).all(axis=0)):
        yield _constant(part, f"every action unit has one value in all {valid} rows", valid)
    else:
        for name, value in units.items():
            yield Finding("one class", f"{part.name}: {name} is {value:g} in every row", file, fault=False)


def _constant(part: Part, what: str, rows: int) -> Finding:
    return Finding("one class", f"{part.name}: {what}. Is it the right column?", part.source, fault=rows >= _FEW)


def _shared_videos(module: FaceDataModule, one: Part, other: Part) -> Iterator[Finding]:
    """Find videos of two splits; ``_left`` and ``_right`` are people in one video.

    Those of lists of different tasks are a remark where training leaves them out.
    """
    apart = isinstance(module, AffWild2JointDataModule) and module.shared_videos == "leave_out"
    of_base = defaultdict(list)
    for name in sorted(set(one.frames.video) - {""}):
        of_base[base_video(name)].append(name)
    for name, row in _first_rows(other.frames).items():
        others = of_base.get(base_video(name), [])
        file, line = other.place(row)
        line = line if other.lines == "row" else None
        if name in others:
            told = f"video {name} is in {one.name} and in {other.name}"
            told += ": it is left out of training" if apart else ""
            yield Finding("shared", told, file, line, fault=not apart)
        elif others:
            told = f"{others[0]} of {one.name} and {name} of {other.name} are people in one video"
            yield Finding("shared", told, file, line, fault=one.task == other.task)


def _first_rows(frames: Frames) -> dict[str, int]:
    first: dict[str, int] = {}
    for row, name in enumerate(frames.video):
        first.setdefault(name, row)
    first.pop("", None)
    return first


def _shared_images(one: Part, other: Part) -> Iterator[Finding]:
    """Find image files of two splits, also where the folder of one is a link to the other's."""
    real = cache(os.path.realpath)
    of_one = {f"{real(path.parent)}/{path.name}" for path in one.images if path is not None}
    for path in other.images:
        if path is not None and f"{real(path.parent)}/{path.name}" in of_one:
            yield Finding("shared", f"the image is in {one.name} and in {other.name}", path)


def _lengths(parts: Sequence[Part]) -> Iterator[Finding]:
    """Find videos to which the lists of several tasks give different numbers of rows."""
    lengths: dict[str, dict[str, int]] = defaultdict(dict)
    for part in parts:
        if part.task and part.lines == "frame":
            for video, rows in rows_by_video([*part.frames.video]).items():
                lengths[video][part.name] = len(rows)
    for video, of_list in sorted(lengths.items()):
        if len(set(of_list.values())) > 1:
            told = ", ".join(f"{count} in {name}" for name, count in of_list.items())
            yield Finding("length", f"the lists differ in how many rows video {video} has: {told}", fault=False)


def _not_listed(module: AffWild2DataModule, parts: Sequence[Part]) -> Iterator[Finding]:
    """Find crops that no list names: a remark for each video, and one for all the videos that no list names."""
    listed: dict[str, set[str]] = defaultdict(set)
    for part in parts:
        for video, image in zip(part.frames.video, part.frames.image, strict=True):
            listed[video].add(image.rpartition("/")[2].lower())
    links = module.links(module.test_root)
    for folder in _image_folders(module, parts):
        unknown = []
        for video in sorted(scan(folder).folders) if folder.is_dir() else ():
            try:
                found = scan_if_there(folder / video, links, module.cache).files
            except DataError as error:  # a link that leads out
                yield Finding("file", str(error))
                continue
            crops = [name for name in found if name.lower().endswith(IMAGE_SUFFIXES)]
            if video not in listed:
                unknown += [video] if crops else []
            elif extra := sorted(name for name in crops if name.lower() not in listed[video]):
                told = f"{len(extra)} of {len(crops)} crops are in no list; the first is {extra[0]}"
                yield Finding("not listed", told, folder / video, fault=False)
        if unknown:
            names = ", ".join(unknown[:_SHOWN]) + (", …" if len(unknown) > _SHOWN else "")
            yield Finding("not listed", f"{len(unknown)} folders are of no list: {names}", folder, fault=False)


def _image_folders(module: AffWild2DataModule, parts: Sequence[Part]) -> list[Path]:
    folders: dict[Path, None] = {}
    for part in parts:
        if isinstance(part.module, AffWild2UniDataModule):
            roots, key = part.module.image_roots(part.split)
            found = part.module.image_folders(roots, key, part.module.links(part.module.test_root))
        else:
            found = [root / module.crops for root in module.image_roots(part.split)[0]]
        folders |= dict.fromkeys(found)
    return list(folders)


def _partition(module: FacesDataModule) -> Iterator[Finding]:
    """Find images that CelebA's partition does not name, and names of it without an image."""
    path = module.partition_file(existing_roots(module.root, "data.root"))
    if path is None:
        return
    named = {name.lower() for name in read_partition(path, [])[0]}
    there = {name.rpartition("/")[2].lower() for name in module.names()}
    for names, told in ((there - named, "images are not in it"), (named - there, "names in it have no image")):
        if names:
            yield Finding("not listed", f"{len(names)} {told}; the first is {min(names)}", path, fault=False)
