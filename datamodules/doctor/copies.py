"""Find pictures of one split that are copies of another split's: compressed again, brighter, or moved by a few pixels.

A hash of 8 x 8 grey levels finds candidates, whose pixels then decide. Faces that are cut out alike are all alike as a
whole, so the hash is compared by correlation, and at nine places two pixels apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from datamodules.pictures import UnreadableImageError, read_image

SIDE: Final = 8
"""Side of the hash, in grey levels."""

LIKE: Final = 0.98
"""Correlation of two pictures' pixels, once aligned, from which they are copies."""

_SIZE: Final = 112  # px; to which pictures are brought
_MARGIN: Final = 4  # px on each side by which a copy may be moved
_STEPS: Final = (-2, 0, 2)  # px by which the hash is tried beside its place
_CANDIDATE: Final = 0.97  # least correlation of hashes: that of copies is above .978 in 99 of 100 cases (docs/data.md)
_MOST: Final = 3  # candidates whose pixels are compared
_CHUNK: Final = 32  # pictures at a time: of 150,000 others, 20 MB

Grey = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.float32]


class Copy(NamedTuple):
    """A picture, the one that it is a copy of, and the correlation of their pixels."""

    path: Path
    original: Path
    correlation: float


def small(image: npt.NDArray[np.uint8]) -> Grey:
    """Return an (H, W, 3) RGB picture as (112, 112) grey levels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if grey.shape != (_SIZE, _SIZE):
        grey = cv2.resize(grey, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
    return grey.astype(np.uint8, copy=False)


def thumbnail(grey: Grey, down: int = 0, right: int = 0) -> Grey:
    """Return (64,) grey levels of the middle of a picture, moved by some pixels."""
    end = _SIZE - _MARGIN
    middle = grey[_MARGIN + down : end + down, _MARGIN + right : end + right]
    return cv2.resize(middle, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False).ravel()


def likeness(one: Grey, other: Grey) -> float:
    """Return the correlation of two (112, 112) pictures where they are most alike, moved by up to 4 px."""
    middle = one[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
    return float(cv2.matchTemplate(other, middle, cv2.TM_CCOEFF_NORMED).max())


def find_copies(
    asked: Sequence[Path], among: Sequence[Path], thumbnails: Grey, advance: Callable[[], object]
) -> Iterator[Copy]:
    """Find those of some pictures that are near copies of others.

    Args:
        asked: the pictures, which can be read and show something.
        among: the others.
        thumbnails: (N, 64) of the others, as ``thumbnail`` gives them.
        advance: called after each picture.

    Returns:
        Of each copy the original that it is most like, in the order of ``asked``.
    """
    if not len(among):
        return
    hashes = np.ascontiguousarray(_normalised(thumbnails).T)
    places = [(down, right) for down in _STEPS for right in _STEPS]
    for start in range(0, len(asked), _CHUNK):
        paths = asked[start : start + _CHUNK]
        pictures = [_read(path) for path in paths]
        likest = np.full((len(paths), len(among)), -1, dtype=np.float32)
        for down, right in places:
            moved = np.stack([thumbnail(grey, down, right) for grey in pictures])
            np.maximum(likest, _normalised(moved) @ hashes, out=likest)
        for path, grey, row in zip(paths, pictures, likest, strict=True):
            advance()
            candidates = np.flatnonzero(row >= _CANDIDATE)
            candidates = candidates[np.argsort(-row[candidates], kind="stable")][:_MOST].tolist()
            tried = [(likeness(grey, _read(among[one])), among[one]) for one in candidates if among[one] != path]
            correlation, original = max(tried, default=(0.0, path))
            if correlation >= LIKE:
                yield Copy(path, original, correlation)


def _read(path: Path) -> Grey:
    """Read a picture that could be read before; grey if it has vanished since."""
    try:
        return small(read_image(path))
    except UnreadableImageError:
        return np.full((_SIZE, _SIZE), 128, dtype=np.uint8)


def _normalised(thumbnails: Grey) -> Hashes:
    """Return hashes of length 1, so that their product is their correlation."""
    values = thumbnails.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    hashes: Hashes = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    return hashes
