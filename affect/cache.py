"""Keep what takes long to find out in a folder of this machine that may be deleted at any time."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from affect.errors import UserError
from affect.files import whole_file

_VERSION: Final = 2  # version of what is kept

_log = logging.getLogger(__name__)
_warned: set[Path] = set()  # caches that cannot be written to


def kept_file(cache: Path, where: str) -> Path:
    """Return the file of a cache in which something is kept.

    Args:
        cache: folder.
        where: name under which it is kept.
    """
    return cache / f"{hashlib.sha256(os.fsencode(where)).hexdigest()[:16]}.json"


def read_kept(kept: Path, where: str) -> Any:
    """Return what is kept under a name; None where the file is missing, damaged, of another name or an old version."""
    try:
        digest, _, text = kept.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    version, name, content = json.loads(text)
    return content if (version, name) == (_VERSION, where) else None


def write_kept(kept: Path, where: str, content: Any) -> None:
    """Keep JSON values under a name, with a checksum; a cache that cannot be written to costs time and no more."""
    text = json.dumps([_VERSION, where, content]).encode()
    try:
        with whole_file(kept, shared=True) as beside:
            beside.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    except (OSError, UserError) as error:
        if kept.parent not in _warned:
            _warned.add(kept.parent)
            _log.warning(
                "%s: what was found cannot be kept, so the next run does the same again (%s)", kept.parent, error
            )
