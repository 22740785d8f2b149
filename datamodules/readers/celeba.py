"""Read the file that splits CelebA into training, validation and test images."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from affect.errors import DataError, refuse
from datamodules.readers.lists import check_names, read_text

PARTITIONS: Final = ("list_eval_partition.txt", "Eval/list_eval_partition.txt", "list_eval_partition.csv")
"""Where CelebA's partition file lies below its root: the official archive's names, and that of a copy in wide use."""

PARTITION_HEADER: Final = ["image_id", "partition"]
"""Header of that copy, whose rows have a comma."""

NUMBERS: Final = {"train": "0", "val": "1", "test": "2"}
"""The number of each split in it."""


def read_partition(path: Path, faults: list[DataError] | None = None) -> tuple[dict[str, str], str]:
    """Read CelebA's partition: ``000001.jpg 0`` a line, or the same as comma-separated values under a header.

    Args:
        path: the file.
        faults: of the data so far; faulty lines are left out then. None: the first is raised.

    Returns:
        File name to "0" (training), "1" (validation) or "2" (test); sha256 of the file.

    Raises:
        DataError: the file is no text or empty, a line is not of this form, an image is there twice, or a name
            leads elsewhere.
    """
    lines, digest = read_text(path, faults)
    commas = [field.strip() for field in lines[0].split(",")] == PARTITION_HEADER
    split_of: dict[str, str] = {}
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines[commas:], start=1 + commas):
        fields = [field.strip() for field in line.split(",")] if commas else line.split()
        if len(fields) != 2 or "," in fields[0] or fields[1] not in NUMBERS.values():
            form = "an image name and 0 (training), 1 (validation) or 2 (test)"
            refuse(DataError(f"{path}:{number}: {line[:200]!r} is not {form}."), faults)
            continue
        name, partition = fields
        if line_of.setdefault(name, number) != number:
            error = DataError(f"{path}:{number}: {name!r} is listed in line {line_of[name]} already. Remove one.")
            refuse(error, faults)
        split_of.setdefault(name, partition)
    if not line_of:
        raise DataError(f"{path}: no row after the header. Copy the file again, or remove it.")
    check_names(path, line_of, faults)
    return split_of, digest
