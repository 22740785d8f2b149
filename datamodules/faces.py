"""Data module of faces without labels, for pre-training: CelebA, or any folder tree of images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from affect.errors import DataError
from affect.frames import Frames, unlabelled
from affect.settings import Range, Whole, buildable
from datamodules.base import FaceDataModule, Split
from datamodules.listing import IMAGE_SUFFIXES, existing_roots, first_existing, list_images, match_case
from datamodules.readers.celeba import NUMBERS, PARTITIONS, read_partition


@buildable("data")
class FacesDataModule(FaceDataModule):
    """All images below ``root``, in whatever folders: CelebA, Aff-Wild2's crops, your own collection.

    If CelebA's partition file is found (or given), it splits the images by their names. Otherwise a share of the images
    becomes the validation split, chosen by a hash of their paths, so that adding images moves no other; where nothing
    is trained, all images are evaluated.

    Args:
        root: folder of the images, or several.
        partition: CelebA's partition file, absolute or relative to a root; where None, PARTITIONS, if there is one.
        val_share: share of the validation split if there is no partition file.
        val_by: choose single ``image``s or whole ``folder``s for the validation split; folders keep the frames of one
            video on one side.
        square: crop images to the square in their middle instead of changing their aspect ratio.
        min_size: images with a shorter side, px, are left out and counted.
        **options: keywords of ``FaceDataModule``.

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
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not 0 < val_share < 1:
            raise ValueError(f"data.val_share is {val_share}, expected a share above 0 and below 1")
        if val_by not in ("image", "folder"):
            raise ValueError(f"data.val_by is {val_by!r}, expected image or folder")
        self.root = root
        self.partition, self.val_share, self.val_by = partition, val_share, val_by
        self.square, self.min_size = square, min_size
        self._files: list[tuple[Path, str]] | None = None
        self._whole = False

    def evaluate_only(self) -> None:
        """Take every image into every split, unless a partition file tells the splits apart."""
        self._whole = self.folding is None  # else both lists would have all of them

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
        """List the images of a split, in the order of the roots and of their paths.

        Raises:
            FileNotFoundError: a root or the partition file is missing.
            DataError: no image, a faulty partition file, an empty split, or a link out of the roots.
        """
        roots = existing_roots(self.root, "data.root", "above the images")
        if self._files is None:
            self._files = self._list(roots)
        partition = self.partition_file(roots)
        files: dict[str, str] = {}
        if partition is None:
            chosen = [file for file in self._files if self._whole or split == self._split_of(file[1])]
            empty = "There are too few images for data.val_share, or too few folders for data.val_by=folder."
        else:
            self.links().check(partition)
            split_of, digest = read_partition(partition, self.faults)
            files = {partition.name: digest}
            number = NUMBERS[split]
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

    def names(self) -> list[str]:
        """Return the path of every image below its root; none before a split is read."""
        return [name for _, name in self._files or ()]

    def _list(self, roots: Sequence[Path]) -> list[tuple[Path, str]]:
        """List every image as its root and the path below it."""
        links = self.links()
        found = [(root, name) for root in roots for name in list_images(root, self.cache, links, recursive=True)]
        if not found:
            raise DataError(
                f"no image ({', '.join(IMAGE_SUFFIXES)}) in {_join(roots)} or any folder below. "
                "Set data.root to the folder above the images."
            )
        return found

    def partition_file(self, roots: Sequence[Path]) -> Path | None:
        """Return CelebA's partition file, None where there is none, or raise FileNotFoundError where one is given."""
        if self.partition is not None:
            return first_existing(roots, [self.partition], "no partition file", "Set data.partition to its path.")
        return next((path for root in roots for name in PARTITIONS if (path := root / name).is_file()), None)

    def _with_other_suffix(self, listed: Iterable[str]) -> str:
        """Write the part of a message that names an image listed with another suffix; empty where there is none."""
        name_of = {os.path.splitext(name)[0].lower(): name for name in listed}
        for root, name in self._files or ():
            other = name_of.get(os.path.splitext(name)[0].rpartition("/")[2].lower())
            if other is not None:
                return f"It has {other} where there is {root / name}: rename the images, or correct the file."
        return ""

    def _split_of(self, name: str) -> Split:
        """Choose train or val by a hash of the path of the image or its folder."""
        key = name if self.val_by == "image" else name.rpartition("/")[0]
        number = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") / 2**64
        return "val" if number < self.val_share else "train"


def _join(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))
