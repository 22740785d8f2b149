"""Data modules of the s-Aff-Wild2 multi-task challenge (ABAW3, 4, 7 and 11)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from affect.computed import take
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

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
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
        paths = find_images(folders, frames, links, self.cache)
        if not any(paths):
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

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
        """Read the same files as ``MTLDataModule`` and renumber the expressions."""
        frames, images = super().read_split(split)
        columns = affectnet_columns(self.expressions)
        # a missing label, -1, looks up the last entry
        numbers = np.array([*(MISSING_CLASS if column is None else column for column in columns), MISSING_CLASS])
        bare = unlabelled(frames.image, frames.video, frames.frame, frames.files)
        return replace(bare, expression=numbers[frames.expression]), images


def find_images(folders: list[Path], frames: Frames, links: Links, cache: Path | None) -> list[Path | None]:
    """Find each frame's image below the first of ``folders`` that has it; its name may differ in case.

    Each video's folder is listed once: asking for every image by itself takes minutes on a network disk.

    Args:
        folders: image folders, which hold ``<video>/<frame>.jpg``.
        frames: the frames to look for.
        links: decides which links are followed.
        cache: folder of the kept listings; None: no cache.

    Returns:
        One path per row, None where no folder has the image.

    Raises:
        DataError: a link leads out of the data's folders.
    """
    names = [image.rpartition("/")[2] for image in frames.image]
    paths: list[Path | None] = [None] * len(frames)
    for video, rows in rows_by_video(frames.video).items():
        for folder in reversed(folders):  # so that the first one wins
            parent = folder / video
            files = scan_if_there(parent, links, cache).files  # none: another root has the video, or no face was found
            for row, file in zip(rows.tolist(), match_case(files, take(names, rows)), strict=True):
                if file is not None:
                    paths[row] = parent / file
    return paths
