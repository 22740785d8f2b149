"""One table of the runs of a sweep."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from affect.files import whole_file
from evaluators.report import NO_LABELS, aligned, read_records, read_scores


class SweepTable(Callback):
    """Writes ``table.csv`` and prints it when a sweep is over; ``hydra.callbacks`` of the presets in conf/sweep has it.

    Args:
        folder: below it are the run folders.
        columns: name of a column, and the configuration key that it shows.
        scores: names in ``scores.json`` to show.
        logged: name of a column, and the value in ``metrics.jsonl`` of which it shows the median over the epochs.
    """

    def __init__(
        self, folder: str, columns: Mapping[str, str], scores: Sequence[str], logged: Mapping[str, str]
    ) -> None:
        self.folder = Path(folder)
        self.columns, self.scores, self.logged = dict(columns), list(scores), dict(logged)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Called by Hydra."""
        rows = self.rows()
        path = self.folder / "table.csv"
        with whole_file(path) as beside, beside.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        print(aligned(rows))
        print(f"table: {path}")

    def rows(self) -> list[list[str]]:
        """Header and one row a run, in the order of the runs' folders; a run without scores has empty cells."""
        table = [["run", *self.columns, *self.scores, *self.logged]]
        for config in sorted(self.folder.glob("*/config.yaml"), key=lambda path: path.stat().st_mtime):
            run, values = config.parent, yaml.safe_load(config.read_text())
            scores = read_scores(run / "scores.json") if (run / "scores.json").is_file() else {}
            records = read_records(run / "metrics.jsonl")
            table.append(
                [run.name]
                + [_text(_look_up(values, key)) for key in self.columns.values()]
                + [_score(scores, name) for name in self.scores]
                + [_median(records, name) for name in self.logged.values()]
            )
        return table


def _look_up(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else json.dumps(value).strip('"')


def _score(scores: Mapping[str, float | None], name: str) -> str:
    if name not in scores:
        return ""
    value = scores[name]
    return NO_LABELS if value is None else f"{value:.4f}"


def _median(records: Sequence[Mapping[str, Any]], name: str) -> str:
    values = sorted(record[name] for record in records if name in record)
    return f"{values[len(values) // 2]:.4g}" if values else ""
