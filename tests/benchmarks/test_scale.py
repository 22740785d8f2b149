"""The benchmark of millions of rows, at toy size: each case does its work and is reported beside its goal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale
from datamodules.affwild2_mtl import MTLDataModule
from evaluators.table import read_table


def test_what_is_made_is_what_is_read(tmp_path: Path) -> None:
    scale.make(tmp_path / "toy", 0.0005)
    data = MTLDataModule(str(tmp_path / "toy"), image_size=8, batch_size=8)
    assert (len(data.frames("train")), len(data.frames("val"))) == (1000, 10)
    assert data.has_image("train").all()
    tables = [read_table(tmp_path / "toy" / f"{number}.parquet") for number in range(3)]
    labels = scale.labels_of(tmp_path / "toy", tables[0])
    for table in tables:
        assert len(table) == len(labels) == 500
        assert 0 < table.null.sum() < 50
    assert not np.array_equal(tables[0].predictions["expression"], tables[1].predictions["expression"])
    scale.make(tmp_path / "toy", 0.0005)  # is there
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


@pytest.mark.slow
def test_every_case_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    given = [str(tmp_path), "--only", "list", "--rows", "0.0005", "--rounds", "1", "--json", str(path)]
    monkeypatch.setattr(sys, "argv", ["scale", *given])
    scale.main()
    assert capsys.readouterr().out.splitlines()[-1].startswith("list ")
    figures = json.loads(path.read_text())["figures"]
    for case in ("table", "weights", "affect"):  # in this process, which has imported what they need
        figures[case] = scale.measured(tmp_path / "0.0005", case)
    for figure in figures.values():
        assert figure["seconds"] > 0
        assert figure["whole_mib"] > figure["mib"]
