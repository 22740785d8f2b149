"""Random damage to the content of files."""

from __future__ import annotations

import numpy as np


def changed(content: bytes, random: np.random.Generator, way: int) -> bytes:
    """One change at a random place, by the way 0 to 3: another bit, another byte, a cut, a byte more."""
    at = int(random.integers(len(content)))
    byte = bytes([content[at] ^ 1 << int(random.integers(8)) if way == 0 else int(random.integers(256))])
    return content[:at] + (b"" if way == 2 else byte + content[at + (way < 2) :])
