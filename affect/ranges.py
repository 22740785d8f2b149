"""The numbers that a parameter takes, written in its type: ``rate: Annotated[float, Range(above=0)]``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, TypeAlias


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
