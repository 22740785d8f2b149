"""Published scores: those of the READMEs, shown where the list is the paper's and nowhere else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.frames import Frames
from affect.labels import EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.page.published import LSD, MTL, published_for
from evaluators.page.run import Scored, write_report
from evaluators.predictions import score_table
from evaluators.table import table_of_rows

ROOT = Path(__file__).resolve().parents[3]


def make(counts, expressions=EXPRESSIONS, **metadata):
    """A list with so many labels of each task, and perfect predictions of its expressions."""
    rows = max(counts)
    affect = np.zeros((rows, 2), np.float32)
    expression, units = np.arange(rows) % len(expressions), np.zeros((rows, 12), np.float32)
    affect[counts[0] :], expression[counts[1] :], units[counts[2] :] = np.nan, -1, np.nan
    frames = Frames(["v"] * rows, np.arange(rows), [""] * rows, affect, expression, units, {})
    said = np.eye(len(expressions), dtype=np.float32)[np.maximum(expression, 0)]
    return table_of_rows(frames, np.arange(rows), {"expression": said}, metadata, "a table", expressions), frames


@pytest.mark.parametrize("known", [MTL, LSD], ids=["MTL", "LSD"])
def test_the_values_are_those_of_the_readmes(known):
    texts = [(ROOT / method / "README.md").read_text() for method in ("emma", "baseline")]
    told = re.findall(r"(?<![\d.])\d+\.\d\d(?![\d])", "\n".join(texts))
    for name, values in known.systems:
        assert len(values) == len(known.scores)
        if "CoTEX" not in name and None not in values:
            assert {f"{value:.2f}" for value in values} <= set(told), name
    names = [name for name, _ in known.systems]
    assert len(set(names)) == len(names)


def test_a_list_is_recognised_by_its_labels():
    assert published_for(*make(MTL.rows)) is MTL
    assert published_for(*make(LSD.rows, LSD_EXPRESSIONS)) is LSD
    table, frames = make(MTL.rows)
    assert published_for(replace(table, metadata={"renderer": {"renderer_version": "3"}}), frames) is None
    assert published_for(*make(LSD.rows)) is None  # eight classes
    assert published_for(*make((26_876, 15_439, 26_876))) is None


def test_the_run_stands_above_what_was_published(tmp_path):
    table, frames = make(LSD.rows, LSD_EXPRESSIONS)
    page = write_report(tmp_path, score_table(table, frames), Scored(table, frames, (0.5,) * 12)).read_text()
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th><td>([\d.–]+)</td><td>([\d.–]+)</td></tr>', page)
    assert rows[0] == ("this run", "100.00", "100.00")
    assert rows[1] == ("Baseline (ResNet-50, ImageNet)", "67.58", "59.71")
    assert len(rows) == 1 + len(LSD.systems)
    table, frames = make((0, 4_671, 0), LSD_EXPRESSIONS)
    page = write_report(tmp_path, score_table(table, frames), Scored(table, frames, (0.5,) * 12)).read_text()
    assert "this run" not in page
