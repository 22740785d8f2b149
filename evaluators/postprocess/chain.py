"""Process tables into the one that is scored, in one order: blend and gate, fill, smooth, temperature, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.frames import Frames
from affect.labels import AU_NAMES, LSD_EXPRESSIONS, TASKS
from evaluators.postprocess.blending import SPACES, Weights, blend, resolve_weights, search_weights
from evaluators.postprocess.coverage import Coverage, check_coverage, check_fit, fit_coverage, rule_of, with_bounds
from evaluators.postprocess.exponential import MAX_GAP, Alphas, alphas, smooth_exponentially
from evaluators.postprocess.filling import FILLS, fill_nulls
from evaluators.postprocess.gating import CONFIDENCE, check_gate_count, expression_of, take_confident
from evaluators.postprocess.people import by_person
from evaluators.postprocess.settings import SEARCHED, one_of, searched_on, write_stored
from evaluators.postprocess.smoothing import PUBLISHED_K, WINDOWS, HalfWidths, half_widths, smooth
from evaluators.postprocess.temperature import (
    Temperatures,
    check_search,
    resolve_temperatures,
    search_temperatures,
    temperatures_of,
    with_temperatures,
)
from evaluators.postprocess.thresholds import SEARCHES, Thresholds, resolve_thresholds, search_thresholds
from evaluators.postprocess.timeline import check_videos
from evaluators.postprocess.unseen import (
    LabelMeans,
    check_fallback,
    resolve_fallback,
    unknown_means,
    with_fallback,
)
from evaluators.table import Table, check_same_list

SEARCH: Final = "search"
"""The word that asks for a search of the weights."""

EXPONENTIAL: Final = "exponential"
"""The kind of smoothing that has no window."""


@dataclass(frozen=True)
class PostProcess:
    """How predictions are processed; the defaults change nothing.

    Attributes:
        weights: weights of the tables: None (equal), one per table, lists by task, ``search``, or a stored file.
        blend: what is averaged: ``probabilities``, ``logits`` or ``raw`` (``blending.blend``).
        gate: None, or the rule ``other``, ``other_seven`` or ``confidence`` (``gating``).
        confidence: probability above which the gate of this name takes the second table's expression.
        missing: how missing frames are filled: None (not at all), ``linear`` or ``reversed`` (``filling.fill_nulls``).
        fallback: values by task for a video without any prediction (``unseen.resolve_fallback``); None: the means of
            the training labels.
        smoothing: None, ``box``, ``median`` or ``gaussian`` (``smoothing``), or ``exponential`` (``exponential``).
        k: half-width of the smoothing in frames, one number or one by task; what is not given is the published one.
        sigma: standard deviation of the Gaussian in frames; None for k / 2.
        alpha: of exponential smoothing, how much what was seen before weighs: one number, one by task, or None for the
            published ones.
        max_gap: frames without a prediction after which exponential smoothing starts anew; and, in tables of people,
            frames without a person's face over which nothing reaches, whatever fills and smooths.
        temperature: None, one number, one by task, ``search``, or a stored file (``temperature``).
        coverage: None; the share of frames whose label the intervals and sets that are fitted on this list shall hold,
            alone or with the seed of their draws; or the stored file of such a fit (``coverage``).
        au_thresholds: one number, twelve, ``published``, the file of a search, or ``exact`` or ``grid`` to search them
            on the labels.
    """

    weights: Weights = None
    blend: str = "probabilities"
    gate: str | None = None
    confidence: float = CONFIDENCE
    missing: str | None = None
    fallback: Any = None
    smoothing: str | None = None
    k: HalfWidths | None = None
    sigma: float | None = None
    alpha: Alphas | None = None
    max_gap: int = MAX_GAP
    temperature: Temperatures | None = None
    coverage: Coverage | None = None
    au_thresholds: Thresholds = 0.5

    @classmethod
    def of(cls, node: Mapping[str, Any], tables: int = 1, *, people: bool = False) -> PostProcess:
        """Make the settings of a configuration node, checking all of them before anything is computed.

        Args:
            node: the keys above; those that are not there keep their defaults.
            tables: how many tables there are to blend.
            people: whether they are tables of people (``process_people``).

        Raises:
            UserError: with every error found.
        """
        if errors := cls.problems(node, tables, people=people):
            raise UserError("; ".join(errors))
        return cls(**node)

    @classmethod
    def problems(cls, node: Mapping[str, Any], tables: int = 1, *, people: bool = False) -> list[str]:
        """List everything that is wrong with a node, given how many tables there are to blend."""
        known = [one.name for one in fields(cls)]
        errors = [f"postprocess.{key}: unknown; there are {', '.join(known)}" for key in node if key not in known]
        settings = cls(**{key: value for key, value in node.items() if key in known})
        checks: list[Callable[[], object]] = [
            lambda: one_of("blend", settings.blend, SPACES),
            lambda: one_of("missing", settings.missing, (None, *FILLS)),
            lambda: check_fallback(settings.fallback),
            lambda: one_of("smoothing", settings.smoothing, (None, *WINDOWS, EXPONENTIAL)),
            lambda: half_widths(settings.k, TASKS),
            lambda: alphas(settings.alpha, list(settings.alpha) if isinstance(settings.alpha, Mapping) else TASKS),
            lambda: _check_used(settings, people=people),
            lambda: _check_gate(settings, tables),
            lambda: _check_weights(settings.weights, tables),
            lambda: settings.temperature == SEARCH or resolve_temperatures(settings.temperature),
            lambda: check_coverage(settings.coverage),
            lambda: settings.au_thresholds in SEARCHES or resolve_thresholds(settings.au_thresholds),
        ]
        for check in checks:
            try:
                check()
            except UserError as error:
                errors.append(str(error))
            except (TypeError, ValueError) as error:
                errors.append(f"postprocess: {error}; see conf/postprocess/default.yaml for the forms")
        return errors

    def check_unseen(
        self,
        frames: Frames,
        image: NDArray[np.bool_],
        known: LabelMeans,
        tasks: Sequence[str],
        expressions: Sequence[str],
        *,
        submitted: bool = False,
    ) -> None:
        """Refuse, before predicting, a list that has a video without any image, if nothing is known to fill it with.

        Args:
            frames: the list.
            image: (N,) whether a row has an image.
            known: means of the training labels.
            tasks: the tasks that will be predicted.
            expressions: class names.
            submitted: whether a submission will be written, which has no empty rows.

        Raises:
            UserError: ``fallback`` has other values than these tasks and expressions.
            DataError: naming the video and what to give.
        """
        values = {**known, **resolve_fallback(self.fallback, expressions)}
        missing = [task for task in tasks if task not in values]
        if missing and (self.missing is not None or (submitted and tuple(expressions) != LSD_EXPRESSIONS)):
            seen = {frames.video[row] for row in np.flatnonzero(image).tolist()}
            name = next((name for name in frames.video if name not in seen), None)
            if name is not None:
                raise unknown_means(f"the frame list: video {name!r} has no image at all", missing, expressions)

    def check_list(self, frames: Frames) -> None:
        """Refuse a list on which these settings must fail, before hours are spent on its predictions.

        Raises:
            DataError: filling or smoothing of single pictures.
            UserError: a search, or a fit of the coverage, without a label of what it concerns.
        """
        if self.smoothing is not None or self.missing is not None:
            check_videos(frames, "the frame list")
        if self.temperature == SEARCH:
            check_search(frames)
        if self.coverage is not None and not isinstance(self.coverage, str):
            check_fit(frames, self.coverage)
        if self.au_thresholds in SEARCHES and np.isnan(frames.action_units).all():
            raise UserError(
                f"postprocess.au_thresholds={self.au_thresholds}: this list has no action-unit label to search on; "
                "search on a split with labels and give the file that it stores"
            )


@dataclass(frozen=True, eq=False)
class Processed:
    """The outcome of the chain.

    Attributes:
        tables: the tables that were blended.
        blended: their blend, after the gate; a single table itself.
        table: the final table; the same object as ``blended`` where nothing else was asked for.
        temperatures: by task, what its logits were divided by.
        au_thresholds: the twelve thresholds.
        found: what was searched here, by the key of the settings.
        tuned: keys that were searched on the labels of the same list, here or by an earlier run.
    """

    tables: Sequence[Table]
    blended: Table
    table: Table
    temperatures: Mapping[str, float]
    au_thresholds: tuple[float, ...]
    found: Mapping[str, Any]
    tuned: tuple[str, ...]

    def store(self, path: Path, split: str, frames: Frames) -> None:
        """Write what was searched on this list, for another split."""
        classes = self.table.expressions
        write_stored(path, self.found, split=split, rows=len(frames.frame), files=frames.files, expressions=classes)


def process(tables: Sequence[Table], frames: Frames, settings: PostProcess) -> Processed:
    """Blend, fill, smooth, set the temperature, bound, and settle the thresholds, each on what the step before gives.

    Weights are searched before filling and smoothing, all else after it. The gate is part of the blend; ``confidence``
    is applied once more, to the two tables after filling and smoothing. Bounds that a table came with are dropped.

    Raises:
        DataError: tables of different lists, or tables that a step cannot be applied to.
        UserError: a search without labels, or settings that do not fit the tables.
    """
    check_same_list([*tables, frames])
    tables = [table if table.bounds is None else replace(table, bounds=None) for table in tables]
    if settings.fallback is not None:
        tables = [with_fallback(table, settings.fallback) for table in tables]
    settings.check_list(frames)
    weights, found = settings.weights, dict[str, Any]()
    if weights == SEARCH:
        weights = search_weights(
            tables, frames, space=settings.blend, au_thresholds=settings.au_thresholds, gate=settings.gate
        )
        found["weights"] = {task: list(of_task) for task, of_task in weights.items()}
    blended = blend(tables, weights, space=settings.blend, gate=settings.gate, confidence=settings.confidence)
    table = _in_time(blended, settings)
    # even where ``table`` is ``blended``: the blend may have no null row to fill where one of the two tables has
    if settings.gate == "confidence" and (settings.smoothing or settings.missing):
        pair = [_in_time(expression_of(one), settings) for one in tables]
        table = take_confident(table, pair, settings.confidence)
    if settings.temperature == SEARCH:
        found["temperature"] = search_temperatures(table, frames)
    temperatures = found.get("temperature") or temperatures_of(settings.temperature, table)
    table = with_temperatures(table, temperatures)
    if settings.coverage is not None and not isinstance(settings.coverage, str):
        found["coverage"] = fit_coverage(table, frames, settings.coverage)
    if settings.coverage is not None:
        table = with_bounds(table, found.get("coverage") or rule_of(str(settings.coverage), table))
    thresholds = settings.au_thresholds
    if isinstance(thresholds, str) and thresholds in SEARCHES:
        if "action_units" not in table.predictions:
            raise UserError(f"postprocess.au_thresholds={thresholds}: {table.source} has no action units; leave it out")
        thresholds = search_thresholds(thresholds, table.predictions["action_units"], frames.action_units)[0].tolist()
        found["au_thresholds"] = dict(zip(AU_NAMES, thresholds, strict=True))
    stored = {key: value for key in SEARCHED if isinstance(value := getattr(settings, key), str)}
    earlier = [
        key
        for key, value in stored.items()
        if key not in found and Path(value).is_file() and searched_on(value, frames.files)
    ]
    tuned = (*found, *earlier)
    return Processed(tables, blended, table, temperatures, resolve_thresholds(thresholds), found, tuned)


def process_people(tables: Sequence[Table], settings: PostProcess) -> Table:
    """Blend tables of the same faces, fill and smooth each person's by itself, set the temperature, and bound.

    There are no labels to search on.

    Raises:
        DataError: tables of different tasks or expressions.
        UserError: settings that do not fit the tables.
    """

    def in_time(table: Table) -> Table:
        return by_person(table, settings.max_gap, lambda people: _in_time(people, settings))

    table = blend(tables, settings.weights, space=settings.blend, gate=settings.gate, confidence=settings.confidence)
    if settings.smoothing is not None or settings.missing is not None:
        table = in_time(table)
        if settings.gate == "confidence":
            table = take_confident(table, [in_time(expression_of(one)) for one in tables], settings.confidence)
    table = with_temperatures(table, temperatures_of(settings.temperature, table))
    return table if settings.coverage is None else with_bounds(table, rule_of(str(settings.coverage), table))


def _in_time(table: Table, settings: PostProcess) -> Table:
    """Fill and smooth a table; the same object comes back where neither is asked for."""
    if settings.smoothing == EXPONENTIAL:
        return smooth_exponentially(table, settings.alpha, max_gap=settings.max_gap, missing=settings.missing)
    if settings.smoothing is not None:
        return smooth(table, settings.k, settings.smoothing, missing=settings.missing, sigma=settings.sigma)
    return table if settings.missing is None else fill_nulls(table, settings.missing)[0]


def _check_used(settings: PostProcess, *, people: bool) -> None:
    """Refuse settings that nothing would use: they were meant to do something."""
    if settings.sigma is not None and settings.smoothing != "gaussian":
        raise UserError(
            "postprocess.sigma belongs to the Gaussian: give postprocess.smoothing=gaussian, or leave it out"
        )
    if settings.sigma is not None and not settings.sigma > 0:
        raise UserError(f"postprocess.sigma is {settings.sigma!r}; give frames, more than 0, or null for k / 2")
    if settings.smoothing not in WINDOWS and settings.k not in (None, PUBLISHED_K):
        raise UserError("postprocess.k smooths nothing by itself: give postprocess.smoothing=box, median or gaussian")
    exponential = settings.smoothing == EXPONENTIAL
    gaps = exponential or (people and (settings.smoothing is not None or settings.missing is not None))
    if (settings.alpha is not None and not exponential) or (settings.max_gap != MAX_GAP and not gaps):
        raise UserError(
            "postprocess.alpha and max_gap smooth nothing by themselves: give postprocess.smoothing=exponential"
        )
    if type(settings.max_gap) is not int or settings.max_gap < 1:
        raise UserError(f"postprocess.max_gap is {settings.max_gap!r}; give frames, 1 or more")


def _check_gate(settings: PostProcess, tables: int) -> None:
    """Refuse a gate or a blend that has no use with this number of tables, or together."""
    gate, confidence = settings.gate, settings.confidence
    if settings.blend == "raw" and tables < 2:
        raise UserError("postprocess.blend=raw is for several tables: evaluate.py 'predictions=[a.parquet,b.parquet]'")
    if gate is not None:
        check_gate_count(gate, tables)
    if gate == "confidence" and settings.blend == "raw":
        raise UserError(
            "postprocess.blend=raw concerns expressions, which gate=confidence does not blend: leave one out"
        )
    if gate != "confidence" and confidence != CONFIDENCE:
        raise UserError("postprocess.confidence belongs to one gate: give postprocess.gate=confidence, or leave it out")
    if isinstance(confidence, bool) or not isinstance(confidence, int | float) or not 0 <= confidence <= 1:
        raise UserError(f"postprocess.confidence is {confidence!r}; give a probability, 0 to 1")


def _check_weights(weights: Weights, tables: int) -> None:
    if weights is None:
        return
    if tables < 2:
        raise UserError("postprocess.weights is for several tables: evaluate.py 'predictions=[a.parquet,b.parquet]'")
    if weights != SEARCH:
        resolve_weights(weights, tables)
