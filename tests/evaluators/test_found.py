"""Tables of somebody's videos: their columns come back, as Parquet and as text, and each person is smoothed alone."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import DataError, UserError
from affect.labels import EXPRESSIONS
from evaluators.found import COLUMNS, Found
from evaluators.parquet import write_parquet
from evaluators.postprocess.chain import process_people
from evaluators.postprocess.options import PostProcess, check_gap
from evaluators.postprocess.people import stretches
from evaluators.postprocess.settings import write_stored
from evaluators.postprocess.temperature import with_temperatures
from evaluators.table import Table, read_table, write_table
from evaluators.text import write_csv
from tests.evaluators.tables import TASKS, people_table


def test_found_columns_come_back_and_stand_where_they_should(tmp_path: Path) -> None:
    table = people_table(0)
    write_table(table, tmp_path / "a.parquet")
    back = read_table(tmp_path / "a.parquet")
    assert back.found is not None
    assert table.found is not None
    for name, value in vars(table.found).items():
        assert np.array_equal(value, getattr(back.found, name), equal_nan=True), name
    content = pq.read_table(tmp_path / "a.parquet")
    assert content.column_names[: 4 + len(COLUMNS)] == ["row", "video", "frame", "image", *COLUMNS]
    assert content["success"].to_pylist() == [one is not None for one in content["face_id"].to_pylist()]
    assert content["x"].null_count == content["face_id"].null_count > 0


def test_a_table_without_faces_has_no_such_columns(tmp_path: Path) -> None:
    write_table(replace(people_table(0), found=None), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").found is None


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("success", None, "not success"),
        ("face_id", [0] * 5, "must be null exactly where success is false"),
        ("x", [np.nan] * 5, "NaN"),
        ("detection_score", [1.5] * 5, r"outside \[0, 1\]"),
        ("face_id", ["a"] * 5, "column face_id is string"),
    ],
)
def test_columns_that_cannot_be_are_told(tmp_path: Path, column: str, value: list[object] | None, message: str) -> None:
    import pyarrow as pa

    table = people_table(0)
    rows = np.flatnonzero(table.found.success)[:5]
    part = Table([table.video[row] for row in rows], table.frame[rows], [table.image[row] for row in rows],
                 {task: one[rows] for task, one in table.predictions.items()}, EXPRESSIONS, {}, "part",
                 Found(*(one[rows] for one in vars(table.found).values())))  # fmt: skip
    write_table(part, tmp_path / "a.parquet")
    content = pq.read_table(tmp_path / "a.parquet")
    metadata = {key: one for key, one in content.schema.metadata.items() if key != b"sha256"}
    at = content.column_names.index(column)
    content = content.remove_column(at)
    if value is not None:
        made = pa.array([None] * 5, pa.int64()) if message.startswith("must") else pa.array(value)
        made = made.cast(pa.float32()) if column in ("x", "detection_score") else made
        content = content.add_column(at, column, made)
    write_parquet(content.replace_schema_metadata(metadata), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "b.parquet")


@given(seed=st.integers(0, 1000), separator=st.sampled_from([",", ";", "\t", "|"]))
@settings(max_examples=15, deadline=None)
def test_csv_is_the_table_to_the_last_digit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, separator: str
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    table = people_table(seed, frames=8)
    write_table(table, folder / "a.parquet")
    write_csv(table, folder / "a.csv", separator)
    want = pq.read_table(folder / "a.parquet").to_pandas()
    kinds = {name: want[name].dtype for name in want if want[name].dtype.kind == "f" and name != "face_id"}
    have = pd.read_csv(folder / "a.csv", sep=separator, dtype=kinds)
    assert list(have) == list(want)
    for name in want:
        one, other = want[name], have[name]
        assert (one.isna() == other.isna()).all(), name
        assert (one[one.notna()] == other[one.notna()]).all(), name
    with (folder / "a.csv").open(newline="") as file:  # another reader agrees on the fields
        rows = list(csv.reader(file, delimiter=separator))
    assert {len(row) for row in rows} == {len(want.columns)}
    assert [row[1] for row in rows[1:]] == list(table.video)


@pytest.mark.parametrize("separator", ["", "..", "a", '"', ".", "-", "ä"])
def test_a_separator_that_would_be_taken_for_something_else_is_refused(tmp_path: Path, separator: str) -> None:
    with pytest.raises(UserError, match="separator is"):
        write_csv(people_table(0), tmp_path / "a.csv", separator)


@pytest.mark.parametrize("gap", [1, 3, 16])
def test_smoothing_stays_within_a_person_and_its_stretch(gap: int) -> None:
    table = people_table(3)
    k = 4
    done = process_people([table], PostProcess(smoothing="box", k=k, max_gap=gap))
    for row in range(len(table)):
        if not table.found.success[row]:
            assert np.isnan(done.predictions["action_units"][row]).all()
            continue
        # the definition: rows of the same person that are reached by steps of `gap` frames at most
        own = [other for other in range(len(table)) if table.video[other] == table.video[row]
               and table.found.face_id[other] == table.found.face_id[row]]  # fmt: skip
        at = own.index(row)
        reached = [row]
        for way in (range(at + 1, len(own)), range(at - 1, -1, -1)):
            last = table.frame[row]
            for other in (own[index] for index in way):
                if abs(table.frame[other] - last) > gap:
                    break
                last = table.frame[other]
                reached.append(other)
        window = [other for other in reached if abs(table.frame[other] - table.frame[row]) <= k]
        for task in TASKS:
            want = table.predictions[task][window].astype(np.float64).mean(axis=0)
            np.testing.assert_allclose(done.predictions[task][row], want, atol=1e-6)


def test_nobody_at_all_stays_so() -> None:
    table = people_table(0)
    rows = len(table)
    nothing = Found(table.found.timestamp, np.zeros(rows, np.int64), np.full(rows, np.nan, np.float32),
                    np.full((rows, 4), np.nan, np.float32))  # fmt: skip
    nulls = {task: np.full_like(one, np.nan) for task, one in table.predictions.items()}
    empty = replace(table, found=nothing, predictions=nulls)
    assert (stretches(empty, 3) == -1).all()
    done = process_people([empty], PostProcess(smoothing="box", k=2))
    assert all(np.isnan(one).all() for one in done.predictions.values())


@pytest.mark.parametrize("gap", [0, 1.5, True])
def test_a_gap_is_a_number_of_frames(gap: object) -> None:
    found = PostProcess.problems({"smoothing": "box", "max_gap": gap}, people=True)
    assert found == [f"postprocess.max_gap is {gap!r}; give frames, 1 or more"]


def test_a_gap_ends_every_window_of_people_and_nothing_without_one() -> None:
    for node in ({"smoothing": "box"}, {"smoothing": "exponential"}, {"missing": "linear"}, {}):
        assert PostProcess.problems({**node, "max_gap": 7}, people=True) == []
        settings = PostProcess.of({**node, "max_gap": 7}, people=True)
        check_gap(settings, in_time=True)
        if node:
            check_gap(settings, in_time=False)
    check_gap(PostProcess(), in_time=False)
    with pytest.raises(UserError, match=r"max_gap=7 is of temporal heads, smoothing and filling, .* leave it out"):
        check_gap(settings, in_time=False)
    (error,) = PostProcess.problems({"max_gap": 7})
    assert "smooth nothing by themselves" in error


def test_a_stored_temperature_and_coverage_are_applied_to_people(tmp_path: Path) -> None:
    table = people_table(3)
    path = tmp_path / "postprocess.json"
    rule = {"share": 0.9, "seed": 0, "valence": 0.25, "expression": 0.9}
    found = {"temperature": {"action_units": 2.0}, "coverage": rule}
    about = {"split": "val", "rows": 3, "files": {}, "expressions": table.expressions}
    write_stored(path, found, **about)  # type: ignore[arg-type]
    done = process_people([table], PostProcess.of({"temperature": str(path), "coverage": str(path)}, people=True))
    np.testing.assert_array_equal(
        done.predictions["action_units"], with_temperatures(table, {"action_units": 2.0}).predictions["action_units"]
    )
    write_table(done, tmp_path / "a.parquet")
    write_csv(read_table(tmp_path / "a.parquet"), tmp_path / "a.csv")
    have = pd.read_csv(tmp_path / "a.csv")
    seen = table.found.success
    assert have["valence_low"].notna().tolist() == have["set_neutral"].notna().tolist() == seen.tolist()
    np.testing.assert_allclose(
        have["valence_high"][seen], (table.predictions["valence_arousal"][seen, 0] + 0.25).clip(-1, 1), atol=1e-6
    )
    assert "arousal_low" not in have
