from __future__ import annotations

import contextlib
import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affect import checksums
from affect.errors import DataError
from affect.labels import AFFECTNET_EXPRESSIONS, EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.metrics import AffectScores
from evaluators.predictions import PredictionWriter, merge_parts, score_table
from evaluators.table import check_same_list, read_table, write_table
from tests.changes import changed
from tests.evaluators.fake import labels_of, make_frames, make_predictions

METADATA = {"experiment": "emma", "checkpoint_sha256": "ab" * 32, "split": "val", "renderer_version": 3}


def pick(predictions, rows):
    return {key: value[rows] for key, value in predictions.items()}


def write(folder, frames, predictions, *, unreadable=(), ranks=1, order=None, **options):
    """Write a table through parts, rows dealt out to ranks."""
    rows = torch.as_tensor(np.arange(len(frames.frame)) if order is None else order)
    gone = torch.tensor(unreadable, dtype=torch.int64)
    for rank in range(ranks):
        writer = PredictionWriter(folder, rank, **options)
        for batch in rows[rank::ranks].split(7):
            missing = torch.isin(batch, gone)
            writer.add(batch[~missing], pick(predictions, batch[~missing]), batch[missing])
        writer.finish()
    return merge_parts(folder, frames, folder / "val.parquet", METADATA)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ranks=st.integers(1, 4), rows=st.integers(5, 60))
def test_what_is_written_is_read_whoever_wrote_it(tmp_path_factory, seed, ranks, rows):
    folder, frames = tmp_path_factory.mktemp("table"), make_frames(rows, seed=seed)
    random = np.random.default_rng(seed)
    predictions = make_predictions(frames, seed=seed)
    unreadable = random.choice(rows, size=int(random.integers(rows - 1)), replace=False).tolist()
    path = write(folder, frames, predictions, unreadable=unreadable, ranks=ranks, order=random.permutation(rows))
    table = read_table(path)
    assert list(table.video) == frames.video
    assert list(table.image) == frames.image
    np.testing.assert_array_equal(table.frame, frames.frame)
    assert np.flatnonzero(table.null).tolist() == sorted(unreadable)
    for key, values in predictions.items():
        expected = values.numpy().copy()
        expected[unreadable] = np.nan
        np.testing.assert_array_equal(table.predictions[key], expected)
        assert table.predictions[key].dtype == np.float32
    assert table.metadata == METADATA | {"label_files": frames.files, "schema_version": 1}
    assert list(folder.iterdir()) == [path]


def test_the_file_as_others_see_it(tmp_path):
    frames = make_frames(6)
    content = pq.read_table(write(tmp_path, frames, make_predictions(frames), unreadable=[2]))
    assert content.column_names == [
        "row", "video", "frame", "image", "valence", "arousal", *(f"expr_{name}" for name in EXPRESSIONS),
        "au1", "au2", "au4", "au6", "au7", "au10", "au12", "au15", "au23", "au24", "au25", "au26",
    ]  # fmt: skip
    assert content["row"].to_pylist() == list(range(6))
    for name in content.column_names[4:]:
        assert content.schema.field(name).type == pa.float32()
        values = content[name].to_pylist()
        assert values[2] is None
        assert not any(np.isnan(value) for value in values if value is not None)


def test_logits_and_other_class_lists_and_bfloat16(tmp_path):
    frames = make_frames(9)
    for expressions in (LSD_EXPRESSIONS, AFFECTNET_EXPRESSIONS):
        logits = torch.randn(9, len(expressions)).bfloat16()
        predictions = {"expression": logits.softmax(dim=1), "logits_expression": logits}
        table = read_table(write(tmp_path, frames, predictions, expressions=expressions))
        assert table.tasks == ("expression",)
        assert table.expressions == tuple(expressions)
        np.testing.assert_array_equal(table.predictions["logits_expression"], logits.float().numpy())
        write_table(table, tmp_path / "again.parquet")
        assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "val.parquet").read_bytes()


def test_a_table_scores_as_training_does(tmp_path):
    frames = make_frames(120)
    predictions, unreadable = make_predictions(frames), [0, 17, 119]
    table = read_table(write(tmp_path, frames, predictions, unreadable=unreadable, ranks=2))
    readable = np.setdiff1d(np.arange(120), unreadable)
    training = AffectScores(au_thresholds="published")
    for rows in np.array_split(readable, 5):
        training.update(pick(predictions, rows), pick(labels_of(frames), rows))
    scores = score_table(table, frames, au_thresholds="published")
    assert scores == pytest.approx(training.compute(), rel=0, abs=1e-12)
    assert scores["P_AU"] != score_table(table, frames)["P_AU"]


def test_rows_must_be_there_exactly_once(tmp_path):
    frames = make_frames(20)
    predictions = make_predictions(frames)

    def parts(*shards):
        for rank, rows in enumerate(shards):
            writer = PredictionWriter(tmp_path, rank)
            writer.add(torch.tensor(rows), pick(predictions, torch.tensor(rows) % 20))
            writer.finish()

    def merge(**options):
        return merge_parts(tmp_path, frames, tmp_path / "val.parquet", METADATA, **options)

    with pytest.raises(DataError, match="no part to merge"):
        merge()
    parts(range(10), range(12, 20))
    with pytest.raises(DataError, match="missing: row 10, 11 of 20"):
        merge()
    parts(range(13), range(12, 20))
    with pytest.raises(DataError, match="there more than once: row 12 of 20"):
        merge()
    parts(range(10), range(10, 21))
    with pytest.raises(DataError, match="row 20 not in the list of 20 rows"):
        merge()
    parts(range(20))  # rank 1's part is left from above, as by a run that was killed
    with pytest.raises(DataError, match=r"delete .* and predict again"):
        merge()
    with pytest.raises(DataError, match=r"part-00002\.parquet: no such"):
        merge(world_size=3)
    assert not (tmp_path / "val.parquet").exists()
    assert len(read_table(merge(world_size=1))) == 20


def test_a_rank_of_unreadable_images_only(tmp_path):
    frames = make_frames(10)
    for rank, known in enumerate((True, False)):
        rows, writer = torch.arange(5) + 5 * rank, PredictionWriter(tmp_path, rank)
        empty = torch.zeros(0, dtype=torch.int64)
        writer.add(
            rows if known else empty, pick(make_predictions(frames), rows) if known else {}, None if known else rows
        )
        writer.finish()
    assert (
        read_table(merge_parts(tmp_path, frames, tmp_path / "val.parquet", {})).null.tolist()
        == [False] * 5 + [True] * 5
    )
    writer = PredictionWriter(tmp_path)
    writer.add(torch.zeros(0, dtype=torch.int64), {}, torch.arange(10))
    writer.finish()
    with pytest.raises(DataError, match="none of the 10 images could be read; check the data root"):
        merge_parts(tmp_path, frames, tmp_path / "val.parquet", {})


def test_predictions_that_are_refused(tmp_path):
    frames = make_frames(4)
    good = make_predictions(frames)
    rows = torch.tensor([7, 8, 9, 3])
    bad = {key: value.clone() for key, value in good.items()}
    bad["action_units"][2, 5] = torch.nan
    with pytest.raises(DataError, match="action_units: not finite in row 9"):
        PredictionWriter(tmp_path).add(rows, bad)
    with pytest.raises(DataError, match=r"valence_arousal has values outside \[-1, 1\]"):
        PredictionWriter(tmp_path).add(rows, good | {"valence_arousal": torch.full((4, 2), 1.2)})
    with pytest.raises(DataError, match=r"shape \(4, 6\), expected \(4, 8\)"):
        PredictionWriter(tmp_path).add(rows, {"expression": torch.rand(4, 6)})
    writer = PredictionWriter(tmp_path)
    writer.add(rows, good)
    with pytest.raises(DataError, match="predictions change"):
        writer.add(rows, {"expression": good["expression"]})


def test_parts_of_different_models(tmp_path):
    frames = make_frames(4)
    for rank, keys in enumerate((["expression"], ["expression", "action_units"])):
        writer = PredictionWriter(tmp_path, rank)
        writer.add(torch.arange(2) + 2 * rank, {key: make_predictions(frames)[key][:2] for key in keys})
        writer.finish()
    with pytest.raises(DataError, match=r"part-00000\.parquet: no action_units, which other parts have"):
        merge_parts(tmp_path, frames, tmp_path / "val.parquet", {})


def change(path, edit):
    """Rewrite a table file with an edit of its Arrow table, without the checksum."""
    table = edit(pq.read_table(path))
    pq.write_table(table.replace_schema_metadata(without_checksum(table)), path)


def without_checksum(table):
    return {key: value for key, value in (table.schema.metadata or {}).items() if key != b"sha256"}


def metadata(**values):
    return {b"prediction_table": json.dumps(values)}


def nan_in_au4(table):
    values = pa.array(np.full(len(table), np.nan, dtype=np.float32))
    return table.set_column(table.column_names.index("au4"), "au4", values)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda table: table.replace_schema_metadata({}), "not a prediction table"),
        (
            lambda table: table.replace_schema_metadata(metadata(schema_version=2)),
            "schema version 2, this code reads 1",
        ),
        (lambda table: table.drop_columns(["video", "image"]), "no column video, image"),
        (lambda table: table.drop_columns(["arousal"]), "no column arousal"),
        (lambda table: table.drop_columns(["au12"]), "no column au12"),
        (lambda table: table.drop_columns(["expr_other"]), "none of the known class lists"),
        (lambda table: table.select(["row", "video", "frame", "image"]), "no prediction columns"),
        (lambda table: table.slice(1), r"column row is not 0\.\.8 in order"),
        (nan_in_au4, "column au4 holds NaN"),
        (lambda table: table.set_column(6, "expr_neutral", pa.array([2.0] * len(table))), r"outside \[0, 1\]"),
        (
            lambda table: table.set_column(2, "frame", pa.array(["1"] * len(table))),
            "column frame is string, expected integer",
        ),
        (
            lambda table: table.set_column(1, "video", pa.nulls(len(table), pa.string())),
            "column video .* without nulls",
        ),
        (lambda table: table.set_column(4, "valence", pa.array(["0"] * len(table))), "column valence is string"),
        *(
            (lambda table, raw=raw: table.replace_schema_metadata({b"prediction_table": raw}), "metadata is damaged")
            for raw in (b"{", b"[1]", b"\xff", b"null", b"[" * 100_000, b'{"label_files": 3}')
        ),
    ],
)
def test_tables_that_are_refused(tmp_path, edit, message):
    frames = make_frames(10)
    path = write(tmp_path, frames, make_predictions(frames))
    change(path, edit)
    with pytest.raises(DataError, match=message) as error:
        read_table(path)
    assert str(path) in str(error.value)


def same(table, other):
    """Whether two tables say the same."""
    return (
        (list(table.video), list(table.image), table.frame.tolist(), table.metadata, table.expressions)
        == (list(other.video), list(other.image), other.frame.tolist(), other.metadata, other.expressions)
        and table.predictions.keys() == other.predictions.keys()
        and all(
            np.array_equal(table.predictions[key], other.predictions[key], equal_nan=True) for key in other.predictions
        )
    )


def test_no_change_of_a_file_gives_another_value(tmp_path):
    """Bits, bytes, cuts and insertions anywhere: columns, pages, schema, metadata, footer."""
    frames = make_frames(40)
    path = write(tmp_path, frames, make_predictions(frames), unreadable=[2])
    whole, table, other = path.read_bytes(), read_table(path), []
    random = np.random.default_rng(0)
    for number in range(200):
        path.write_bytes(changed(whole, random, number % 4))
        with contextlib.suppress(DataError):
            if not same(read_table(path), table):
                other.append(number)
    assert not other


def test_tables_without_a_checksum_are_read_with_one_warning(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(checksums, "_told", set())
    frames = make_frames(9)
    path = write(tmp_path, frames, make_predictions(frames))
    table = read_table(path)
    assert not caplog.records
    change(path, lambda table: table)
    assert same(read_table(path), table)
    assert same(read_table(path), table)
    assert [record.message for record in caplog.records] == [
        f"{path}: a prediction table without a checksum, of an earlier version: damage would not be noticed"
    ]


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(DataError, match="no such prediction table"):
        read_table(tmp_path / "val.parquet")
    (tmp_path / "val.parquet").write_text("row,video\n")
    with pytest.raises(DataError, match="not a Parquet file"):
        read_table(tmp_path / "val.parquet")


def test_tables_of_different_lists(tmp_path):
    frames = make_frames(12)
    table = read_table(write(tmp_path, frames, make_predictions(frames)))
    check_same_list([table, frames, table])
    with pytest.raises(DataError, match=r"val\.parquet and the frame list are of different lists: 12 and 13 rows"):
        check_same_list([table, make_frames(13)])
    swapped = dataclasses.replace(frames, frame=frames.frame[::-1])
    with pytest.raises(DataError, match="different lists: row 0 is video0 frame"):
        score_table(table, swapped)
    renamed = dataclasses.replace(frames, video=[*frames.video[:-1], "other"])
    with pytest.raises(DataError, match=r"row 11 is .* other frame"):
        check_same_list([table, renamed])
    with pytest.raises(DataError, match=r"same frames, but the label files .* differ in content"):
        check_same_list([table, dataclasses.replace(frames, files={"validation.txt": "edited"})])
    check_same_list([table, dataclasses.replace(frames, files={})])  # a list without label files
    moved = dataclasses.replace(frames, files={"renamed.txt": frames.files["validation.txt"]})
    check_same_list([table, moved])


def test_a_failing_write_leaves_the_old_table(tmp_path, monkeypatch):
    frames = make_frames(10)
    path = write(tmp_path, frames, make_predictions(frames))
    before = path.read_bytes()
    table = read_table(path)

    def fail(content, where):
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        write_table(table, path)
    assert path.read_bytes() == before
