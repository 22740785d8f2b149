"""Names from anybody's files that become paths: they must stay below the folder that they are relative to."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from affect.files import OutputError

# surrogates stand for bytes that are not UTF-8
_PART: Final = r"(?!\.)[^/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+"
_RELATIVE: Final = re.compile(f"{_PART}(/{_PART})*")

RULE: Final = (
    "expected a path below the folder, without .., names that begin with a dot or have more than 255 bytes, "
    "backslashes, or line breaks"
)
"""What is wrong with other names, for messages."""

_LONGEST: Final = 255  # bytes of a name, on nearly every file system


def is_relative(name: str) -> bool:
    """Return whether a name stays below any folder: no part of it is empty, too long, or begins with a dot.

    Backslashes and control characters are refused, too: to other systems and to tools that read lines, they mean more.
    """
    return _RELATIVE.fullmatch(name) is not None and all(len(part.encode()) <= _LONGEST for part in name.split("/"))


def below(folder: Path, name: str) -> Path:
    """Return a path below a folder to write to.

    Args:
        folder: the folder, which may itself be a link.
        name: name of the file or folder in it.

    Raises:
        OutputError: the name, or a link on the way, leads out of the folder.
    """
    path = folder / name
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(folder)):
        raise OutputError(f"{path} leads out of {folder}, to {real}: remove the link, or write to another folder")
    return path
