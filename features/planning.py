"""Plan how windows lie on videos: once for each video, what stands at each position, and where its features are."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypedDict

import numpy as np

from affect.errors import DataError
from affect.frames import BoolArray, Frames, IntArray, rows_by_video
from affect.settings import Count
from features.store import FeatureStore, Places

Grid = Literal["frames", "rows"]
Fill = Literal["nearest", "previous"]

LONGEST: Final = 10_000_000
"""Frames of the longest video, five days of it: what counts higher is no frame number."""


class Laid(TypedDict):
    """How windows lie on videos: arguments of ``features.windows.WindowsDataModule``."""

    window: Count
    hop: Count
    eval_hop: Count | None
    max_frames: Count | None
    grid: Grid
    fill: Fill


class Spans(NamedTuple):
    """The windows of a video, in the order of their starts.

    Attributes:
        start: (W,) the first position of each.
        stop: (W,) the one after the last.
        done: (W,) how many positions at the beginning of the video no later window covers.
    """

    start: IntArray
    stop: IntArray
    done: IntArray


@dataclass(frozen=True, eq=False)
class VideoPlan:
    """The P positions of a video, one after another in time.

    Attributes:
        video: its name.
        rows: (R,) its rows of the list, by position; those of a frame that is listed twice stand together.
        first: (P + 1,) the rows of position p are ``rows[first[p]:first[p + 1]]``: none where the list lacks the frame.
        places: of each store, the places of the P features, those of missing frames filled in; −1 where nothing is.
        seen: (P,) true where the frame has features of its own.
    """

    video: str
    rows: IntArray
    first: IntArray
    places: tuple[Places, ...]
    seen: BoolArray

    def __len__(self) -> int:
        return len(self.seen)

    @property
    def without_features(self) -> bool:
        """Whether nothing is known at any position."""
        return not self.places[0].found.any()

    def listed(self, start: int, stop: int) -> tuple[IntArray, IntArray]:
        """Return the rows of the positions from ``start`` to before ``stop``, and the position of each."""
        counts = np.diff(self.first[start : stop + 1])
        return self.rows[self.first[start] : self.first[stop]], np.repeat(np.arange(start, stop), counts)

    def labelled(self, has_label: BoolArray) -> BoolArray:
        """Return (P,) true for the positions that a loss counts: with features of their own, and a row with a label.

        Args:
            has_label: (N,) true for the rows of the list with a label.
        """
        rows, position = self.listed(0, len(self))
        known = np.zeros(len(self), dtype=bool)
        known[position[has_label[rows]]] = True
        return known & self.seen


def windows(length: int, window: int, hop: int) -> Spans:
    """Lay windows on a video: every ``hop`` positions one, the last one aligned to the end, none longer than the video.

    Args:
        length: positions of the video, at least 1.
        window: positions of a window.
        hop: from the start of a window to that of the next, at most ``window``.
    """
    last = max(length - window, 0)
    start = np.append(np.arange(0, last, hop), last)
    return Spans(start, np.minimum(start + window, length), np.append(start[1:], length))


def pieces(length: int, size: int) -> Spans:
    """Cut a video into pieces that do not overlap; the last one is shorter."""
    start = np.arange(0, length, size)
    stop = np.minimum(start + size, length)
    return Spans(start, stop, stop)


def predicted_spans(length: int, laid: Laid) -> Spans:
    """Return the windows, or pieces, of validation and prediction on a video of so many frames."""
    if laid["max_frames"] is not None:
        return pieces(length, laid["max_frames"])
    return windows(length, laid["window"], laid["eval_hop"] or laid["hop"])


def moved(start: IntArray, length: int, window: int, hop: int, seed: tuple[int, int, str]) -> IntArray:
    """Move the windows of a video together, by up to half a hop to either side; none leaves the video.

    Args:
        start: starts of some of its ``windows``.
        length: positions of the video.
        window: positions of a window.
        hop: as for ``windows``.
        seed: seed, epoch and name of the video: the move depends on nothing else.
    """
    number, epoch, video = seed
    random = np.random.default_rng([number, epoch, zlib.crc32(video.encode("utf-8", "surrogateescape"))])
    return (start + random.integers(-(hop // 2), hop // 2 + 1)).clip(0, max(length - window, 0))


def filled(frames: IntArray, known: IntArray, fill: Fill) -> IntArray:
    """Choose whose features each frame takes.

    Args:
        frames: (P,) frame numbers.
        known: (K,) numbers of the frames with features, ascending.
        fill: ``nearest``: the nearest one in time, of two the earlier; ``previous``: the last one up to it, so that
            nothing is known of the future.

    Returns:
        (P,) index into ``known``; −1 where there is none: of ``nearest`` only if nothing is known at all.
    """
    before = np.searchsorted(known, frames, side="right") - 1
    if fill == "previous" or not len(known):
        return before
    after = np.minimum(before + 1, len(known) - 1)
    earlier = np.maximum(before, 0)
    closer = np.abs(known[after] - frames) < np.abs(frames - known[earlier])
    return np.where(closer, after, earlier)


def plan_videos(frames: Frames, stores: Sequence[FeatureStore], grid: Grid, fill: Fill) -> list[VideoPlan]:
    """Plan every video of a list, in the order of their first rows.

    Args:
        frames: the list.
        stores: stores of the same frames.
        grid: what a position is: ``frames``: each frame from 1 to the last listed one; ``rows``: each listed frame.
        fill: see ``filled``; the features before the first known frame are zeros with ``previous``.

    Raises:
        DataError: a frame number is no frame number, or the stores are of other frames.
    """
    return list(_plans(frames, stores, grid, fill))


def _plans(frames: Frames, stores: Sequence[FeatureStore], grid: Grid, fill: Fill) -> Iterator[VideoPlan]:
    for video, rows in rows_by_video(frames.video).items():
        rows = rows[np.argsort(frames.frame[rows], kind="stable")]
        listed = frames.frame[rows]
        if grid == "rows":
            numbers = np.unique(listed)
        elif listed[-1] - min(listed[0], 1) < LONGEST:
            numbers = np.arange(min(listed[0], 1), listed[-1] + 1)
        else:
            raise DataError(
                f"{frames.image[rows[-1]]}: frame {listed[-1]} of video {video}: data.grid=frames has a position for "
                f"each frame from 1 on, and so long is no video. Give data.grid=rows"
            )
        known = _known(video, stores, numbers[0], numbers[-1])
        source = filled(numbers, known, fill)
        yield VideoPlan(
            video,
            rows,
            np.searchsorted(listed, np.append(numbers, numbers[-1] + 1)),
            tuple(_places(store, video, known, source) for store in stores),
            np.isin(numbers, known, assume_unique=True),
        )


def _known(video: str, stores: Sequence[FeatureStore], first: int, last: int) -> IntArray:
    """Return the frames from ``first`` to ``last`` that the stores have, ascending: all of them the same."""
    found = [np.sort(store.frames_of(video)).astype(np.int64) for store in stores]
    found = [known[np.searchsorted(known, first) : np.searchsorted(known, last, side="right")] for known in found]
    for store, known in zip(stores, found, strict=True):
        differ = np.setxor1d(known, found[0], assume_unique=True)
        if len(differ):
            raise DataError(
                f"{stores[0].root} and {store.root} are stores of other frames: {len(differ)} of video {video} are in "
                f"one of them alone, frame {differ[0]} for one. Extract both from the same list (extract.py store=…)"
            )
    return found[0]


def _places(store: FeatureStore, video: str, known: IntArray, source: IntArray) -> Places:
    """Return where a store keeps the features that each position takes."""
    of_known = store.find([video] * len(known), known)
    return Places(*(np.append(column, -1)[source] for column in of_known))
