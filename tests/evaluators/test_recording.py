"""Rows as they come: the same table in the end, and whole lines whenever it is killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from affect.errors import DataError
from evaluators.bounds import Bounds
from evaluators.found import Found
from evaluators.recording import Recording
from evaluators.table import Table, read_table, write_table
from evaluators.text import write_csv
from tests.evaluators.tables import people_table


def by_frame(table: Table) -> list[Table]:
    """Tables of one frame each."""
    made = []
    for frame in sorted(set(table.frame.tolist())):
        rows = np.flatnonzero(table.frame == frame)
        assert table.found is not None
        found = Found(*(getattr(table.found, name)[rows] for name in vars(table.found)))
        predictions = {task: values[rows] for task, values in table.predictions.items()}
        bounds = table.bounds and Bounds({name: one[rows] for name, one in table.bounds.intervals.items()}, None)
        made.append(replace(table, video=[table.video[row] for row in rows], frame=table.frame[rows],
                            image=[table.image[row] for row in rows], predictions=predictions, found=found,
                            bounds=bounds))  # fmt: skip
    return made


def bounded(seed: int) -> Table:
    table = people_table(seed, videos=1)
    affect = table.predictions["valence_arousal"]
    limits = {name: np.stack([column - 0.1, column + 0.1], axis=1).clip(-1, 1)
              for name, column in zip(("valence", "arousal"), affect.T, strict=True)}  # fmt: skip
    return replace(table, bounds=Bounds(limits, None), metadata={"made": {"a": 1}})


@pytest.mark.parametrize("seed", range(3))
def test_the_table_in_the_end_is_that_of_all_frames_at_once(tmp_path: Path, seed: int) -> None:
    whole = bounded(seed) if seed else people_table(seed, videos=1)
    recording = Recording(tmp_path / "a.recording.csv")
    frames = by_frame(whole)
    for number, table in enumerate(frames, 1):
        recording.add(table)
        if number % 10 == 0:  # as if it were killed here
            left = pd.read_csv(recording.path)
            rows = sum(map(len, frames[:number]))
            assert left["row"].tolist() == list(range(rows))
            assert recording.path.read_bytes().endswith(b"\n")
            np.testing.assert_array_equal(
                left["au12"].to_numpy(np.float32), whole.predictions["action_units"][:rows, 6]
            )
    recording.finish(tmp_path / "a.parquet", whole.metadata)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    write_table(whole, tmp_path / "b.parquet")
    for name in ("a", "b"):
        write_csv(read_table(tmp_path / f"{name}.parquet"), tmp_path / f"{name}.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    ours, theirs = (read_table(tmp_path / f"{name}.parquet") for name in "ab")
    assert ours.metadata == theirs.metadata
    for task, values in theirs.predictions.items():
        np.testing.assert_array_equal(ours.predictions[task], values)


def test_what_a_kill_left_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "a.recording.csv"
    recording = Recording(path)
    recording.add(by_frame(people_table(0, videos=1))[0])
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"recording\.csv is there: .*killed.*overwrite=true"):
        Recording(path)
    assert path.read_bytes() == before


def test_nothing_is_left_of_a_stream_without_a_frame(tmp_path: Path) -> None:
    Recording(tmp_path / "a.recording.csv").close()
    assert list(tmp_path.iterdir()) == []
