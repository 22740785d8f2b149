"""How much decisions flatter that are fitted on the labels they are scored on, and whether cross-fitting tells it.

    python -m benchmarks.studies.optimism FOLDER [--draws 200] [--seed 0]

There are no pictures and no network: the renderer's episodes and annotators (``rendering``) give the labels of drawn
videos, and ``drawn`` their logits: those of the oracle, which knows what was rendered, with errors of the video, of a
stretch of frames and of the frame, drawn towards how often a label is said.

In each draw, biases and thresholds are searched on ``LIST`` videos that no other draw has, in both ways that there are.
A gain is a score with decisions less that of the same videos without any. ``self-fitted``: of the rule searched on all
30, on these; ``cross-fitted``: of the five rules of five folds, each on its fold; ``fresh``: the mean of these five on
``FRESH`` videos that they have not seen. Beside them stand others on the same fresh videos: of the one rule; of the
five, each of which decides a fifth of the videos, as in cross-fitting; and the same in lists of ``LIST`` videos, for F1
of a short list is another than that of a long one.

Prints the gains and two differences with intervals over the draws. ``FOLDER/optimism.json`` keeps the gains of each
draw; the same command goes on where it was stopped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter  # type: ignore[import-untyped]

from affect.errors import ConfigError
from affect.files import write_whole
from affect.frames import Frames
from affect.labels import EXPRESSIONS
from benchmarks.studies.running import study_parser
from evaluators.intervals import estimate
from evaluators.postprocess.blending import from_logits, to_logits
from evaluators.postprocess.chain import Processed, process
from evaluators.postprocess.crossing import decided_by, rules_of_folds
from evaluators.postprocess.options import PostProcess
from evaluators.report import aligned
from evaluators.sums import Sums, means, sums
from evaluators.table import Table, table_of_rows
from rendering import video
from rendering.affect import action_unit_probabilities, annotate, expression_probabilities
from runs.ending import clear_errors

Floats = NDArray[np.float64]

LIST: Final = 30
"""Videos that a rule is fitted on."""
FRESH: Final = 500
FOLDS: Final = 5
LENGTH, STEP = 60, 2
"""Mean number of frames of a video, which has half to one and a half times as many; every second is listed, with all
labels."""

LEAST: Final = 0.01
"""The oracle's probabilities end here, and at 1 less it."""
OF_VIDEO, OF_STRETCH, OF_FRAME = 2.0, 1.5, 1.0
"""Standard deviations of the errors of an expression's logit."""
LARGER: Final = {"expression": 1.0, "action_units": 1.7}
"""How much larger they are, by task."""
EVIDENCE: Final = {"expression": 0.6, "action_units": 0.45}
"""What is left of the logits: with errors of this size, probabilities then come true about as often as said."""
STRETCH: Final = 20.0
"""Frames over which an error lasts."""

SEARCHES: Final[Mapping[str, Mapping[str, Any]]] = {
    "exact": {"expression_biases": "search", "au_thresholds": "exact"},
    "grid": {"expression_biases": "grid", "au_thresholds": "grid"},
}
SCORES: Final = ("P_EXPR", "P_AU")
GAINS: Final = ("self-fitted", "cross-fitted", "fresh", "of the one rule", "a fifth each", "in lists of 30")
_KEPT: Final = 10  # draws after which the file is written

Gains = dict[str, dict[str, list[float]]]
"""By search and score: the gains of one draw, in the order of ``GAINS``."""


def drawn(seed: int, videos: int) -> tuple[Table, Frames, NDArray[np.int64]]:
    """Draw labels of videos and a table of predictions; (N,) says which video a row is of."""
    length = np.random.default_rng(seed).uniform(0.5, 1.5, videos)
    parts = []
    for index in range(videos):
        listed = np.arange(1, max(round(LENGTH * length[index]), 1) + 1, STEP)
        sides, shown = video.episodes(seed, video.UNI_TRAIN, index, listed)
        rng = video.generator(seed, video.UNI_TRAIN, index, video.ANNOTATORS)
        units = sides.max(axis=1)
        said = annotate(rng, units, shown, listed)
        parts.append((listed, *said, expression_probabilities(shown), action_unit_probabilities(units)))
    number, affect, expression, present, likely, seen = (np.concatenate(column) for column in zip(*parts, strict=True))
    of_video = np.repeat(np.arange(videos, dtype=np.int64), [len(part[0]) for part in parts])
    frames = Frames(
        [f"video{index:05d}" for index in of_video], number, [""] * len(number), affect.astype(np.float32), expression,
        present.astype(np.float32), {},
    )  # fmt: skip
    rng = np.random.default_rng((seed, 1))
    oracle = {"expression": likely, "action_units": seen}
    logits = {task: to_logits(np.clip(values, LEAST, 1 - LEAST), task) for task, values in oracle.items()}
    predictions = {}
    for task, values in logits.items():
        usual = to_logits(oracle[task].mean(axis=0), task)
        seen_so = values - values.mean(axis=1, keepdims=True) if task == "expression" else values
        errors = LARGER[task] * _errors(rng, values.shape, of_video)
        said_so = from_logits(usual + EVIDENCE[task] * (seen_so + errors), task)
        predictions[task] = said_so.astype(np.float32)
    table = table_of_rows(frames, np.arange(len(number)), predictions, {}, "drawn logits", EXPRESSIONS)
    return table, frames, of_video


def _errors(rng: np.random.Generator, shape: tuple[int, ...], of_video: NDArray[np.int64]) -> Floats:
    """Draw errors (N, C): of the video, of a stretch of frames, and of the frame."""
    keep = np.exp(-STEP / STRETCH)
    steps = np.sqrt(1 - keep**2) * rng.normal(size=shape)
    slow: Floats = lfilter([1.0], [1.0, -keep], steps, axis=0)  # over the ends of videos, which are drawn apart later
    lasting: Floats = rng.normal(size=(int(of_video[-1]) + 1, shape[1]))[of_video]
    return OF_STRETCH * slow + OF_VIDEO * lasting + OF_FRAME * rng.normal(size=shape)


class Draws:
    """Lists of ``LIST`` videos, no two of which share one, and the gains of what is fitted on them.

    Args:
        seed: of the videos and the draws.
        draws: how many lists there are.
        fresh: videos that each list's rules are tried on.
    """

    def __init__(self, seed: int, draws: int, fresh: int = FRESH) -> None:
        self.seed, self.fresh = seed, fresh
        videos = max(draws * LIST, LIST + fresh)
        self.table, self.frames, of_video = drawn(seed, videos)
        self.starts = np.searchsorted(of_video, np.arange(videos + 1))
        self.order = np.random.default_rng((seed, 2)).permutation(videos)

    def gains(self, number: int) -> Gains:
        """Fit on one list, and return its gains."""
        held = self.order[number * LIST : (number + 1) * LIST]
        others = np.setdiff1d(self.order, held)
        chosen = np.random.default_rng((self.seed, 3, number)).permutation(others)[: self.fresh]
        (table, frames), (fresh, labels) = self.only(held), self.only(chosen)
        before, on_fresh = sums(table, frames).only(SCORES).scores()[0], sums(fresh, labels).only(SCORES)
        unfitted, in_lists = on_fresh.scores()[0], lists(len(on_fresh))
        found: Gains = {}
        for name, keys in SEARCHES.items():
            settings = PostProcess(**keys, cross_fit=FOLDS)
            done = process([table], frames, settings)
            fold = settings.folds_of(frames)
            rules = rules_of_folds([table], frames, settings, fold)
            crossed = decided_by(rules, done, [table], frames, fold)
            one = PostProcess(expression_biases=done.biases, au_thresholds=done.au_thresholds)
            *five, alone = (summed(process([fresh], labels, rule), labels) for rule in (*rules, one))
            each = a_part_each(five)
            columns = (
                summed(done, frames).scores()[0] - before,
                summed(crossed, frames).scores()[0] - before,
                np.mean([of_rule.scores()[0] for of_rule in five], axis=0) - unfitted,
                alone.scores()[0] - unfitted,
                each.scores()[0] - unfitted,
                (each.scores(in_lists) - on_fresh.scores(in_lists)).mean(axis=0),
            )
            of_scores = np.stack(columns, axis=1)
            found[name] = {score: of_scores[index].tolist() for index, score in enumerate(SCORES)}
        return found

    def only(self, videos: NDArray[np.int64]) -> tuple[Table, Frames]:
        """Return predictions and labels of some videos."""
        rows = np.concatenate([np.arange(self.starts[one], self.starts[one + 1]) for one in np.sort(videos)])
        frames = self.frames.select(rows)
        said = {task: values[rows] for task, values in self.table.predictions.items()}
        return table_of_rows(frames, np.arange(len(rows)), said, {}, "drawn logits", EXPRESSIONS), frames


def summed(done: Processed, frames: Frames) -> Sums:
    """Return the sums of what was decided."""
    return sums(done.table, frames, au_thresholds=done.au_thresholds).only(SCORES)


def a_part_each(of_rules: Sequence[Sums]) -> Sums:
    """Return the sums of videos that take turns in whose rule decides them."""
    turn = np.arange(len(of_rules[0])) % len(of_rules)
    top, bottom = (
        np.choose(turn[:, None], [getattr(one, name) for one in of_rules]) for name in ("top", "bottom")
    )  # fmt: skip
    return replace(of_rules[0], top=top, bottom=bottom)


def lists(videos: int) -> Floats:
    """Return the weights of videos in lists of ``LIST``, (lists, videos); the rest is in none."""
    weights: Floats = (np.arange(videos) // LIST == np.arange(videos // LIST)[:, None]).astype(np.float64)
    return weights


def study(folder: Path, seed: int, draws: int, fresh: int = FRESH) -> list[Gains]:
    """Make the draws that are missing in the folder's file, and return all.

    Raises:
        ConfigError: the file is of other settings, or damaged.
    """
    path, made = folder / "optimism.json", {"seed": seed, "draws": draws, "fresh": fresh}
    gains: list[Gains] = []
    if path.is_file():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            same, gains = kept["made"] == made, list(kept["gains"])
        except (ValueError, LookupError, TypeError) as error:
            raise ConfigError([f"{path} is damaged: remove it, or give another folder"]) from error
        if not same:
            raise ConfigError([f"{path} is of {kept['made']}, not of {made}: give another folder, or remove it"])
    folder.mkdir(parents=True, exist_ok=True)
    of = Draws(seed, draws, fresh) if len(gains) < draws else None
    while of is not None and len(gains) < draws:
        gains.append(of.gains(len(gains)))
        if len(gains) % _KEPT == 0 or len(gains) == draws:
            write_whole(path, json.dumps({"made": made, "gains": gains}) + "\n")
    return gains


def lines(gains: Sequence[Gains]) -> Iterator[list[str]]:
    """Write a line for each search and score: the gains, what self-fitting flatters by, and cross-fitting is off by."""
    yield ["", *GAINS, "self-fitted - fresh", "cross-fitted - fresh", "of that"]
    names, draws = ("flatters", "off"), [str(number) for number in range(len(gains))]
    for search in SEARCHES:
        for score in SCORES:
            values = np.array([one[search][score] for one in gains])
            apart = values[:, :2] - values[:, 2:3]
            found = estimate([means(dict(zip(names, apart.T, strict=True)), draws)]).intervals
            flatters, off = (found[name] for name in names)
            cells = [f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]" for one in (flatters, off)]
            share = abs(off.value) / flatters.value
            yield [f"{score}, {search}", *(f"{mean:+.4f}" for mean in values.mean(axis=0)), *cells, f"{share:.2f}"]


def main() -> None:
    """Read the command line, make the draws and print the table."""
    parser = study_parser(__doc__)
    parser.add_argument("--draws", type=int, default=200, help="lists of videos")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.draws < 2 or options.seed < 0:
        parser.error("--draws must be 2 or more, --seed 0 or more")
    print(aligned(list(lines(study(options.folder.absolute(), options.seed, options.draws)))))


if __name__ == "__main__":
    with clear_errors():
        main()
