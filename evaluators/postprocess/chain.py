"""Process tables into the one that is scored, in one order: blend, fill, smooth, temperature, biases, thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affect.errors import UserError
from affect.frames import Frames
from affect.labels import AU_NAMES
from evaluators.postprocess.biases import biases_of, is_search, search_table, with_biases
from evaluators.postprocess.blending import blend, search_weights
from evaluators.postprocess.coverage import fit_coverage, rule_of, with_bounds
from evaluators.postprocess.exponential import smooth_exponentially
from evaluators.postprocess.filling import fill_nulls
from evaluators.postprocess.gating import expression_of, take_confident
from evaluators.postprocess.options import EXPONENTIAL, SEARCH, PostProcess
from evaluators.postprocess.people import by_person
from evaluators.postprocess.settings import SEARCHED, searched_on, write_stored
from evaluators.postprocess.smoothing import smooth
from evaluators.postprocess.temperature import search_temperatures, temperatures_of, with_temperatures
from evaluators.postprocess.thresholds import SEARCHES, resolve_thresholds, search_thresholds
from evaluators.postprocess.unseen import with_fallback
from evaluators.postprocess.widths import search_half_widths
from evaluators.table import Table, check_same_list


@dataclass(frozen=True, eq=False)
class Processed:
    """The outcome of the chain.

    Attributes:
        tables: the tables that were blended.
        blended: their blend, after the gate; a single table itself.
        table: the final table; the same object as ``blended`` where nothing else was asked for.
        temperatures: by task, what its logits were divided by.
        biases: by expression, what was added to its logit.
        au_thresholds: the twelve thresholds.
        found: what was searched here, by the key of the settings.
        tuned: keys that were searched on the labels of the same list, here or by an earlier run.
    """

    tables: Sequence[Table]
    blended: Table
    table: Table
    temperatures: Mapping[str, float]
    biases: Mapping[str, float]
    au_thresholds: tuple[float, ...]
    found: Mapping[str, Any]
    tuned: tuple[str, ...]

    def store(self, path: Path, split: str, frames: Frames, scores: Mapping[str, float | None] | None = None) -> None:
        """Write what was searched on this list, for another split; with the scores of its cross-fitting, if any."""
        classes = self.table.expressions
        write_stored(
            path, self.found, split=split, rows=len(frames.frame), files=frames.files, expressions=classes,
            scores=scores,
        )  # fmt: skip


def process(tables: Sequence[Table], frames: Frames, settings: PostProcess) -> Processed:
    """Blend, fill, smooth, set the temperature, bound, and settle the thresholds, each on what the step before gives.

    Weights and half-widths are searched before filling and smoothing, all else after it. The gate is part of the blend;
    ``confidence`` is applied once more, to the two tables after filling and smoothing. Bounds that a table came with
    are dropped.

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
    if settings.k == SEARCH:
        found["k"] = search_half_widths(
            blended, frames, str(settings.smoothing), missing=settings.missing, sigma=settings.sigma,
            au_thresholds=settings.au_thresholds,
        )  # fmt: skip
        settings = replace(settings, k=found["k"])
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
    if is_search(settings.expression_biases):
        found["expression_biases"] = search_table(str(settings.expression_biases), table, frames)
    biases = found.get("expression_biases") or biases_of(settings.expression_biases, table)
    table = with_biases(table, biases)
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
    return Processed(tables, blended, table, temperatures, biases, resolve_thresholds(thresholds), found, tuned)


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
    if settings.coverage is not None:
        table = with_bounds(table, rule_of(str(settings.coverage), table))
    return with_biases(table, biases_of(settings.expression_biases, table))


def _in_time(table: Table, settings: PostProcess) -> Table:
    """Fill and smooth a table; the same object comes back where neither is asked for."""
    if settings.smoothing == EXPONENTIAL:
        return smooth_exponentially(table, settings.alpha, max_gap=settings.max_gap, missing=settings.missing)
    if settings.smoothing is not None:
        return smooth(table, settings.k, settings.smoothing, missing=settings.missing, sigma=settings.sigma)
    return table if settings.missing is None else fill_nulls(table, settings.missing)[0]
