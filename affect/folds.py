"""Folds of whole videos: which parts of the data are held back together, balanced in what each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.errors import DataError

PEOPLE: Final = ("_left", "_right")
"""What ends the name of a second person's crops in a video of Aff-Wild2."""
_PASSES: Final = 20
_MANY: Final = 1000
"""Groups, from which on each is exchanged with those of about its size alone: with all, it would take minutes."""
_NEAR: Final = 32  # larger ones, and smaller ones, that are tried then
_ALIKE: Final = 1e-3  # from an even share: then that is enough


def base_video(name: str) -> str:
    """Return the video that a person's name in it belongs to: ``_left`` and ``_right`` are taken off, nothing else."""
    for end in PEOPLE:
        if name.endswith(end) and name != end:
            return name.removesuffix(end)
    return name


def deal(groups: Sequence[str], counts: NDArray[np.float64], folds: int) -> NDArray[np.int64]:
    """Deal rows into folds by whole groups, so that the folds are alike in every count.

    The largest group comes first, each into the fold where the sum of squared shares grows least; then groups are moved
    and exchanged as long as that sum falls; of more than a thousand groups, with those of about their size, until all
    folds are within a thousandth of an even share, or a round of all groups hardly helps. The order of the rows changes
    nothing.

    Args:
        groups: of each of the R rows, the group that must stay together: its video, say.
        counts: (R, C) what is to be balanced, none negative: a column of ones for the rows, one for each class.
        folds: how many.

    Returns:
        (R,) the fold of each row, from 0.

    Raises:
        DataError: there are fewer groups than folds.
    """
    names, of_row = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(names) < folds:
        videos = f"{len(names)} video{'s' * (len(names) != 1)}"
        raise DataError(f"{folds} folds of {videos}: each fold needs one of its own; ask for fewer folds")
    shares = np.zeros((len(names), counts.shape[1]))
    np.add.at(shares, of_row, counts)
    shares /= np.maximum(shares.sum(axis=0), 1e-300)
    order = sorted(range(len(names)), key=lambda group: (-float(shares[group].max()), str(names[group])))
    fold = np.zeros(len(names), dtype=np.int64)
    held = np.zeros((folds, counts.shape[1]))
    for position, group in enumerate(order):
        growth = ((held + shares[group]) ** 2 - held**2).sum(axis=1)
        # the first groups open a fold each, so that none stays empty
        fold[group] = position if position < folds else int(np.argmin(growth))
        held[fold[group]] += shares[group]
    _improve(shares, fold, held, order)
    return fold[of_row]


def _improve(
    shares: NDArray[np.float64], fold: NDArray[np.int64], held: NDArray[np.float64], order: Sequence[int]
) -> None:
    """Move groups, and exchange pairs of them, as long as the sum of squared shares falls; in place."""
    folds, many, by_size = len(held), len(order) > _MANY, np.array(order)
    size, near, nothing = np.bincount(fold, minlength=folds), np.arange(len(order)), np.zeros((folds, shares.shape[1]))
    even = shares.any(axis=0) / folds
    for _ in range(_PASSES):
        changed, before = False, np.square(held - even).sum()
        for position, group in enumerate(order):
            if many:
                if np.abs(held - even).max() < _ALIKE / folds:
                    return
                near = by_size[max(position - _NEAR, 0) : position + _NEAR + 1]
            own = fold[group]
            # what each other fold could give back for this group: nothing, or one of its own groups
            given = np.concatenate([nothing, shares[near]])
            to = np.concatenate([np.arange(folds), fold[near]])
            change = shares[group] - given
            after = ((held[own] - change) ** 2 + (held[to] + change) ** 2).sum(axis=1)
            gain = (held[own] ** 2 + held[to] ** 2).sum(axis=1) - after
            gain[to == own] = 0.0
            if size[own] == 1:
                gain[:folds] = 0.0  # its fold would be empty
            best = int(np.argmax(gain))
            if gain[best] <= 1e-12:
                continue
            changed = True
            held[own] -= change[best]
            held[to[best]] += change[best]
            fold[group] = to[best]
            if best >= folds:
                fold[near[best - folds]] = own
            else:
                size[own] -= 1
                size[to[best]] += 1
        if not changed or (many and np.square(held - even).sum() > 0.9 * before):
            return
