"""Find class folders, whose names are the labels of the images in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from affect.errors import DataError


def find_classes(folder: Path, classes: Sequence[Sequence[str]]) -> tuple[dict[int, Path], list[Path]]:
    """Find the folder of each class by its name, in any case.

    Args:
        folder: folder that holds them.
        classes: the names that the folder of each class may have.

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
            raise DataError(f"{found[number]} and {path} are of the same class. Merge them.")
        else:
            found[number] = path
    return found, others
