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


def _kept_file(cache: Path, where: str) -> Path:
    return cache / f"{hashlib.sha256(os.fsencode(where)).hexdigest()[:16]}.json"


def read_kept(cache: Path | None, where: str) -> Any:
    """Return what is kept under a name.

    Args:
        cache: folder; None: nothing is kept.
        where: name under which it is kept.

    Returns:
        JSON values; None where the file is missing, damaged, of another name or an old version.
    """
    if cache is None:
        return None
    try:
        digest, _, text = _kept_file(cache, where).read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None
    version, name, content = json.loads(text)
    return content if (version, name) == (_VERSION, where) else None


def write_kept(cache: Path | None, where: str, content: Any) -> None:
    """Keep JSON values under a name, with a checksum; a cache that cannot be written to costs time and no more."""
    if cache is None:
        return
    text = json.dumps([_VERSION, where, content]).encode()
    try:
        with whole_file(_kept_file(cache, where), shared=True) as beside:
            beside.write_bytes(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    except (OSError, UserError) as error:
        if cache not in _warned:
            _warned.add(cache)
            _log.warning("%s: what was found cannot be kept, so the next run does the same again (%s)", cache, error)
