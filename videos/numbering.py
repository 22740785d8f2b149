"""Frame numbers of decoded pictures by their times, so that a lost picture leaves a hole and shifts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

TOLERANCE: Final = 0.2
"""How far a picture may be from where its number has it, and from its neighbour, in periods; MKV rounds to 1 ms."""


def frame_numbers(times: Sequence[float | None]) -> npt.NDArray[np.int64] | None:
    """Number pictures from 1 by their times: round(time x rate) + 1.

    The rate is measured, because that of a container is often its mean over the holes.

    Args:
        times: of T pictures, s after the beginning of the stream.

    Returns:
        (T,) increasing numbers; those that are left out are of pictures that are missing. None where the times are not
        those of a constant rate (times are unknown or not whole multiples of a period apart, or there would be more
        holes than pictures), so that pictures can only be counted.
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
