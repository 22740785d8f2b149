"""Check plain values against type hints and the ranges in them; tell what an unknown word may mean."""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union

from affect.settings import Range

_WRITTEN: Final[Mapping[Any, str]] = {type(None): "null", bool: "true or false"}
"""Types that have other names in YAML."""


def key_errors(node: Mapping[str, Any], kind: type, prefix: str = "") -> Iterator[str]:
    """Find values of a node that do not fit the types in a class; keys that the class does not have are left alone.

    Args:
        node: plain values.
        kind: a TypedDict or a dataclass.
        prefix: what messages put before the keys.
    """
    for key, hint in typing.get_type_hints(kind, include_extras=True).items():
        if key in node:
            yield from value_errors(node[key], hint, f"{prefix}{key}")


def value_errors(value: Any, hint: Any, key: str) -> Iterator[str]:
    """Find what is wrong with a value, or with those inside a mapping."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else [hint]
    for option in options if isinstance(value, dict) else ():
        if typing.is_typeddict(option):
            yield from key_errors(value, option, f"{key}.")
            return
        if typing.get_origin(option) in (dict, Mapping):
            for name, one in value.items():
                yield from value_errors(one, typing.get_args(option)[1], f"{key}.{name}")
            return
    if not _fits(value, hint):
        yield f"{key} is {value!r}, but must be {_name(hint)}"


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value can be of the annotated type, and in its ranges; says True where it cannot tell."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        ranges = [one for one in arguments[1:] if isinstance(one, Range)]
        return _fits(value, arguments[0]) and all(value in one for one in ranges)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, str, bool, type(None)):
        return type(value) is hint
    if origin in (list, Sequence):
        return isinstance(value, list | tuple) and all(_fits(one, arguments[0]) for one in value)
    if origin is tuple:
        return isinstance(value, list | tuple)
    if origin in (dict, Mapping) or typing.is_typeddict(hint):
        return isinstance(value, dict)
    if hint is Path:
        return isinstance(value, str | Path)
    # a class of ours is built from its own node; anything but a node there is an error
    return not (inspect.isclass(hint) and isinstance(value, str | int | float | bool | None)) or isinstance(value, hint)


def _name(hint: Any) -> str:
    """Write a type as messages show it: ``float >= 0 and <= 1 or null``."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return " ".join([_name(arguments[0]), *map(str, arguments[1:])])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_name, arguments))
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if hint in _WRITTEN:
        return _WRITTEN[hint]
    if origin in (list, Sequence):
        return f"a list of {_name(arguments[0])}"
    return hint.__name__ if inspect.isclass(hint) and not arguments else str(hint).replace("typing.", "")


def suggest(word: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown word: which known ones may be meant."""
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(known)[:40])}"
