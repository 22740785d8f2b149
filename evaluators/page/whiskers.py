"""Values with their intervals, one below another on one axis: dots and whiskers that are as wide as there is room.

Each line is an SVG whose places are per cent of its width: the lines stretch, and the text keeps its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, Literal, NamedTuple

import numpy as np

from evaluators.intervals import Interval

_TICKS: Final = 6  # at most
_LEAST: Final = 0.005  # beside the ends of an axis: equal values are not drawn apart
_EDGE: Final = 3.0  # per cent on either side, for half a dot and half a number


class Whisker(NamedTuple):
    """One value of a figure.

    Attributes:
        name: whose it is.
        more: what else is said of it, smaller.
        one: the value, with the ends of its interval where it has one.
        text: the same as text.
        kind: ``reference``, with which the others are compared; ``hollow``: it may be chance.
    """

    name: str
    more: str
    one: Interval
    text: str
    kind: Literal["", "reference", "hollow"] = ""


def whiskers(title: str, rows: Sequence[Whisker], mark: float) -> str:
    """Return a figure of values.

    Args:
        title: what stands above it.
        rows: values, the first at the top; without any, there is no figure.
        mark: where a line runs through all of them.
    """
    if not rows:
        return ""
    ends = np.array([[*row.one, mark] for row in rows])
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    room = max(0.04 * (high - low), _LEAST)
    axis, scale = ticks(low - room, high + room), _Scale(low - room, high + room)
    grid = "".join(scale.line(float(tick), "grid") for tick in axis) + scale.line(mark, "mark")
    numbers = "".join(f"<text x={scale(float(tick))} y=12>{tick}</text>" for tick in axis)
    lines = [
        f"<p><span>{escape(row.name)}{f' <small>{escape(row.more)}</small>' if row.more else ''}</span>"
        f" <span>{escape(row.text)}</span></p>\n<svg aria-hidden=true>{grid}{_drawn(row, scale)}</svg>"
        for row in rows
    ]
    below = f"<svg aria-hidden=true>{numbers}</svg>"
    return f"<div class=whiskers><h3>{escape(title)}</h3>\n{chr(10).join(lines)}\n{below}</div>"


def ticks(low: float, high: float) -> list[str]:
    """Return two to six round numbers between two, with as many digits as they need."""
    size = 10.0 ** math.floor(math.log10((high - low) / _TICKS))
    step = next(size * factor for factor in (1, 2, 5, 10, 20) if (high - low) / (size * factor) <= _TICKS - 1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{number * step:.{digits}f}" for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


class _Scale(NamedTuple):
    """Turns values into places."""

    low: float
    high: float

    def __call__(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low)
        return f'"{_EDGE + (100 - 2 * _EDGE) * share:.2f}%"'

    def line(self, value: float, kind: str) -> str:
        """Return a line from the top to the bottom."""
        return f'<line class={kind} x1={self(value)} x2={self(value)} y1=0 y2="100%"></line>'


def _drawn(row: Whisker, scale: _Scale) -> str:
    value, low, high = row.one
    dot = f'<circle cx={scale(value)} cy="50%" r=5></circle>'
    if math.isnan(low):
        return f'<g class="{row.kind}">{dot}</g>'
    return f'<g class="{row.kind}"><line x1={scale(low)} x2={scale(high)} y1="50%" y2="50%"></line>{dot}</g>'
