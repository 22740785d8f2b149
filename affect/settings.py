"""What a configuration may build, and the numbers that it may give: both are told where a signature is defined.

A class or function that a configuration names as a ``_target_`` has a mark; a parameter that takes some numbers only
has their range in its type: ``rate: Annotated[float, Range(above=0)]``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

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


@dataclass(frozen=True)
class Range:
    """Finite numbers between two limits.

    Attributes:
        least: the smallest; None for no limit.
        above: a limit that is not in the range itself.
        most: the largest.
        below: a limit that is not in the range itself.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        limits = {">=": self.least, ">": self.above, "<=": self.most, "<": self.below}
        return " and ".join(f"{sign} {limit}" for sign, limit in limits.items() if limit is not None)


Count: TypeAlias = Annotated[int, Range(least=1)]
Whole: TypeAlias = Annotated[int, Range(least=0)]
Positive: TypeAlias = Annotated[float, Range(above=0)]
NotNegative: TypeAlias = Annotated[float, Range(least=0)]
Probability: TypeAlias = Annotated[float, Range(least=0, most=1)]
Dropped: TypeAlias = Annotated[float, Range(least=0, below=1)]
"""A share that is dropped: something must be left."""
