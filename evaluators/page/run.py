"""The page of a run, ``report.html``: its scores, what they mean, and what they are made of."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Final

from affect.files import write_whole
from affect.frames import Frames
from evaluators import figures
from evaluators.faces import Pictures
from evaluators.intervals import Estimate
from evaluators.names import MAIN, Scores
from evaluators.page.faces import faces_card
from evaluators.page.markup import card, fact_line, figure, note, page, scrolled, table
from evaluators.page.published import published_for
from evaluators.page.tasks import task_cards
from evaluators.page.videos import SCRIPT, video_card, video_data
from evaluators.report import NO_LABELS, duration, read_records, score_text
from evaluators.table import Table

FILE: Final = "report.html"
"""Name of the page in a run folder."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What the scores of a page are of.

    Attributes:
        table: the predictions.
        frames: their frames and labels.
        au_thresholds: twelve numbers, from which a unit counts as predicted.
        pictures: reads the images; None: the page has no faces.
        figures: further figures by their titles, each as SVGs that stand side by side.
        facts: what else stands in the first lines of the page.
        intervals: of the main scores.
    """

    table: Table
    frames: Frames
    au_thresholds: Sequence[float]
    pictures: Pictures | None = None
    figures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    facts: Sequence[str] = ()
    intervals: Estimate | None = None


def write_report(
    run_dir: str | Path,
    scores: Scores,
    scored: Scored | None = None,
    *,
    references: Mapping[str, Scores] | None = None,
    remark: str = "",
) -> Path:
    """Write ``report.html`` of a run: one file without external assets.

    It shows scores, training curves (metrics.jsonl) and the configuration (config.yaml); with ``scored`` also faces,
    videos over time, what was published on the same data, and figures of each task. What the folder lacks, and tasks
    without labels, are left out.

    Args:
        run_dir: the run folder.
        scores: of the run.
        scored: what they are of.
        references: scores to show beside the model's, by name; the first is marked in the bars.
        remark: a sentence to show above the scores.

    Returns:
        Path of the page.

    Raises:
        FileNotFoundError: no such run folder.
        ValueError: a broken line of metrics.jsonl other than the last.
    """
    run = Path(run_dir)
    if not run.is_dir():
        raise FileNotFoundError(f"{run}: no such run folder")
    named, records = dict(references or {}), read_records(run / "metrics.jsonl")
    reference_name, reference = next(iter(named.items()), ("", None))
    bars = figure("F1 per class", figures.f1_bars(scores, reference, reference_name))
    training = figure("Training", figures.training_curves(records))
    columns, videos, parts = _columns(scores, named, scored), None, [bars, training]
    if scored is not None:
        videos = video_data(scored.table, scored.frames)
        parts = [
            _published_card(scores, scored),
            faces_card(scored.table, scored.frames, scored.pictures, scored.au_thresholds) if scored.pictures else "",
            video_card(videos),
            bars,
            *task_cards(scored.table, scored.frames, scored.au_thresholds, scores),
            *(figure(title, panels) for title, panels in scored.figures.items()),
            training,
        ]
    parts += [_score_card(columns), meaning_card([*scores, *named]), _config_card(run / "config.yaml")]
    above = [fact_line(_of_table(scored) if scored is not None else []), fact_line(_of_time(records, scored))]
    above += [f"<p class=remark>{escape(remark)}</p>"] if remark else []
    text = page(
        _name(run),
        parts,
        above="\n".join([*above, _tiles(columns)]),
        script=SCRIPT.read_text(encoding="utf-8") if videos else "",
        data=videos,
    )
    write_whole(run / FILE, text)
    return run / FILE


def _columns(scores: Scores, references: Mapping[str, Scores], scored: Scored | None) -> dict[str, dict[str, str]]:
    """Return what stands about each score, as text by the title of a column and the score's name; the model's first.

    What is told of a score beside its value is a column: the tiles and the table of all scores show whatever is here.
    """
    columns = {"model": {name: score_text(value) for name, value in scores.items()}}
    if scored is not None and scored.intervals is not None and scored.intervals.units > 1:
        pairs = scored.intervals.intervals.items()
        columns["95 % interval"] = {name: f"{one.low:.3f} to {one.high:.3f}" for name, one in pairs}
    for title, values in references.items():
        columns[title] = {name: score_text(value) for name, value in values.items() if name in scores}
    return columns


def _tiles(columns: Mapping[str, Mapping[str, str]]) -> str:
    model, *others = columns
    tiles = []
    for name in (name for name in MAIN if name in columns[model]):
        beside = "".join(
            f"<small>{escape(title)} {columns[title][name]}</small>"
            for title in others
            if columns[title].get(name, NO_LABELS) != NO_LABELS
        )
        tiles.append(f"<div class=tile><span>{name}</span><b>{columns[model][name]}</b>{beside}</div>")
    return f"<div class=tiles>{''.join(tiles)}</div>" if tiles else "<p>No scores yet.</p>"


def _score_card(columns: Mapping[str, Mapping[str, str]]) -> str:
    model, *_ = columns
    groups: list[list[list[str]]] = []
    for name in columns[model]:
        if not groups or name in ("P_EXPR", "P_LSD", "P_AU"):  # one table per task, side by side
            groups.append([])
        groups[-1].append([name, *(column.get(name, "") for column in columns.values())])
    made = [table(["", *columns], rows, "scores") for rows in groups]
    return card("All scores", f"<div class=tables>{''.join(made)}</div>" if made else "")


def _published_card(scores: Scores, scored: Scored) -> str:
    """Return the card of what was published on the same data, with the run in the first row."""
    known = published_for(scored.table, scored.frames)
    if known is None:
        return ""

    def percent(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    own = [None if (value := scores.get(name)) is None else 100 * value for name in known.scores]
    rows = [(name, *map(percent, values)) for name, values in (("this run", own), *known.systems)]
    told = (
        f"Per cent, {known.data}. Source: {known.source}, copied from there and not run here. The list was recognised "
        "by how many of its rows have labels."
    )
    return card("Beside what was published", note(told) + table(["", *known.scores], rows, "published scores"))


def meaning_card(names: Sequence[str]) -> str:
    """Return what scores and references of these names mean."""
    said = [
        f"<dt>{escape(title)}</dt><dd>{escape(meaning)}</dd>"
        for title, (of, meaning) in _MEANINGS.items()
        if any(name.startswith(of) for name in names)
    ]
    return card("What the scores mean", f"<dl>{''.join(said)}</dl>" if said else "")


def _config_card(path: Path) -> str:
    if not path.is_file():
        return ""
    content = escape(path.read_text(encoding="utf-8"))
    shown = f"<details><summary>config.yaml</summary>{scrolled(f'<pre>{content}</pre>', 'config.yaml')}</details>"
    return card("Configuration", shown)


def _of_table(scored: Scored) -> list[str]:
    """Return what the predictions are of, and what made them."""
    table_ = scored.table
    facts = [f"{len(table_):,} frames of {len(set(table_.video)):,} videos"]
    facts += [f"{nulls:,} without a readable image"] if (nulls := int(table_.null.sum())) else []
    return facts + [
        f"{name.replace('_', ' ')} {str(value)[:12] if 'sha256' in name else value}"
        for name, value in table_.metadata.items()
        if isinstance(value, str | int | float) and name != "schema_version"
    ]


def _of_time(records: Sequence[Mapping[str, Any]], scored: Scored | None) -> list[str]:
    """Return how long the training has taken, as it was logged, and what else is known of the time."""
    seconds = [record["train/epoch_s"] for record in records if "train/epoch_s" in record]
    speeds = [record["train/images_per_s"] for record in records if "train/images_per_s" in record]
    facts = [f"trained for {duration(sum(seconds))} in {len(seconds)} epochs, validation included"] if seconds else []
    facts += [f"{statistics.median(speeds):,.0f} images/s in training"] if speeds else []
    return [*facts, *(scored.facts if scored is not None else ())]


def _name(run: Path) -> str:
    return "/".join(run.resolve().parts[-2:])


_MEANINGS: Final[Mapping[str, tuple[str, str]]] = {
    "P_MTL": ("P_MTL", "P_VA + P_EXPR + P_AU, between about 0 and 3: the score of ABAW's multi-task challenge."),
    "P_VA, CCC": (
        "P_VA",
        "Concordance of predictions and labels, the mean of valence and arousal: 1 where each prediction is its label, "
        "0 where predictions do not vary or have nothing to do with the labels. Unlike a correlation, it falls where "
        "they are shifted, or vary too little or too much. Over all frames of all videos at once.",
    ),
    "P_EXPR": ("P_EXPR", "Mean F1 of the expressions, all of which weigh alike; an absent one counts 0."),
    "P_LSD": ("P_LSD", "Mean F1 of the six expressions, all of which weigh alike; an absent one counts 0."),
    "P_AU": ("P_AU", "Mean F1 of the twelve action units; a unit is predicted from its threshold on."),
    "F1": (
        "F1_",
        "2 hits / (labelled + predicted): what is named although it is not there and what is missed count alike. A "
        "rare class has a low F1 by chance, and an uncertain one: see its support.",
    ),
    "ACC": (
        "ACC_",
        "Share of right answers, which the frequent classes decide; MACRO_ACC is the mean over the classes.",
    ),
    "chance": (
        "chance",
        "The most that can be expected of who knows how frequent the labels are and never looks at a face.",
    ),
    "majority": ("majority", "The scores of the most frequent answer, always given."),
    "with an image": ("with an image", "Over the rows that have an image, without those that were filled in time."),
}
"""What each score or reference means: by its title, how names begin that it is of, and the words."""
