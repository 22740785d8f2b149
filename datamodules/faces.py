"""Data module of faces without labels, for pre-training: CelebA, or any folder tree of images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Unpack

import numpy as np

from affect.errors import DataError
from affect.frames import Frames, unlabelled
from affect.ranges import Range, Whole
from datamodules.base import FaceDataModule, LoaderOptions, Split
from datamodules.listing import IMAGE_SUFFIXES, list_images, match_case
from datamodules.readers.lists import check_names, read_text

PARTITIONS: Final = ("list_eval_partition.txt", "Eval/list_eval_partition.txt", "list_eval_partition.csv")
"""Where CelebA's partition file lies below its root: the official archive's names, and that of a copy in wide use."""

PARTITION_HEADER: Final = ["image_id", "partition"]
"""Header of that copy, whose rows have a comma."""

_NUMBERS: Final[dict[Split, str]] = {"train": "0", "val": "1", "test": "2"}


class FacesDataModule(FaceDataModule):
    """All images below ``root``, whatever the folders: CelebA, Aff-Wild2's crops, a collection of one's own.

    Where CelebA's partition file is found (or given), it splits the images by their names; otherwise a share of them
    becomes the validation split, chosen by a hash of their paths, so that adding images moves none; where nothing is
    trained, all are evaluated.

    Args:
        root: folder of the images, or several.
        partition: CelebA's partition file, absolute or relative to a root; where None, PARTITIONS, if there is one.
        val_share: share of the validation split, where there is no partition file.
        val_by: what is chosen for the validation split: single ``image``s, or whole ``folder``s, so that frames of one
            video are not on both sides.
        square: crop images to the square in their middle, instead of changing their aspect.
        min_size: images with a shorter side, px, are left out and counted.
        cache_dir: where folder listings are kept; see ``datamodules.listing``. None: never kept.
        **options: see ``FaceDataModule``.

    Raises:
        ValueError: a share outside (0, 1), or an unknown ``val_by``.
    """

    needs_labels = False

    def __init__(
        self,
        root: str | list[str],
        *,
        partition: str | None = None,
        val_share: Annotated[float, Range(above=0, below=1)] = 0.02,
        val_by: Literal["image", "folder"] = "image",
        square: bool = True,
        min_size: Whole = 1,
        cache_dir: str | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        super().__init__(**options)
        if not 0 < val_share < 1:
            raise ValueError(f"data.val_share is {val_share}, expected a share above 0 and below 1")
        if val_by not in ("image", "folder"):
            raise ValueError(f"data.val_by is {val_by!r}, expected image or folder")
        self.root = root
        self.partition, self.val_share, self.val_by = partition, val_share, val_by
        self.square, self.min_size = square, min_size
        self.cache_dir = cache_dir
        self._files: list[tuple[Path, str]] | None = None
        self._whole = False

    def evaluate_only(self) -> None:
        """Take every image into every split, unless a partition file tells the splits apart."""
        self._whole = True

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
        """List the images of a split, in the order of the roots and of their paths.

        Raises:
            FileNotFoundError: a root or the partition file is missing.
            DataError: no image, a faulty partition file, an empty split, or a link out of the roots.
        """
        roots = [Path(folder).expanduser() for folder in ([self.root] if isinstance(self.root, str) else self.root)]
        if self._files is None:
            self._files = self._list(roots)
        partition = self._partition_file(roots)
        files: dict[str, str] = {}
        if partition is None:
            chosen = [file for file in self._files if self._whole or split == self._split_of(file[1])]
            empty = "There are too few images for data.val_share, or too few folders for data.val_by=folder."
        else:
            self.links().check(partition)
            split_of, digest = read_partition(partition)
            files = {partition.name: digest}
            number = _NUMBERS[split]
            listed = match_case(split_of, [name.rpartition("/")[2] for _, name in self._files])
            chosen = [
                file for file, name in zip(self._files, listed, strict=True) if split_of.get(name or "") == number
            ]
            empty = f"None of them is listed with {number} in {partition}. {self._with_other_suffix(split_of)}"
        if not chosen:
            raise DataError(f"{len(self._files)} images below {_join(roots)}, but the {split} split is empty. {empty}")
        image = [name for _, name in chosen]
        video = [name.rpartition("/")[0] for name in image]
        # Photographs have no frame number; their position in the list stands in for it.
        return unlabelled(image, video, np.arange(len(image), dtype=np.int64), files), [r / n for r, n in chosen]

    def _list(self, roots: Sequence[Path]) -> list[tuple[Path, str]]:
        """List every image as its root and the path below it."""
        for root in roots:
            if not root.is_dir():
                raise FileNotFoundError(f"no such folder: {root}. Set data.root to the folder above the images.")
        cache = None if self.cache_dir is None else Path(self.cache_dir).expanduser()
        links = self.links()
        found = [(root, name) for root in roots for name in list_images(root, cache, links, recursive=True)]
        if not found:
            raise DataError(
                f"no image ({', '.join(IMAGE_SUFFIXES)}) in {_join(roots)} or any folder below. "
                "Set data.root to the folder above the images."
            )
        return found

    def _partition_file(self, roots: Sequence[Path]) -> Path | None:
        names = PARTITIONS if self.partition is None else (self.partition,)
        candidates = [root / Path(name).expanduser() for root in roots for name in names]
        for path in candidates:
            if path.is_file():
                return path
        if self.partition is not None:
            raise FileNotFoundError(
                f"no partition file: looked for {_join(candidates)}. Set data.partition to its path."
            )
        return None

    def _with_other_suffix(self, listed: Iterable[str]) -> str:
        """Write the part of a message that names an image listed with another suffix; empty where there is none."""
        name_of = {os.path.splitext(name)[0].lower(): name for name in listed}
        for root, name in self._files or ():
            other = name_of.get(os.path.splitext(name)[0].rpartition("/")[2].lower())
            if other is not None:
                return f"It has {other} where there is {root / name}: rename the images, or correct the file."
        return ""

    def _split_of(self, name: str) -> Split:
        """Train or val, by a hash of the image's path or of its folder's."""
        key = name if self.val_by == "image" else name.rpartition("/")[0]
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") / 2**64
        return "val" if number < self.val_share else "train"


def read_partition(path: Path) -> tuple[dict[str, str], str]:
    """Read CelebA's partition: ``000001.jpg 0`` a line, or the same as comma-separated values under a header.

    Args:
        path: the file.

    Returns:
        File name to "0" (training), "1" (validation) or "2" (test); sha256 of the file.

    Raises:
        DataError: the file is no text or empty, a line is not of this form, an image is there twice, or a name
            leads elsewhere.
    """
    lines, digest = read_text(path)
    commas = [field.strip() for field in lines[0].split(",")] == PARTITION_HEADER
    split_of: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines[commas:], start=1 + commas):
        fields = [field.strip() for field in line.split(",")] if commas else line.split()
        if len(fields) != 2 or "," in fields[0] or fields[1] not in _NUMBERS.values():
            raise DataError(
                f"{path}:{number}: {line[:200]!r} is not an image name and 0 (training), 1 (validation) or 2 (test)."
            )
        name, split_of[fields[0]] = fields
        if line_of.setdefault(name, number) != number:
            raise DataError(f"{path}:{number}: {name!r} is listed in line {line_of[name]} already. Remove one.")
    if not line_of:
        raise DataError(f"{path}: no row after the header. Copy the file again, or remove it.")
    check_names(path, line_of)
    return split_of, digest


def _join(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
