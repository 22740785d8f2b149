"""Smoothing, searches and scores at the size of the ABAW5 validation sets, against loops and scikit-learn.

    python -m benchmarks.postprocessing [--rounds 5] [--rows 1.0] [--only biases] [--json FILE]

Tables are random, of as many frames and videos as the validation sets have (valence/arousal 376,323 in 76, expressions
280,532 in 70, action units 445,836 in 105). The two ways take turns, on one thread, and medians over the rounds are
reported. Ours begins with a prediction table and ends with one, the laying out in time counted once for the seven
half-widths; the plain way (benchmarks/reference/) begins with arrays by video.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from affect.frames import Frames, IntArray
from affect.labels import EXPRESSIONS
from benchmarks.machine import benchmark_parser, machine, print_machine, take_turns, write_figures
from benchmarks.reference import postprocessing as plain
from evaluators.postprocess.biases import macro_f1, search_biases
from evaluators.postprocess.smoothing import smooth_many
from evaluators.postprocess.thresholds import search_thresholds
from evaluators.predictions import score_table
from evaluators.table import Table

HALF_WIDTHS: Final = (1, 5, 10, 25, 50, 100, 200)

SIZES: Final = {"valence_arousal": (376_323, 76), "expression": (280_532, 70), "action_units": (445_836, 105)}
"""Frames and videos of the validation sets, as the notebook of the EmotiEffNet paper prints them."""


class Ways(NamedTuple):
    """Ours and the plain way to the same result."""

    ours: Callable[[], Any]
    plain: Callable[[], Any]


def make(task: str, share: float = 1.0) -> tuple[Table, Frames]:
    """Return a table of one task without holes, and labels that it agrees with to some degree.

    Args:
        task: which.
        share: of the frames of the validation set.
    """
    frames, videos = SIZES[task]
    rows = max(int(frames * share), videos)
    random = np.random.default_rng(0)
    video = np.sort(np.append(np.arange(videos), random.integers(videos, size=rows - videos)))
    frame = np.arange(rows) - np.searchsorted(video, video) + 1
    names = [f"video{number}" for number in video.tolist()]
    affect = random.uniform(-1, 1, (rows, 2)).astype(np.float32)
    expression = random.integers(len(EXPRESSIONS), size=rows)
    units = (random.random((rows, 12)) < np.linspace(0.03, 0.6, 12)).astype(np.float32)
    logits = random.standard_normal((rows, 8)) + 1.5 * np.eye(8)[expression]
    predictions = {
        "valence_arousal": (0.5 * affect + 0.3 * random.standard_normal((rows, 2))).clip(-1, 1),
        "expression": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        "action_units": 1 / (1 + np.exp(-random.standard_normal((rows, 12)) - 2 * (units - 0.5))),
    }
    labelled = Frames(names, frame, names, affect, expression, units, {})
    table = Table(names, frame, names, {task: predictions[task].astype(np.float32)}, EXPRESSIONS, {}, task)
    return table, labelled


def cases(share: float) -> dict[str, Ways]:
    """Return by name what is measured: ours, and the plain way.

    Args:
        share: of the frames of the validation sets.
    """
    made: dict[str, Ways] = {}
    for task in SIZES:
        table, labels = make(task, share)
        size = f"{len(table)} x {table.predictions[task].shape[1]}"
        made[f"smoothing, {size}, {len(HALF_WIDTHS)} half-widths"] = _smoothing(table, labels, task)
        made[f"scores of {task}, {size}"] = _scores(table, labels, task)
        if task == "expression":
            made[f"biases, {size}"] = _biases(table.predictions[task], labels.expression)
    values, truth = table.predictions["action_units"], labels.action_units
    made[f"thresholds, {size}"] = Ways(
        lambda: search_thresholds("exact", values, truth)[1].tolist(), lambda: plain.thresholds(values, truth)[1]
    )
    return made


def _smoothing(table: Table, labels: Frames, task: str) -> Ways:
    starts = np.flatnonzero(np.append(True, np.diff(labels.frame) != 1))
    videos = np.split(table.predictions[task].astype(np.float64), starts[1:])
    return Ways(
        lambda: [one.predictions[task] for one in smooth_many(table, HALF_WIDTHS)],
        lambda: [np.concatenate(plain.smooth(videos, k)) for k in HALF_WIDTHS],
    )


def _biases(probabilities: NDArray[np.float32], truth: IntArray) -> Ways:
    return Ways(
        lambda: [macro_f1(np.log(probabilities) + search_biases("search", probabilities, truth), truth)],
        lambda: [plain.biases(probabilities, truth)[1]],
    )


def _scores(table: Table, labels: Frames, task: str) -> Ways:
    score: Any = {
        "valence_arousal": plain.valence_arousal_score,
        "expression": plain.expression_score,
        "action_units": plain.action_unit_score,
    }[task]
    return Ways(
        lambda: [score_table(table, labels)["SCORE"]], lambda: [score(table.predictions[task], getattr(labels, task))]
    )


def agree(name: str, ours: Any, theirs: Any) -> bool:
    """Tell whether both ways give the same: thresholds and biases, at least as good an F1."""
    if name.startswith(("thresholds", "biases")):
        return all(a >= b for a, b in zip(ours, theirs, strict=True))
    tolerance = 1e-7 if name.startswith("smoothing") else 1e-9  # tables are float32
    return all(np.allclose(a, b, rtol=0, atol=tolerance) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Measure, print a table, and write JSON where asked to."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--rows", type=float, default=1.0, help="share of the frames of the validation sets")
    parser.add_argument("--only", default="", help="measure what begins with this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts = machine()
    print_machine(facts)
    print(f"{'':<48}{'ours, s':>10}{'plain, s':>10}{'ratio':>8}")
    figures: dict[str, Any] = {}
    for name, (ours, theirs) in cases(options.rows).items():
        if not name.startswith(options.only):
            continue
        same = agree(name, ours(), theirs())
        ways = {"ours": lambda _, way=ours: way(), "reference": lambda _, way=theirs: way()}
        seconds = take_turns(ways, options.rounds)
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        ratio = medians["reference"] / medians["ours"]
        figures[name] = {"seconds": medians, "ratio": ratio, "rounds": seconds, "agree": same}
        print(
            f"{name:<48}{medians['ours']:>10.4f}{medians['reference']:>10.3f}{ratio:>8.1f}{'' if same else '  DIFFER'}"
        )
    settings = {"rounds": options.rounds, "rows": options.rows, "threads": 1}
    write_figures(options.json, {"figures": figures, "settings": settings, "machine": facts})


if __name__ == "__main__":
    main()
