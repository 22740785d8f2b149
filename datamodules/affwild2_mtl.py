"""Data modules of the s-Aff-Wild2 multi-task challenge (ABAW3, 4, 7 and 11)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from affect.computed import ImageNames, Names, Paths, file_paths, take
from affect.frames import Frames, rows_by_video, unlabelled
from affect.labels import MISSING_CLASS, affectnet_columns
from affect.settings import buildable
from datamodules.affwild2 import AffWild2DataModule
from datamodules.base import Split
from datamodules.expressions import ExpressionDataModule
from datamodules.links import Links
from datamodules.listing import first_existing, match_case, scan_if_there
from datamodules.readers.mtl import read_frame_list, read_mtl

ANNOTATIONS: Final[dict[Split, tuple[str, ...]]] = {
    "train": ("training_set_annotations.txt", "train_set.txt"),
    "val": ("validation_set_annotations.txt", "validation_set.txt"),
}
"""Names of the label files since ABAW4, and in ABAW3; the first that exists is read."""


@buildable("data")
class MTLDataModule(AffWild2DataModule):
    """Faces and labels below ``root``: ``cropped_aligned/<video>/<frame>.jpg`` and the label files of the challenge.

    Label files whose name is not given are those of ANNOTATIONS.
    """

    def read_split(self, split: Split) -> tuple[Frames, Paths]:
        """Read a label file or the test list, and find the images.

        Raises:
            FileNotFoundError: a root or the label file is missing, or none of the listed images exists.
            DataError: the label file is faulty, or a link leads out of the roots.
        """
        links = self.links(self.test_root)
        roots, key = self.image_roots(split)
        path = self.label_file(split, roots)
        links.check(path)
        frames = read_frame_list(path, faults=self.faults) if split == "test" else read_mtl(path, self.faults)
        folders = [links.enter(folder / self.crops) for folder in roots]
        assert isinstance(frames.image, ImageNames)
        paths = find_images(folders, frames.image, links, self.cache)
        if not paths.found.any():
            raise self.no_image(path, folders, frames.image, key, links)
        return frames, paths

    def label_file(self, split: Split, roots: list[Path]) -> Path:
        """Return the first label file or list of a split that exists in the roots, of those that may be meant.

        Raises:
            FileNotFoundError: none exists, or the test split has no list.
        """
        key = "data.test_list" if split == "test" else f"data.{split}_annotations"
        given = self.annotations[split]
        names = (given,) if given else ANNOTATIONS.get(split, ())
        if not names:
            raise FileNotFoundError(f"the {split} split has no list. Set {key} to the challenge's list of frames.")
        return first_existing(roots, names, f"no label file of the {split} split", f"Set {key} to its path.")


@buildable("data")
class AffWild2ExpressionDataModule(ExpressionDataModule, MTLDataModule):
    """The expressions of the same files in AffectNet's numbering, to train or to score a DAN on.

    Rows with the expression that AffectNet does not have (``other``) count as rows without an expression: training
    leaves both out, evaluation predicts but does not score them. No row shows contempt. Valence, arousal and action
    units are left out.

    Args:
        root: see ``AffWild2DataModule``.
        **options: keywords of that and of ``ExpressionDataModule``.
    """

    def __init__(self, root: str | list[str], **options: Any) -> None:
        super().__init__(root=root, **options)

    def read_split(self, split: Split) -> tuple[Frames, Paths]:
        """Read the same files as ``MTLDataModule`` and renumber the expressions."""
        frames, images = super().read_split(split)
        columns = affectnet_columns(self.expressions)
        # a missing label, -1, looks up the last entry
        numbers = np.array([*(MISSING_CLASS if column is None else column for column in columns), MISSING_CLASS])
        bare = unlabelled(frames.image, frames.video, frames.frame, frames.files)
        return replace(bare, expression=numbers[frames.expression]), images


def find_images(folders: list[Path], image: ImageNames, links: Links, cache: Path | None) -> Paths:
    """Find each image below the first of ``folders`` that has it; its name may differ in case.

    Each video's folder is listed once: asking for every image by itself takes minutes on a network disk.

    Args:
        folders: image folders, which hold ``<video>/<frame>.jpg``.
        image: the images to look for.
        links: decides which links are followed.
        cache: folder of the kept listings; None: no cache.

    Returns:
        One path per row, None where no folder has the image.

    Raises:
        DataError: a link leads out of the data's folders.
    """
    of_row, listed = image.numbers
    place, file = np.full(len(image), -1, dtype=np.int16), listed.copy()
    code_of = {name: code for code, name in enumerate(image.files)}
    for video, rows in rows_by_video(Names(image.folders, of_row)).items():
        for number in reversed(range(len(folders))):  # so that the first one wins
            # no file: another root has the video, or no face was found
            files = scan_if_there(folders[number] / video, links, cache).files
            there = np.isin(listed[rows], [code_of[name] for name in files if name in code_of])
            place[rows[there]], file[rows[there]] = number, listed[rows[there]]
            others = rows[~there]
            names = take(image.files, listed[others].astype(np.int64))
            for row, name in zip(others.tolist(), match_case(files, names), strict=True):
                if name is not None:
                    place[row], file[row] = number, code_of.setdefault(name, len(code_of))
    return file_paths(folders, image, place, file, list(code_of))
