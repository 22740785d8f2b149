"""Put the scores of overlapping windows together: each frame's are averaged, and given out as soon as that can be."""

from __future__ import annotations

import torch
from torch import Tensor


class Stitcher:
    """Averages the scores of the windows of one video, which come in the order of their starts.

    A frame's score is the mean, with equal weights, of what each window that covers it says: the raw scores, before any
    softmax or sigmoid. No more is held than the positions that a later window may still cover.

    Attributes:
        given: positions that were given out, from the beginning of the video.
    """

    def __init__(self) -> None:
        self.given = 0
        self._sum: Tensor | None = None  # (L, C) of the positions from ``given`` on
        self._count: Tensor | None = None  # (L, 1)

    def add(self, start: int, scores: Tensor, done: int) -> Tensor:
        """Add a window.

        Args:
            start: its first position.
            scores: (T, C) of its positions, without padding.
            done: how many positions at the beginning of the video no later window covers.

        Returns:
            (done − given before, C) the means of the positions that are done now.

        Raises:
            ValueError: it begins before what was given out, or positions are done that no window has covered.
        """
        if self._sum is None or self._count is None:
            self._sum, self._count = scores.new_zeros(0, scores.shape[1]), scores.new_zeros(0, 1)
        first, stop = start - self.given, start + len(scores) - self.given
        if not 0 <= first <= len(self._sum) or not 0 <= done - self.given <= max(stop, len(self._sum)):
            raise ValueError(f"a window at {start} of {len(scores)} frames, {done} done, after {self.given} were given")
        if stop > len(self._sum):
            longer = scores.new_zeros(stop - len(self._sum), scores.shape[1] + 1)
            self._sum = torch.cat([self._sum, longer[:, 1:]])
            self._count = torch.cat([self._count, longer[:, :1]])
        self._sum[first:stop] += scores
        self._count[first:stop] += 1
        finished = done - self.given
        means = self._sum[:finished] / self._count[:finished]
        # copies: a view would keep all that was held before
        self._sum, self._count = self._sum[finished:].clone(), self._count[finished:].clone()
        self.given = done
        return means
