"""Write the table of somebody's video as events and continuous signals of the Brain Imaging Data Structure.

The rules are those of https://bids-specification.readthedocs.io (events; physiological and other continuous
recordings): tab-separated, ``n/a`` where there is no value; events begin with onset and duration in s; signals are
compressed, have no header and one sampling frequency, and a JSON file beside them says which columns they have.
"""

from __future__ import annotations

import gzip
import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from evaluators.episodes import check_times, episodes, frame_ends, frame_times
from evaluators.found import Found
from evaluators.postprocess.thresholds import Thresholds, resolve_thresholds
from evaluators.table import Table, column_names

Array = NDArray[np.float64]

STEADY: Final = 0.1
"""Times that differ by at most this part of a frame from those of a constant rate are of one: containers round."""

_EVENTS: Final = {
    "trial_type": {"Description": "action unit (FACS number) that is present, or likeliest expression"},
    "face_id": {"Description": "person within the video"},
    "probability": {"Description": "mean probability over the frames of the event"},
}


def bids_files(
    table: Table, found: Found, name: str, *, thresholds: Thresholds = 0.5, shortest: float = 0.2
) -> dict[str, bytes]:
    """Return the BIDS files of a video by name: one of events, and the signals of each person, each with its JSON.

    Args:
        table: predictions of one video.
        found: times, boxes and people of its rows.
        name: of the video; a BIDS name (``sub-01_task-rest_video``) keeps its entities, of another one letters and
            digits become the subject's label.
        thresholds: of the action units; a unit is present from its threshold on.
        shortest: events that are shorter, s, are left out.

    Raises:
        UserError: the table is of several videos, or has no times.
    """
    check_times(table, found, "bids")
    prefix = entities(name)
    lines = ["onset\tduration\t" + "\t".join(_EVENTS)]
    for one in sorted(episodes(table, found, thresholds=thresholds, shortest=shortest), key=lambda one: one.begin):
        values = (_decimal(one.begin), _decimal(one.end - one.begin), one.name, str(one.face_id), _decimal(one.mean))
        lines.append("\t".join(values))
    limits = sorted(set(resolve_thresholds(thresholds)))
    files = {
        f"{prefix}_events.tsv": _text(lines),
        f"{prefix}_events.json": _json({**_EVENTS, "AUThresholds": limits, "ShortestEvent": shortest}),
    }
    for person in sorted(set(found.face_id[found.face_id > 0].tolist())):
        columns, signals, about = signals_of(table, found, person)
        rows = ("\t".join(_decimal(value) for value in row) for row in signals.tolist())
        stem = f"{prefix}_recording-face{person}_physio"
        files[f"{stem}.tsv.gz"] = gzip.compress(_text(rows), mtime=0)
        files[f"{stem}.json"] = _json({**about, "Columns": columns})
    return files


def entities(name: str) -> str:
    """Return the BIDS entities that files of a video are named with, without a suffix."""
    label, others = "[A-Za-z0-9]+", "(?:_[a-z]+-[A-Za-z0-9]+)*"
    parts = re.fullmatch(f"(sub-{label}{others}_task-{label}{others})(?:_{label})?", name)
    plain = unicodedata.normalize("NFKD", name)  # ü is a u with a mark
    return parts[1] if parts else f"sub-{re.sub('[^A-Za-z0-9]', '', plain) or 'unnamed'}_task-video"


def signals_of(table: Table, found: Found, person: int) -> tuple[list[str], Array, dict[str, Any]]:
    """Return what is said of one person at a constant rate, from the video's first frame to its last.

    A video of a constant rate gives its frames as they are, with a hole where one is lost. Another one is resampled to
    its mean rate: between two consecutive frames of the person on the line between their values, beside a single one
    with its value while it is shown.

    Args:
        table: predictions of one video.
        found: times, boxes and people of its rows.
        person: face_id.

    Returns:
        names of the columns; (T, columns), NaN where the person is not seen; ``SamplingFrequency`` in Hz,
        ``StartTime`` in s, and in ``Resampling`` what was done.
    """
    frames, times = frame_times(table, found)
    names = [name for task in table.tasks for name in column_names(task, table.expressions)]
    values = np.full((len(frames), len(names)), np.nan)
    rows = np.flatnonzero(found.face_id == person)
    said = np.concatenate([table.predictions[task][rows] for task in table.tasks], axis=1)
    values[np.searchsorted(frames, table.frame[rows])] = said
    span = frames[-1] - frames[0]
    rate = float(span / (times[-1] - times[0])) if span else 1.0
    about: dict[str, Any] = {"SamplingFrequency": round(rate, 6), "StartTime": round(float(times[0]), 6)}
    places = (times - times[0]) * rate
    if np.abs(places - (frames - frames[0])).max() <= STEADY:
        signals = np.full((span + 1, len(names)), np.nan)
        signals[frames - frames[0]] = values
        return names, signals, {**about, "Resampling": "none: the frames of a constant rate"}
    grid = times[0] + np.arange(round(places[-1]) + 1) / rate
    told = f"linear, from {len(frames)} frames of a variable rate to its mean"
    return names, _resampled(grid, frames, times, values), {**about, "Resampling": told}


def _resampled(grid: Array, frames: NDArray[np.int64], times: Array, values: Array) -> Array:
    """Return (T, C) values at the (T,) times of a grid, from those of (F,) frames; see ``signals_of``."""
    before = (np.searchsorted(times, grid + 1e-9, side="right") - 1).clip(0, len(times) - 1)
    after = (before + 1).clip(max=len(times) - 1)
    length = np.where(after > before, times[after] - times[before], 1.0)
    share = ((grid - times[before]) / length).clip(0, 1)[:, None]
    line = (1 - share) * values[before] + share * values[after]
    consecutive = (frames[after] - frames[before] == 1)[:, None] & ~np.isnan(line)
    shown = (grid < frame_ends(frames, times)[before] + 1e-9)[:, None]
    return np.where(consecutive, line, np.where(shown, values[before], np.nan))


def _decimal(value: float) -> str:
    """Write a number with six decimals at most; NaN as n/a."""
    return "n/a" if np.isnan(value) else f"{value:.6f}".rstrip("0").rstrip(".")


def _text(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2) + "\n").encode()
