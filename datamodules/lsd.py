"""Data module of the ABAW4 challenge "learning from synthetic data": six expressions, the class folder is the label."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from affect.errors import DataError, refuse
from affect.frames import Frames, unlabelled
from affect.labels import LSD_EXPRESSIONS, LSD_FOLDERS, LSD_HEADER
from affect.settings import buildable
from datamodules.base import FaceDataModule, Split
from datamodules.links import Links
from datamodules.listing import IMAGE_SUFFIXES, first_existing, match_case, scan_if_there, with_other_suffix
from datamodules.readers.class_folders import find_classes, read_classes
from datamodules.readers.lists import check_names, read_rows

FOLDERS: Final[dict[Split, tuple[str, ...]]] = {
    "train": ("training_set_synthetic_images", "train"),
    "val": ("validation_set_real_images", "val"),
}
"""Names of the split's folder: the organisers', and what the published code asks its users to rename it to."""

LIST_HEADERS: Final = (tuple(LSD_HEADER.split(",")), ("image",))
"""Headers of the test list: the organisers', and that of a list without the column to predict."""


@buildable("data")
class LSDDataModule(FaceDataModule):
    """Faces in class folders, ``root/<split>/<CLASS>/*.jpg``; a test split is one flat folder and a list.

    ``Batch["expression"]`` is the index in ``labels.LSD_EXPRESSIONS``. Class folders may be in any case, and ANGER in
    any of the spellings in use (the official folder is ANGRER).

    Args:
        root: folder with the folders of the splits.
        train_folder: another name of the training folder, absolute or relative to ``root``; where None, FOLDERS.
        val_folder: another name of the validation folder, in the same way.
        test_list: list of the test images; needed for ``predict_split="test"`` only.
        test_root: flat folder of the test images; ``root`` where None.
        **options: keywords of ``FaceDataModule``.
    """

    root: str
    expressions = LSD_EXPRESSIONS

    def __init__(
        self,
        root: str,
        *,
        train_folder: str | None = None,
        val_folder: str | None = None,
        test_list: str | None = None,
        test_root: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = root
        self.folders: dict[Split, str | None] = {"train": train_folder, "val": val_folder}
        self.test_list, self.test_root = test_list, test_root

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
        """List the class folders in order of class and file name, or read the test list.

        Raises:
            FileNotFoundError: the split's folder or list is missing.
            DataError: a class folder is unknown, missing, duplicate or empty; a listed image is missing; or a link
                leads out of the roots.
        """
        links = self.links(self.test_root)
        if split == "test":
            return self._read_test(links)
        folder = links.enter(self._split_folder(split))
        folders = class_folders(folder, self.faults)
        frames, images = read_classes(folder, folders, self.cache, links)
        for number, path in folders.items():
            if number not in frames.expression:
                error = DataError(
                    f"{path} holds no image ({', '.join(IMAGE_SUFFIXES)}), so {LSD_EXPRESSIONS[number]} could neither "
                    f"be learnt nor scored. Copy the class again from the challenge's archive."
                )
                refuse(error, self.faults)
        return frames, images

    def _split_folder(self, split: Split) -> Path:
        root = Path(self.root).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"no such folder: {root}. Set data.root to the folder of the challenge's images.")
        given = self.folders[split]
        names = (given,) if given else FOLDERS[split]
        fix = f"Set data.root to the folder above it, or data.{split}_folder to its name."
        return first_existing([root], names, f"no folder of the {split} split", fix, folder=True)

    def _read_test(self, links: Links) -> tuple[Frames, list[Path | None]]:
        if self.test_list is None:
            raise FileNotFoundError("the test split has no list. Set data.test_list to the challenge's list of images.")
        path = Path(self.root).expanduser() / Path(self.test_list).expanduser()
        folder = Path(self.test_root or self.root).expanduser()
        links.check(path)
        _, rows, digest = read_rows(path, "Is this the challenge's list?", by_position=LIST_HEADERS, faults=self.faults)
        image = [row.partition(",")[0].strip() for row in rows]
        line_of = {name: line for line, name in reversed(list(enumerate(image, start=2)))}
        if leading_out := check_names(path, line_of, self.faults):
            image = [name for name in image if name not in leading_out]
        files = match_case(scan_if_there(folder, links).files, image)
        absent = [row for row, file in enumerate(files) if file is None]
        if absent:
            other = with_other_suffix([folder], [image[row] for row in absent], links)
            error = DataError(
                f"{path}:{line_of[image[absent[0]]]}: {image[absent[0]]} is not in {folder}, nor are {len(absent) - 1} "
                f"more of {len(image)} listed images. {other}Set data.test_root to the flat folder of the test images."
            )
            refuse(error, self.faults)
        frames = unlabelled(image, [""] * len(image), np.arange(len(image), dtype=np.int64), {path.name: digest})
        return frames, [None if file is None else folder / file for file in files]


def class_folders(folder: Path, faults: list[DataError] | None = None) -> dict[int, Path]:
    """Return the folder of each of the six classes, in the order of ``LSD_EXPRESSIONS``.

    Args:
        folder: of the split.
        faults: of the data so far; classes that cannot be read are left out then. None: the first is raised.

    Raises:
        DataError: a folder that is no class, a class without a folder, or with several.
    """
    found, others = find_classes(folder, LSD_FOLDERS, faults)
    for other in others:
        error = DataError(
            f"{other} is none of the six classes: {', '.join(names[0] for names in LSD_FOLDERS)} (any case; "
            f"{LSD_EXPRESSIONS[0]} also as {', '.join(LSD_FOLDERS[0][1:])}). Rename or move it."
        )
        refuse(error, faults)
    missing = [names[0] for number, names in enumerate(LSD_FOLDERS) if number not in found]
    if missing:
        refuse(DataError(f"{folder} has no class folder {', '.join(missing)}. Copy it from the archive."), faults)
    return dict(sorted(found.items()))
