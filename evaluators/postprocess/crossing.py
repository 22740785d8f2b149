"""Cross-fitting: each video is decided by rules that were fitted on others, so that its score does not flatter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from affect.computed import take
from affect.errors import UserError
from affect.frames import Frames, IntArray
from evaluators.postprocess.chain import Processed, process
from evaluators.postprocess.options import PostProcess
from evaluators.table import Table


def cross_fitted(done: Processed, tables: Sequence[Table], frames: Frames, settings: PostProcess) -> Processed:
    """Search what was searched once more for each fold of videos, on the others, and decide the fold by that.

    Only weights, half-widths, temperatures, biases and thresholds that were to be searched are; coverage is that of the
    whole list. Nothing in the chain reaches from one video into another, so a fold can be processed by itself.

    Args:
        done: what all rows together gave.
        tables: as ``process`` takes them.
        frames: the list with labels.
        settings: of the whole.

    Returns:
        ``done`` itself where no cross-fitting was asked for. Else what ``decided_by`` returns.

    Raises:
        DataError: fewer videos than folds.
        UserError: the videos outside of a fold have no label to search on.
    """
    if settings.cross_fit is None:
        return done
    fold = settings.folds_of(frames)
    return decided_by(rules_of_folds(tables, frames, settings, fold), done, tables, frames, fold)


def rules_of_folds(tables: Sequence[Table], frames: Frames, settings: PostProcess, fold: IntArray) -> list[PostProcess]:
    """Return the settings for each fold, with what was searched on the videos of the others.

    Args:
        tables: as ``process`` takes them.
        frames: the list with labels.
        settings: of the whole.
        fold: (N,) the fold of each row, from 0.

    Raises:
        UserError: the videos outside of a fold have no label to search on.
    """
    alone, rules = replace(settings, cross_fit=None, coverage=None), []
    for number in range(int(fold.max()) + 1):
        rest = np.flatnonzero(fold != number)
        try:
            found = dict(process([_rows(one, rest) for one in tables], frames.select(rest), alone).found)
        except UserError as error:
            raise UserError(
                f"postprocess.cross_fit={settings.cross_fit}: without the videos of fold {number}: {error}"
            ) from error
        if "au_thresholds" in found:
            found["au_thresholds"] = list(found["au_thresholds"].values())
        rules.append(replace(alone, **found))
    return rules


def decided_by(
    rules: Sequence[PostProcess], done: Processed, tables: Sequence[Table], frames: Frames, fold: IntArray
) -> Processed:
    """Process each fold by its own rules.

    Args:
        rules: of each fold, as ``rules_of_folds`` returns them.
        done: what all rows together gave.
        tables: as ``process`` takes them.
        frames: the list with labels.
        fold: (N,) the fold of each row, from 0.

    Returns:
        ``done`` with the table of the folds: as thresholds differ between them, its action units are decisions, 0 or 1,
        and its thresholds 0.5. ``tuned`` names what still was searched on the labels that are scored: a stored file may
        have been.
    """
    made = {key: np.full_like(values, np.nan) for key, values in done.table.predictions.items()}
    for number, rule in enumerate(rules):
        held = np.flatnonzero(fold == number)
        applied = process([_rows(one, held) for one in tables], frames.select(held), rule)
        for key, values in applied.table.predictions.items():
            made[key][held] = _decided(values, applied.au_thresholds) if key == "action_units" else values
    table = replace(done.table, predictions=made, source=f"{done.table.source}, cross-fitted")
    tuned = tuple(key for key in done.tuned if key == "coverage" or key not in done.found)
    return replace(done, table=table, au_thresholds=(0.5,) * len(done.au_thresholds), tuned=tuned)


def _decided(values: Any, thresholds: Sequence[float]) -> Any:
    """Return (N, 12) 0 or 1, NaN where there is no prediction; compared in float32, as the metrics do."""
    return np.where(np.isnan(values), np.nan, values >= np.asarray(thresholds, dtype=np.float32)).astype(np.float32)


def _rows(table: Table, index: IntArray) -> Table:
    return replace(
        table,
        video=take(table.video, index),
        frame=np.asarray(table.frame)[index],
        image=take(table.image, index),
        predictions={key: values[index] for key, values in table.predictions.items()},
        bounds=None,
    )
