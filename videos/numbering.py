"""Number decoded pictures by their times, so that a lost picture leaves a gap and shifts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

TOLERANCE: Final = 0.2
"""How far a picture may be from its number's time, and from its neighbour, in periods; MKV rounds to 1 ms."""


def frame_numbers(times: Sequence[float | None]) -> npt.NDArray[np.int64] | None:
    """Number pictures from 1 by their times: round(time x rate) + 1.

    The rate is measured, because a container's rate is often the mean over the gaps.

    Args:
        times: times of T pictures, s after the beginning of the stream.

    Returns:
        (T,) increasing numbers, which skip missing pictures. None if the times have no constant rate (they are unknown,
        not whole multiples of a period apart, or there would be more gaps than pictures), so that pictures can only be
        counted.
    """
    if len(times) == 1:
        return np.ones(1, np.int64)
    known = np.array([time for time in times if time is not None])
    if len(known) < len(times) or not len(known):
        return None
    gaps = np.diff(known)
    if gaps.min() <= 0:
        return None
    periods = gaps / gaps[gaps < 1.5 * np.median(gaps)].mean()
    steps = np.rint(periods).astype(np.int64)
    passed = np.append(0, np.cumsum(steps))
    period = (known[-1] - known[0]) / passed[-1]
    off = np.append(periods - steps, (known - known[0]) / period - passed)
    numbers = round(max(known[0], 0) / period) + passed + 1
    if steps.min() < 1 or np.abs(off).max() > TOLERANCE or numbers[-1] > 2 * len(known):
        return None
    return np.asarray(numbers, dtype=np.int64)
