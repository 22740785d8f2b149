"""Read all lists of a data module and note every fault of theirs, with the readers that training has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from affect.computed import CropPaths, Paths
from affect.errors import DataError
from affect.frames import BoolArray, Frames
from affect.labels import TASKS, label_names
from datamodules.affwild2 import AffWild2DataModule
from datamodules.affwild2_joint import AffWild2JointDataModule
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.base import FaceDataModule, Split
from datamodules.faces import FacesDataModule
from datamodules.listing import existing_roots
from datamodules.lsd import LSDDataModule
from datamodules.readers.celeba import NUMBERS, read_partition

_PLACE: Final = re.compile(r"(?P<file>.+?):(?P<line>\d+): (?P<what>.*)", re.DOTALL)
"""How the messages of readers begin that name a line."""


class Finding(NamedTuple):
    """What is wrong or worth knowing: its kind, its file and line if it has these, and whether it changes a score."""

    kind: str
    what: str
    file: Path | None = None
    line: int | None = None
    fault: bool = True

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}{'' if self.line is None else f':{self.line}'}: "
        return f"{place}{self.what}"


@dataclass(frozen=True)
class Part:
    """A list as it was read.

    Attributes:
        split: it belongs to.
        task: of its labels, where there are lists of several; otherwise "".
        frames: its rows; one whose image's name is faulty has the name "".
        images: the file of each row, None where there is none.
        module: has read it.
        source: the list, or the folder of label files; None where the folders of images are the list.
        lines: what a row's line is counted by: its position in the list, its frame in the video's label file, or not.
    """

    split: Split
    task: str
    frames: Frames
    images: Sequence[Path | None]
    module: FaceDataModule
    source: Path | None
    lines: Literal["row", "frame", "none"]

    @property
    def name(self) -> str:
        """The split, and the task where there are lists of several."""
        return f"{self.split} {self.task}".strip()

    @property
    def found(self) -> BoolArray:
        """(N,) true where a row has an image."""
        if isinstance(self.images, Paths):
            return self.images.found
        return np.array([path is not None for path in self.images], dtype=bool)

    @property
    def named(self) -> BoolArray:
        """(N,) false where the name of a row's image is faulty."""
        if isinstance(self.images, CropPaths):
            return np.array([bool(name) for name in self.images.videos], dtype=bool)[self.images.numbers[1]]
        return np.array([image != "" for image in self.frames.image], dtype=bool)

    def place(self, row: int) -> tuple[Path | None, int | None]:
        """Return the file and the line that a row stands in; without a list, its image."""
        if self.source is None:
            return self.images[row], None
        if self.lines == "frame":
            return self.source / f"{self.frames.video[row]}.txt", int(self.frames.frame[row]) + 1
        return self.source, row + 2 if self.lines == "row" else None

    def counts(self) -> dict[str, int]:
        """Count its rows, images and labels, and those of each class; of action units, where they are active."""
        frames, named, found = self.frames, self.named, self.found
        counted = {"rows": int(named.sum()), "without an image": int((named & ~found).sum())}
        if self.module.of_videos:
            counted["videos"] = len(set(frames.video) - {""})
        if not self.module.needs_labels:
            return counted
        counted["with a label"] = int(frames.has_label.sum())
        names = label_names(self.module.expressions)
        for task in TASKS:
            counted[task] = int(frames.labelled(task).sum())
            if task == "expression":
                of_class = np.bincount(frames.expression[frames.expression >= 0], minlength=len(names[task]))
                counted |= {name: int(count) for name, count in zip(names[task], of_class, strict=True)}
            elif task == "action_units":
                active = (frames.action_units == 1).sum(axis=0)
                counted |= {name: int(count) for name, count in zip(names[task], active, strict=True)}
        return counted


def read_parts(module: FaceDataModule) -> tuple[list[Part], list[Finding]]:
    """Read every list that a data module has: of training, validation and, where it has a list, of the test.

    Returns:
        What could be read, and the faults of the files.

    Raises:
        FileNotFoundError: no list is there.
        DataError: no list can be read.
    """
    parts: list[Part] = []
    findings: list[Finding] = []
    errors: list[DataError | FileNotFoundError] = []
    for task, split, one in _lists(module):
        one.faults = []
        try:
            frames, images = one.read_split(split)
        except (DataError, FileNotFoundError) as error:
            errors.append(error)
            one.faults.append(DataError(str(error)))
        else:
            parts.append(Part(split, task, frames, images, one, *_source(one, split)))
        findings += _findings(one.faults)
    if not parts:
        raise errors[0]
    return parts, findings


def _lists(module: FaceDataModule) -> Iterator[tuple[str, Split, FaceDataModule]]:
    """Return each list by its task, where there are several, its split and the data module that reads it."""
    splits: tuple[Split, ...] = ("train", "val")
    if isinstance(module, AffWild2JointDataModule):
        for split in splits:
            yield from ((task, split, module.list_of(task)) for task in module.tasks)
        if module.task is not None and module.annotations["test"]:
            yield module.task, "test", module.list_of(module.task)
        return
    yield from (("", split, module) for split in splits)
    listed: Any = None
    if isinstance(module, AffWild2DataModule):
        listed = module.annotations["test"]
    elif isinstance(module, LSDDataModule):
        listed = module.test_list
    elif isinstance(module, FacesDataModule):
        partition = module.partition_file(existing_roots(module.root, "data.root"))
        listed = partition and NUMBERS["test"] in read_partition(partition, [])[0].values()
    if listed:
        yield "", "test", module


def _source(module: FaceDataModule, split: Split) -> tuple[Path | None, Literal["row", "frame", "none"]]:
    """Return the list of a split that could be read, or the folder of label files, and what lines are counted by."""
    if isinstance(module, AffWild2UniDataModule):
        roots = existing_roots(module.root, "data.root")
        return (module.test_file(roots), "none") if split == "test" else (module.label_folder(split, roots), "frame")
    if isinstance(module, MTLDataModule):
        return module.label_file(split, module.image_roots(split)[0]), "row"
    return None, "none"


def _findings(faults: Sequence[DataError]) -> Iterator[Finding]:
    """Return what readers refused; of what is wrong with a line, the first."""
    of_line: dict[tuple[str, int], str] = {}
    for text in map(str, faults):
        if place := _PLACE.fullmatch(text):
            of_line.setdefault((place["file"], int(place["line"])), place["what"])
        else:
            yield Finding("file", text)
    for (file, line), what in sorted(of_line.items()):
        yield Finding("row" if line > 1 else "file", what, Path(file), line)
