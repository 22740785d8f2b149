"""Checksums of files and inside those that this framework writes, and one warning for older files that have none."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError

CHECKSUM: Final = "checksum"
"""Key of the checksum in a JSON object that ``sealed`` returns."""

_log = logging.getLogger(__name__)
_told: set[str] = set()


def file_sha256(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a JSON object a checksum of all its entries."""
    return {**content, CHECKSUM: _sha256(content)}


def unsealed(content: Mapping[str, Any], path: Path, kind: str) -> dict[str, Any]:
    """Check what ``sealed`` returned, as read from a file, and remove the checksum.

    Args:
        content: a JSON object; one without a checksum is taken as it is, with a warning.
        path: path of the file, for messages.
        kind: kind of file in the singular with its article, for example ``a feature store``.

    Raises:
        UserError: the content does not match its checksum.
    """
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    if CHECKSUM not in content:
        warn_unchecked(kind, path)
    elif content[CHECKSUM] != _sha256(rest):
        raise UserError(f"{path}: damaged: its content does not fit its checksum")
    return rest


def warn_unchecked(kind: str, path: Path) -> None:
    """Warn that a file has no checksum, once per process and kind.

    Args:
        kind: kind of file in the singular with its article, for example ``a prediction table``.
        path: the first such file.
    """
    if kind not in _told:
        _told.add(kind)
        _log.warning("%s: %s without a checksum, of an earlier version: damage would not be noticed", path, kind)


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
