"""Smooth a table's predictions in time with a box, median or Gaussian window, all videos at once.

The window of half-width k around frame number i is [i - k, i + k] **in frame numbers**, not in rows: the lists of the
multi-task challenge skip frames. It is cut off at the ends of the video and never reaches another one. It holds:

* without ``missing``, the frames of the list that have a prediction: null rows and numbers that the list skips have no
  weight, and null rows stay null;
* with ``missing``, every frame number from the first to the last listed one, those without a prediction filled from
  their neighbours first, as the published EmotiEffNet notebook does; then no row stays null.

A frame that is listed twice counts once, with its first row that has a prediction. Valence, arousal and probabilities
are smoothed; logits are left out, because the logits of a mean are not the mean of the logits.

Source: Savchenko, EmotiEffNets for Facial Processing in Video-based Valence-Arousal Prediction, Expression
Classification and Action Unit Detection (CVPRW 2023), and its notebook (github.com/sb-ai-lab/EmotiEffLib), where box
means with k = 50 (valence/arousal, expressions) and 5 (action units) are submitted; the Gaussian is that of ABAW7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from affect.errors import UserError
from affect.labels import TASKS
from evaluators.postprocess.filling import Between, between, fill_nulls, interpolate
from evaluators.postprocess.settings import STORED, one_of, read_stored
from evaluators.postprocess.timeline import Timeline, lay_out
from evaluators.postprocess.unseen import fill_unseen
from evaluators.table import Table

HalfWidths: TypeAlias = int | Mapping[str, int] | str
"""Frames to either side: one number, one by task, or the file of a search."""

PUBLISHED_K: Final = {"valence_arousal": 50, "expression": 50, "action_units": 5}
"""The half-widths with which the EmotiEffNet paper's test files are smoothed, in frames."""

Window: TypeAlias = Callable[[int, NDArray[np.floating]], None]
"""Writes the smoothed rows for a half-width into an array (N, columns)."""

CHUNK: Final = 2048
"""Rows at a time: twelve columns of float64 then stay in a core's cache."""


@dataclass(frozen=True, eq=False)
class Series:
    """The predictions of one task on a timeline.

    Attributes:
        line: the table's timeline.
        values: (cells, columns) float32, or float64 where frames were filled; 0 where there is none.
        present: (cells,) whether there is one.
        sigma: standard deviation of a Gaussian, in frames; None for k / 2.
    """

    line: Timeline
    values: NDArray[np.floating]
    present: NDArray[np.bool_]
    sigma: float | None


def half_widths(k: HalfWidths | None, tasks: Sequence[str]) -> dict[str, int]:
    """Return the half-width of each of these tasks; what is not given is that of ``PUBLISHED_K``.

    Raises:
        UserError: not a whole number of frames, negative, or of an unknown task; or a file without them.
    """
    if isinstance(k, str) and not Path(k).is_file():
        raise UserError(
            f"postprocess.k is {k!r}, and there is no such file; give the frames to either side, search, or the "
            f"{STORED} of a run that searched"
        )
    k = {} if k is None else read_stored(k, "k") if isinstance(k, str) else k
    given = {**PUBLISHED_K, **k} if isinstance(k, Mapping) else dict.fromkeys(tasks, k)
    for task, value in given.items():
        if task not in TASKS:
            raise UserError(f"postprocess.k: there is no task {task!r}; there are {', '.join(TASKS)}")
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise UserError(f"postprocess.k is {value!r}; give the frames to either side, 0 or more")
    return {task: int(given[task]) for task in tasks}


def smooth(
    table: Table,
    k: HalfWidths | None = None,
    kind: str = "box",
    *,
    missing: str | None = None,
    sigma: float | None = None,
) -> Table:
    """Smooth a table with one half-width, or one for each task."""
    return next(smooth_many(table, [k], kind, missing=missing, sigma=sigma))


def smooth_many(
    table: Table,
    ks: Sequence[HalfWidths | None],
    kind: str = "box",
    *,
    missing: str | None = None,
    sigma: float | None = None,
) -> Iterator[Table]:
    """Smooth a table with each of many half-widths, computing once what they share.

    Args:
        table: predictions for videos.
        ks: half-widths, each one number or one by task. A window longer than the video is its whole length; 0 smooths
            nothing.
        kind: ``box`` (mean), ``median`` (of each column; expressions are then divided by their sum, and where all their
            medians are 0, stay as they were), or ``gaussian`` (weights exp(-d² / 2 sigma²) for d in [-k, k]).
        missing: None, or how frames without a prediction are filled first: ``linear`` or ``reversed``.
        sigma: standard deviation of the Gaussian in frames; k / 2 by default. ABAW7's exp(-d² / 1e5) is sigma = 223.6.

    Yields:
        Tables of the same rows, in the order of ``ks``.

    Raises:
        UserError: an unknown kind or an unusable k.
        DataError: the list is not of videos; with ``missing``, a video without any prediction, and nothing is known to
            stand in for it.
    """
    one_of("smoothing", kind, WINDOWS)
    if sigma is not None and not sigma > 0:
        raise UserError(f"postprocess.sigma is {sigma}; give frames, more than 0, or null for k / 2")
    widths = [half_widths(k, table.tasks) for k in ks]
    line = lay_out(table, gap=max((max(by_task.values()) for by_task in widths), default=0))
    if missing is not None:
        table = fill_unseen(table)
    null = table.null
    own = table if missing is None else fill_nulls(table, missing)[0]
    rows = np.flatnonzero(~null)[::-1]
    filled = None if missing is None else _fill(line, rows, missing)
    windows = {task: WINDOWS[kind](_series(table.predictions[task], line, rows, filled, sigma)) for task in table.tasks}
    note = {"smoothing": kind, "missing": missing, "sigma": sigma}
    for by_task in widths:
        predictions = {}
        for task, k in by_task.items():
            predictions[task] = own.predictions[task]
            if k:
                predictions[task] = np.empty_like(own.predictions[task])
                windows[task](k, predictions[task])
                if missing is None:
                    predictions[task][null] = np.nan
                if kind == "median" and task == "expression":
                    _normalise(predictions[task], own.predictions[task])
        made = {**table.metadata, "smoothed": {**note, "k": by_task}}
        yield replace(table, predictions=predictions, metadata=made, source=f"{table.source}, smoothed")


class _Filled(NamedTuple):
    known: NDArray[np.intp]  # cells with a prediction, ascending
    wanted: NDArray[np.intp]  # cells of a video without one
    found: Between  # what stands on both sides of those, as positions in ``known``
    way: str


def _fill(line: Timeline, rows: NDArray[np.intp], way: str) -> _Filled:
    empty = line.video >= 0
    empty[line.cell[rows]] = False
    known, wanted = np.unique(line.cell[rows]), np.flatnonzero(empty)
    return _Filled(known, wanted, between(line.video[known], known, line.video[wanted], wanted), way)


def _series(
    predictions: NDArray[np.float32],
    line: Timeline,
    rows: NDArray[np.intp],
    filled: _Filled | None,
    sigma: float | None,
) -> Series:
    """Lay one task on the timeline; ``rows`` with a prediction come in reverse, so that the first of a frame stays."""
    values = np.zeros((len(line), predictions.shape[1]), dtype=np.float32 if filled is None else np.float64)
    values[line.cell[rows]] = predictions[rows]
    present = np.zeros(len(line), dtype=bool)
    present[line.cell[rows]] = True
    if filled is not None:
        values[filled.wanted] = interpolate(values[filled.known], filled.found, filled.way)
        present[filled.wanted] = True
    return Series(line, values, present, sigma)


def _normalise(values: NDArray[np.float32], own: NDArray[np.float32]) -> None:
    """Divide rows by their sum, in place; a row of zeros becomes its own again."""
    total = values.sum(axis=1, keepdims=True)
    values[:] = np.where(total == 0, own, values / np.where(total == 0, 1, total))


def _box(series: Series) -> Window:
    """Average windows by means of running sums.

    The sums are of integers, multiples of a power of two below float64's resolution of the largest value: they are
    exact however long the list is, and a wrapped-around sum gives the right difference.
    """
    line, (cells, columns) = series.line, series.values.shape
    largest = max(float(series.values.max()), -float(series.values.min()), 2.0**-30)
    scale = 2.0 ** (62 - (2 * line.gap + 1).bit_length() - np.frexp(largest)[1])
    total, count = np.zeros((cells + 1, columns), dtype=np.int64), np.zeros(cells + 1, dtype=np.int64)
    np.cumsum(series.present, out=count[1:])
    chunk = np.empty((CHUNK, columns), dtype=np.int64)
    for start in range(0, cells, CHUNK):
        values = series.values[start : start + CHUNK]
        part = chunk[: len(values)]
        np.multiply(values, values.dtype.type(scale), out=part, casting="unsafe")
        part[0] += total[start]
        np.cumsum(part, axis=0, out=total[start + 1 : start + 1 + len(values)])
    chunks = _chunks(line.cell)

    def window(k: int, out: NDArray[np.floating]) -> None:
        k = min(k, line.gap)
        whole = 2 * k + 1
        sums, means = np.empty((CHUNK, columns), dtype=np.int64), np.empty((CHUNK, columns))
        for start, stop, low, high in chunks:
            part, mean = sums[: stop - start], means[: stop - start]
            upper = slice(low + k + 1, high + k + 1) if high else line.cell[start:stop] + (k + 1)
            lower = slice(low - k, high - k) if high else line.cell[start:stop] - k
            np.subtract(total[upper], total[lower], out=part)
            np.multiply(part, 1 / (whole * scale), out=mean)
            there = count[upper] - count[lower]
            cut = np.flatnonzero(there != whole)
            mean[cut] *= (whole / np.maximum(there[cut], 1))[:, None]
            out[start:stop] = mean

    return window


def _chunks(cell: NDArray[np.int64]) -> list[tuple[int, int, int, int]]:
    """Split rows into runs: start, stop, and their first cell and its end where cells follow one another, else 0, 0.

    A list with few holes is nearly all slices; in one that skips frames, cells are looked up row by row.
    """
    breaks = np.flatnonzero(np.diff(cell) != 1) + 1
    if len(breaks) > len(cell) // 64:
        return [(start, min(start + CHUNK, len(cell)), 0, 0) for start in range(0, len(cell), CHUNK)]
    edges = [0, *breaks.tolist(), len(cell)]
    chunks = []
    for begin, end in pairwise(edges):
        for start in range(begin, end, CHUNK):
            stop = min(start + CHUNK, end)
            chunks.append((start, stop, int(cell[start]), int(cell[start]) + stop - start))
    return chunks


def _median(series: Series) -> Window:
    """Take medians of sorted windows, a few rows at a time; of an even number, the mean of the middle two."""
    line = series.line
    values = np.where(series.present[:, None], series.values, np.nan).astype(np.float64)

    def window(k: int, out: NDArray[np.floating]) -> None:
        k = min(k, line.gap)
        windows = sliding_window_view(values, 2 * k + 1, axis=0)  # row c is around cell c + k
        rows = max(1, 4_000_000 // ((2 * k + 1) * values.shape[1]))
        for start in range(0, len(line.cell), rows):
            ranked = np.sort(windows[line.cell[start : start + rows] - k], axis=-1)  # NaN last
            count = np.maximum((~np.isnan(ranked)).sum(axis=-1, keepdims=True), 1)
            middle = [np.take_along_axis(ranked, index, axis=-1) for index in ((count - 1) // 2, count // 2)]
            out[start : start + rows] = (middle[0] + middle[1])[..., 0] / 2

    return window


def _gaussian(series: Series) -> Window:
    """Average windows with Gaussian weights by the Fourier transform, whose cost does not depend on k."""
    line = series.line
    size = 1 << (len(line) - 1).bit_length()
    stacked = np.concatenate([series.values.T, series.present[None]]).astype(np.float64)
    spectrum = np.fft.rfft(stacked, n=size)

    def window(k: int, out: NDArray[np.floating]) -> None:
        sigma = k / 2 if series.sigma is None else series.sigma
        distance = np.arange(min(k, line.gap) + 1)
        weights = np.exp(-0.5 * (distance / sigma) ** 2)
        kernel = np.zeros(size)
        kernel[distance] = kernel[-distance] = weights
        sums = np.fft.irfft(spectrum * np.fft.rfft(kernel), n=size)[:, line.cell]
        # a row that is not null has at least its own weight, which is 1; rounding stays inside the range
        means = sums[:-1] / np.where(sums[-1] > 0.5, sums[-1], 1)
        out[:] = means.clip(series.values.min(), series.values.max()).T

    return window


WINDOWS: Final[Mapping[str, Callable[[Series], Window]]] = {"box": _box, "median": _median, "gaussian": _gaussian}
"""The kinds of smoothing."""
