"""Find and list class folders, whose names are the labels of the images in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from affect.errors import DataError, refuse
from affect.frames import Frames, unlabelled
from datamodules.links import Links
from datamodules.listing import list_images


def find_classes(
    folder: Path, classes: Sequence[Sequence[str]], faults: list[DataError] | None = None
) -> tuple[dict[int, Path], list[Path]]:
    """Find the folder of each class by its name, in any case.

    Args:
        folder: folder that holds them.
        classes: the names that the folder of each class may have.
        faults: of the data so far; a second folder of a class is left out then. None: it is raised.

    Returns:
        Number of the class to its folder, for the classes that have one; and the other folders, sorted.

    Raises:
        DataError: two folders belong to one class.
    """
    known = {name.lower(): number for number, names in enumerate(classes) for name in names}
    found: dict[int, Path] = {}
    others = []
    for path in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        number = known.get(path.name.lower())
        if number is None:
            others.append(path)
        elif number in found:
            refuse(DataError(f"{found[number]} and {path} are of the same class. Merge them."), faults)
        else:
            found[number] = path
    return found, others


def read_classes(
    folder: Path, classes: Mapping[int, Path], cache: Path | None, links: Links
) -> tuple[Frames, list[Path | None]]:
    """List the images of class folders in order of class and file name.

    Args:
        folder: folder above them.
        classes: number of each class to its folder.
        cache: folder in which listings are cached; None: no cache.
        links: decides which links are followed.

    Returns:
        The rows, whose expression is the number of the class, and their images.
    """
    found = [(number, f"{path.name}/{name}") for number, path in classes.items()
             for name in list_images(path, cache, links)]  # fmt: skip
    image = [name for _, name in found]
    # Photographs have no frame number; their position in the list stands in for it.
    frames = unlabelled(image, [name.partition("/")[0] for name in image], np.arange(len(image), dtype=np.int64), {})
    expression = np.array([number for number, _ in found], dtype=np.int64)
    return replace(frames, expression=expression), [folder / name for name in image]
