"""Check that a zip file, the format of everything that ``torch.save`` writes, holds what was written to it."""

from __future__ import annotations

import os
import struct
import zipfile
from typing import BinaryIO, Final

_CHUNK: Final = 1 << 22
_END: Final = struct.Struct("<4s4H2LH")
_FOLDER: Final = 0x10


def check_archive(file: BinaryIO) -> None:
    """Compare every entry of an uncompressed zip file with its checksum, and the end record with the entries.

    What is not checked (times, attributes, padding) is part of no value. torch's own reader compares no checksums.

    Args:
        file: open for reading; it stands at its start again afterwards.

    Raises:
        zipfile.BadZipFile: no zip file, or one that was changed after it was written.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            for entry in entries:
                _check_entry(archive, entry)
    except (RuntimeError, EOFError, ValueError, struct.error) as error:  # damaged bytes raise all of these
        raise zipfile.BadZipFile(str(error)) from error
    file.seek(-_END.size, os.SEEK_END)
    signature, _, _, _, count, *_, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\5\6" or count != len(entries) or comment:
        raise zipfile.BadZipFile("its end record does not fit its entries")
    if len({entry.filename for entry in entries}) < len(entries):
        raise zipfile.BadZipFile("two of its entries have the same name")
    file.seek(0)


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read an entry to its end, where ``zipfile`` compares its checksum, and its name with that in front of it."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise zipfile.BadZipFile(f"{entry.filename} is compressed")
    if entry.external_attr & _FOLDER:
        raise zipfile.BadZipFile(f"{entry.filename} is marked as a folder, of which torch reads nothing")
    left = entry.file_size
    with archive.open(entry) as content:
        while chunk := content.read(_CHUNK):
            left -= len(chunk)
    if left:
        raise zipfile.BadZipFile(f"{entry.filename} is cut off")
