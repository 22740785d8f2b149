"""The mark of what a configuration may name as a ``_target_``: it stands where the class or function is defined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, TypeVar

Role: TypeAlias = Literal["model", "data", "augmentation", "render", "callbacks", "logger", "trainer"]
"""The node of a configuration in which something may be built, at the top or further down."""

_Thing = TypeVar("_Thing")
_MARK: Final = "__buildable__"


def buildable(role: Role) -> Callable[[_Thing], _Thing]:
    """Mark a class or function as one that a configuration may build. Checkpoints of strangers may then build it, too.

    Args:
        role: the node in which it may be named; networks, losses and backbones are parts of a ``model``.
    """

    def mark(thing: _Thing) -> _Thing:
        setattr(thing, _MARK, (role, thing))
        return thing

    return mark


def role_at(target: str, thing: Any) -> Role | None:
    """Return the role that a class or function was marked with.

    Args:
        target: the dotted name under which it was found.
        thing: what was found there.

    Returns:
        None unless the mark is its own, not that of a base class or of a function that it wraps, and ``target`` is
        where it is defined, not another module that imports it.
    """
    role, marked = getattr(thing, "__dict__", {}).get(_MARK, (None, None))
    own = role is not None and marked is thing and target == f"{thing.__module__}.{thing.__qualname__}"
    return role if own else None
