"""What became of one changed file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .formats import Format
from .strict_text import RefusedError

OUTCOMES = ("same", "refused", "nameless", "another", "traceback", "hang", "code", "lost")
"""The columns of the table.

* ``same``: read as the strict reader reads it.
* ``refused``: an error that names the file.
* ``nameless``: an error for users that names neither the file nor its folder.
* ``another``: read, but as another value than the strict reader's, or although that refuses it.
* ``traceback``: any other exception.
* ``hang``: no answer after five seconds.
* ``code``: something was run, or written.
* ``lost``: a valid file is gone.
"""


def user_errors() -> tuple[type[BaseException], ...]:
    """Exceptions that entry points tell as one message."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    try:
        from affect.errors import UserError
    except ModuleNotFoundError:  # before there was one base of them
        from affect.errors import DataError
        from runs.folder import USER_ERRORS  # type: ignore[attr-defined]

        return (*USER_ERRORS, DataError, OSError)
    return (UserError, OSError, MisconfigurationException)


LEGAL = "legal: "
"""What is said of a refused file that the strict reader takes begins with this."""


def outcome(format_: Format, path: Path, original: Any, errors: tuple[type[BaseException], ...]) -> tuple[str, str]:
    """Reads a changed file with both readers.

    Args:
        format_: of the file.
        path: the file.
        original: what was read of the unchanged file.
        errors: that are told as one message.

    Returns:
        The outcome, and what there is to say of it.
    """
    try:
        ours = format_.ours(path)
    except errors as error:
        message = " ".join(str(error).split())
        legal = LEGAL if not format_.sealed and _taken(format_, path) else ""
        return (
            "refused" if named(message, path.name, path.parent) else "nameless"
        ), f"{legal}{type(error).__name__}: {message}"
    except (Exception, SystemExit) as error:
        return "traceback", f"{type(error).__name__}: {error}"
    if format_.sealed:
        return ("same", "") if same(ours, original) else ("another", f"{difference(ours, original)}")
    try:
        strict = format_.strict(path)
    except RefusedError as error:
        immaterial = not format_.text and same(ours, original)
        return ("same", "") if immaterial else ("another", f"read although {error}")
    told = difference(_without_defaults(ours, strict) if format_.defaults else ours, strict)
    return ("same", "") if told is None else ("another", told)


def _without_defaults(ours: Any, strict: Any) -> Any:
    """Leaves out of a mapping, and of those in it, the keys that another has not."""
    if not isinstance(ours, Mapping) or not isinstance(strict, Mapping):
        return ours
    return {key: _without_defaults(value, strict[key]) for key, value in ours.items() if key in strict}


def named(message: str, *places: str | Path) -> bool:
    """Whether a message names one of some files or folders."""
    return any(str(place) in message for place in places)


def _taken(format_: Format, path: Path) -> bool:
    try:
        format_.strict(path)
    except RefusedError:
        return False
    return True


def same(one: Any, other: Any) -> bool:
    """Whether two plain containers hold the same values, numbers up to single precision."""
    return difference(one, other) is None


def difference(one: Any, other: Any, where: str = "") -> str | None:
    """The first difference of two plain containers; None where there is none."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        equal = one.shape == other.shape and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        return None if equal else f"{where}: other values"
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if set(one) != set(other):
            return f"{where}: only one has {sorted(map(str, set(one) ^ set(other)))[:3]}"
        return next(filter(None, (difference(one[key], other[key], f"{where}.{key}") for key in other)), None)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return f"{where}: {len(one)} instead of {len(other)}"
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(a, b, f"{where}[{place}]") for place, (a, b) in pairs)), None)
    return None if _equal(one, other) else f"{where}: {one!r} instead of {other!r}"[:300]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool) or not isinstance(one, int | float):
        return type(one) is type(other) and one == other
    if not isinstance(other, int | float):
        return False
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    with np.errstate(over="ignore"):
        return one == other or (math.isnan(one) and math.isnan(other)) or bool(np.float32(one) == np.float32(other))
