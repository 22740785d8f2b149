"""Scores as text, as JSON, and as one self-contained HTML page per run."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from affect.files import write_whole
from affect.frames import Frames
from evaluators import figures
from evaluators.faces import FILE as FACES_FILE
from evaluators.metrics import MAIN, ExpressionScores, Scores
from evaluators.table import Table

NO_LABELS: Final = "no labels"
"""What the printed table and scores.json say instead of a score that has no valid label."""

BESIDE: Final = (*MAIN, "ACC_EXPR", "MACRO_ACC_EXPR", "ACC_AU")
"""The scores of references that the printed table repeats."""

Shown: TypeAlias = Literal["main", "all"]
"""Which scores are printed: ``scores`` in conf/."""

LINES: Final = 20
"""How many lines the table of the main scores has at most."""


def format_table(scores: Scores, references: Mapping[str, Scores] | None = None) -> str:
    """Format the final table: lines ``NAME value`` with four decimals, or ``no labels`` where no label is valid.

    Args:
        scores: in the order of printing.
        references: scores to compare with, for example chance: their main scores follow in lines that begin with the
            reference's name and a colon, so that a line that begins with a score's name is always the model's.
    """
    width = max((len(name) for name in scores), default=0)
    lines = [f"{name:<{width}} {_text(value)}" for name, value in scores.items()]
    for reference, values in (references or {}).items():
        known = [name for name in BESIDE if name in scores and values.get(name) is not None]
        lines += [f"{reference}: {name} {_text(values[name])}" for name in known]
    return "\n".join(lines)


def format_main(scores: Scores, references: Mapping[str, Scores]) -> str:
    """Format the main scores as ``format_table`` does, in at most ``LINES`` lines, and say where the others are.

    Those of each class are among them where they fit. Of the references, ``chance`` is, and what is the model's own.
    """
    beside = {name: values for name, values in references.items() if name != "majority"}
    for name in beside.keys() - {"chance"}:
        beside[name] = {key: value for key, value in beside[name].items() if key in MAIN}
    repeated = scores.get("P_MTL") is not None or sum(scores.get(name) is not None for name in MAIN) < 2
    whole = {name: value for name, value in scores.items() if name != "SCORE" or not repeated}
    short = {name: value for name, value in whole.items() if not name.startswith("F1_")}
    table = format_table(whole, beside)
    if table.count("\n") >= LINES:
        table = format_table(short, beside)
        table += f"\n{len(whole) - len(short)} more in scores.json and report.html; scores=all prints them"
    return table


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Format rows of equally many cells as lines of text, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def write_scores(scores: Scores, path: str | Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write scores as one JSON object of the same names; ``"no labels"`` stands for None.

    Args:
        scores: to write.
        path: the file.
        notes: what a reader of the scores must know (``postprocess``, ``tuned_on_these_labels``); lists or objects.
    """
    content = {name: NO_LABELS if value is None else value for name, value in scores.items()}
    write_whole(Path(path), json.dumps({**content, **(notes or {})}, indent=2) + "\n")


def read_scores(path: str | Path) -> Scores:
    """Read what ``write_scores`` wrote, without the notes."""
    content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    scores = {name: value for name, value in content.items() if not isinstance(value, list | dict)}
    return {name: None if value == NO_LABELS else float(value) for name, value in scores.items()}


def write_report(
    run_dir: str | Path,
    scores: Scores,
    *,
    table: Table | None = None,
    frames: Frames | None = None,
    references: Mapping[str, Scores] | None = None,
    remark: str = "",
) -> Path:
    """Write ``report.html`` of a run: one file without external assets.

    It shows scores, faces (faces.png), training curves (metrics.jsonl), configuration (config.yaml) and what made the
    predictions; with ``frames`` also the confusion matrix and the plots of valence and arousal. What the folder lacks,
    and tasks without labels, are left out.

    Args:
        run_dir: the run folder.
        scores: of the run.
        table: the predictions that were scored.
        frames: their frames and labels.
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
    named = dict(references or {})
    reference_name, reference = next(iter(named.items()), ("", None))
    faces = run / FACES_FILE
    sections = [
        _image("Faces, their labels and predictions", faces.read_bytes(), "png") if faces.is_file() else "",
        _figure("Training", figures.training_curves(read_records(run / "metrics.jsonl"))),
        _figure("F1 per class", figures.f1_bars(scores, reference, reference_name)),
        *(_label_figures(table, frames, scores) if table is not None and frames is not None else []),
        _score_section(scores, named),
        _config_section(run / "config.yaml"),
    ]
    above = [f"<p class=remark>{escape(remark)}</p>"] if remark else []
    body = "\n".join([_header(run, table), *above, _tiles(scores, named), *sections])
    path = run / "report.html"
    write_whole(path, _PAGE.replace("{title}", escape(_name(run))).replace("{body}", body))
    return path


def read_records(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a metrics.jsonl, one per line; none if there is no file.

    Raises:
        ValueError: a line is not JSON. The last one may be cut off, as a killed run leaves it.
    """
    if not path.is_file():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number}: not JSON ({error}); remove the line") from error
    return records


def _label_figures(table: Table, frames: Frames, scores: Scores) -> list[str]:
    """Draw the figures of the tasks that have labels; null rows are left out, as in the scores."""
    keep, parts = ~table.null, []
    if scores.get("CCC_V") is not None:
        valid = keep & ~np.isnan(frames.valence_arousal).any(axis=1)
        prediction = table.predictions["valence_arousal"][valid]
        svg = figures.valence_arousal(prediction, frames.valence_arousal[valid], scores)
        parts.append(_figure("Valence and arousal, predicted against labelled", svg))
    if scores.get("ACC_EXPR") is not None:
        svg = figures.confusion_matrix(confusion_of(table, frames), table.expressions)
        parts.append(_figure("Confusion of expressions", svg))
    return parts


def confusion_of(table: Table, frames: Frames) -> NDArray[np.int64]:
    """Count, as (C, C), labels in rows and predictions in columns; rows without a label or a prediction do not count.

    Args:
        table: with predictions of the expression.
        frames: the labels of its rows.
    """
    keep = ~table.null
    metric = ExpressionScores(len(table.expressions))
    prediction = table.predictions["expression"][keep]
    metric.update(torch.from_numpy(prediction), torch.from_numpy(frames.expression[keep]))
    confusion: NDArray[np.int64] = metric.confusion.numpy()
    return confusion


def _header(run: Path, table: Table | None) -> str:
    facts = []
    if table is not None:
        facts = [f"{len(table)} frames of {len(set(table.video))} videos"]
        facts += [f"{nulls} without a readable image"] if (nulls := int(table.null.sum())) else []
        facts += [
            f"{name.replace('_', ' ')} {str(value)[:12] if 'sha256' in name else value}"
            for name, value in table.metadata.items()
            if isinstance(value, str | int | float) and name != "schema_version"
        ]
    return f"<h1>{escape(_name(run))}</h1>\n<p class=facts>{escape(' · '.join(facts))}</p>"


def _tiles(scores: Scores, references: Mapping[str, Scores]) -> str:
    tiles = []
    for name in MAIN:
        if name in scores:
            beside = "".join(
                f"<small>{escape(reference)} {_text(values[name])}</small>"
                for reference, values in references.items()
                if values.get(name) is not None
            )
            tiles.append(f"<div class=tile><span>{name}</span><b>{_text(scores[name])}</b>{beside}</div>")
    return f"<div class=tiles>{''.join(tiles)}</div>" if tiles else "<p>No scores yet.</p>"


def _score_section(scores: Scores, references: Mapping[str, Scores]) -> str:
    if not scores:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", "model", *references))
    tables: list[str] = []
    for name, value in scores.items():
        cells = [_text(value), *(_text(known[name]) if name in known else "" for known in references.values())]
        if not tables or name in ("P_EXPR", "P_LSD", "P_AU"):  # one table per task, side by side
            tables.append(f"<tr>{head}</tr>")
        tables[-1] += f"<tr><th>{escape(name)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    content = "".join(f"<table>{rows}</table>" for rows in tables)
    return f"<section><h2>All scores</h2><div class=tables>{content}</div></section>"


def _config_section(path: Path) -> str:
    if not path.is_file():
        return ""
    content = escape(path.read_text(encoding="utf-8"))
    return f"<section><details><summary>config.yaml</summary><pre>{content}</pre></details></section>"


def _figure(title: str, svg: str | None) -> str:
    """Embed a figure as an image of its own: the ids of several SVGs cannot clash, and none can run a script."""
    return "" if svg is None else _image(title, svg.encode(), "svg+xml")


def _image(title: str, content: bytes, kind: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<section><h2>{title}</h2><img alt="{title}" src="data:image/{kind};base64,{data}"></section>'


def _name(run: Path) -> str:
    return "/".join(run.resolve().parts[-2:])


def _text(value: float | None) -> str:
    return NO_LABELS if value is None else f"{value:.4f}"


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #2b3440; background: #f5f7f9; margin: 0 auto; max-width: 1080px;
  padding: 28px 24px 60px; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0 0 8px; }
.facts { color: #66717e; margin: 4px 0 20px; }
.remark { font-weight: bold; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; }
.tile { background: #fff; border: 1px solid #e1e6eb; border-radius: 8px; padding: 10px 18px;
  min-width: 110px; flex: 1; }
.tile span, .tile small { display: block; color: #66717e; font-size: 13px; }
.tile b { font-size: 26px; font-variant-numeric: tabular-nums; white-space: nowrap; }
section { background: #fff; border: 1px solid #e1e6eb; border-radius: 8px; padding: 14px 18px; margin-top: 14px; }
img { max-width: 100%; display: block; margin: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
.tables { display: flex; flex-wrap: wrap; gap: 8px 48px; align-items: flex-start; }
th, td { padding: 1px 16px 1px 0; text-align: right; }
tr th:first-child { text-align: left; font-weight: normal; }
tr:nth-child(even) { background: #f5f7f9; }
summary { cursor: pointer; font-weight: bold; }
pre { overflow-x: auto; font-size: 13px; }
</style>
</head>
<body>
{body}
</body>
</html>
"""
