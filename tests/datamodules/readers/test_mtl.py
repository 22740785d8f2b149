"""The label reader: round trip, what it accepts, and the error of everything else."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect.errors import DataError
from affect.frames import warn_of_one_value
from affect.labels import AU_NAMES
from datamodules.readers.mtl import read_frame_list, read_mtl
from tests.datamodules.conftest import HEADER, LABELS, UNLABELLED

REAL = Path(__file__).parents[2] / "../shared/real_faces_small"
LONG_HEADER = "image_path,valence,arousal,expression," + ",".join(AU_NAMES)

values = st.none() | st.floats(-1, 1, width=32)
row = st.tuples(
    st.integers(1, 99999),
    st.tuples(values, values),
    st.none() | st.integers(0, 7),
    st.lists(st.none() | st.integers(0, 1), min_size=12, max_size=12),
)


def write_row(label: tuple, *, decimals: bool) -> str:
    """A plain writer: missing values as the files have them, with or without decimals."""
    frame, affect, expression, units = label
    invalid, absent = ("-5.0", "-1.0") if decimals else ("-5", "-1")
    fields = [f"a video/{frame:05d}.jpg"]
    fields += [invalid if value is None else repr(value) for value in affect]
    fields += [absent if value is None else str(value) for value in [expression, *units]]
    return ",".join(fields)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(row, min_size=1, max_size=6),
    decimals=st.booleans(),
    long_header=st.booleans(),
    comma=st.sampled_from(["", ","]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    mark=st.booleans(),
)
def test_round_trip(
    tmp_path: Path, rows: list, decimals: bool, long_header: bool, comma: str, end: str, last: bool, mark: bool
) -> None:
    if not last:
        rows.insert(0, rows[-1])  # a last row without its end, and with fewer decimals than all others, is cut off
    lines = [LONG_HEADER if long_header else HEADER, *(write_row(label, decimals=decimals) + comma for label in rows)]
    text = ("\ufeff" if mark else "") + end.join(lines) + (end if last else "")
    path = tmp_path / "labels.txt"
    path.write_bytes(text.encode())
    frames = read_mtl(path)

    assert len(frames) == len(rows)
    assert frames.image == [f"a video/{frame:05d}.jpg" for frame, *_ in rows]
    assert frames.video == ["a video"] * len(rows)
    assert frames.frame.tolist() == [frame for frame, *_ in rows]
    assert frames.files == {"labels.txt": hashlib.sha256(text.encode()).hexdigest()}
    for i, (_, affect, expression, units) in enumerate(rows):
        wanted = (math.nan, math.nan) if None in affect else affect
        np.testing.assert_array_equal(frames.valence_arousal[i], np.array(wanted, dtype=np.float32))
        assert frames.expression[i] == (-1 if expression is None else expression)
        np.testing.assert_array_equal(
            frames.action_units[i], np.array([math.nan if unit is None else unit for unit in units], dtype=np.float32)
        )
        assert frames.has_label[i] == (None not in affect or expression is not None or set(units) != {None})
    assert (frames.valence_arousal.dtype, frames.action_units.dtype) == (np.float32, np.float32)
    assert (frames.expression.dtype, frames.frame.dtype) == (np.int64, np.int64)


FAULTS = {
    "15 fields": (LABELS.rpartition(",")[0], "15 fields"),
    "17 fields": (LABELS + ",1", "17 fields"),
    "18 fields": (LABELS + ",1,1", "18 fields"),
    "two trailing commas": (LABELS + ",,", "17 fields"),
    "no fields": ("", "1 fields"),
    "not a number": (LABELS.replace("0.25", "high"), "valence is 'high'"),
    "empty field": (LABELS.replace("0.25", ""), "valence is ''"),
    "nan": (LABELS.replace("-0.5", "nan"), "arousal is 'nan'"),
    "infinity": (LABELS.replace("-0.5", "-inf"), "arousal is '-inf'"),
    "valence of 3": (LABELS.replace("0.25", "3"), "valence is '3', expected a number from -1 to 1"),
    "arousal of -4": (LABELS.replace("-0.5", "-4"), "arousal is '-4'"),
    "valence beside a missing arousal": ("7,-5," + LABELS.partition(",")[2].partition(",")[2], "valence is '7'"),
    "expression of 9": (LABELS.replace(",4,", ",9,"), "expression is '9', expected a whole number from 0 to 7"),
    "expression of -2": (LABELS.replace(",4,", ",-2,"), "expression is '-2'"),
    "half an expression": (LABELS.replace(",4,", ",4.5,"), "expression is '4.5'"),
    "half a unit": (LABELS[:-1] + "0.5", "au26 is '0.5', expected 0 or 1"),
    "unit of 2": (LABELS.replace(",4,0,", ",4,2,"), "au1 is '2'"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("position", [0, 1, 4])
def test_a_faulty_row_is_named(tmp_path: Path, fault: str, position: int) -> None:
    labels, message = FAULTS[fault]
    rows = [f"video1/{i + 1:05d}.jpg,{LABELS}" for i in range(5)]
    rows[position] = f"video1/00009.jpg,{labels}" if labels else "x"
    path = tmp_path / "labels.txt"
    path.write_text("\n".join([HEADER, *rows]))
    with pytest.raises(DataError) as error:
        read_mtl(path)
    assert f"{path}:{position + 2}: " in str(error.value)
    assert message in str(error.value)
    assert "Correct" in str(error.value)


def test_the_first_of_several_faults_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    rows = [f"v/{i + 1:05d}.jpg,{LABELS}" for i in range(50)]
    for line in (12, 13, 40):
        rows[line] += ",1"
    path.write_text("\n".join([HEADER, *rows]))
    with pytest.raises(DataError, match=r":14: 17 fields"):
        read_mtl(path)


@pytest.mark.parametrize("read", [read_mtl, read_frame_list])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\n\n", "the file is empty"),
        (HEADER.encode() + b"\r\n", "no row after the header"),
        (f"video1/00001.jpg,{LABELS}\n".encode(), ":1: the header is missing"),
        (f"{HEADER}\n00001.jpg,{LABELS}\n".encode(), ":2: the image is '00001.jpg'"),
        (f"{HEADER}\nvideo1/first.jpg,{LABELS}\n".encode(), ":2: the image is 'video1/first.jpg'"),
        (b"\xff\xd8\xff\xe0", "not a text file"),
    ],
)
def test_faulty_files(tmp_path: Path, read: Callable, content: bytes, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_header_of_another_task(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"valence,arousal\n0.1,0.2\n{LABELS}")
    with pytest.raises(DataError, match=r":1: the header is 'valence,arousal', expected 'image,valence,"):
        read_mtl(path)


def test_duplicates_are_kept_and_select_keeps_the_order(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"{HEADER}\nv/00001.jpg,{LABELS}\nv/00008.jpg,{UNLABELLED}\nv/00001.jpg,{LABELS}\n")
    frames = read_mtl(path)
    assert frames.image == ["v/00001.jpg", "v/00008.jpg", "v/00001.jpg"]
    assert frames.has_label.tolist() == [True, False, True]
    chosen = frames.select(np.array([1, 0]))
    assert chosen.image == ["v/00008.jpg", "v/00001.jpg"]
    assert chosen.expression.tolist() == [-1, 4]
    assert chosen.frame.tolist() == [8, 1]
    assert chosen.files == frames.files


def test_list_takes_the_first_field_only(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"image,valence,arousal,expression,aus\r\nvideo45_1/00001.jpg,\r\nvideo45_1/00008.jpg\r\n"
                     b"video45_1/00001.jpg,0.1,what,ever\r\n")  # fmt: skip
    frames = read_frame_list(path)
    assert frames.image == ["video45_1/00001.jpg", "video45_1/00008.jpg", "video45_1/00001.jpg"]
    assert frames.video == ["video45_1"] * 3
    assert not frames.has_label.any()
    assert frames.valence_arousal.shape == (3, 2)
    assert frames.action_units.shape == (3, 12)


def test_positive_weights_are_negatives_per_positive(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    rows = ["1" + ",1" * 11, "0" + ",1" * 11, "0" + ",-1" * 11, "-1" + ",0" * 11]
    path.write_text("\n".join([HEADER, *(f"v/{i}.jpg,-5,-5,-1,{units}" for i, units in enumerate(rows))]))
    weights = read_mtl(path).positive_weights()
    np.testing.assert_array_equal(weights, np.array([2.0] + [0.5] * 11, dtype=np.float32))
    assert read_mtl(path).select(np.array([1, 3])).positive_weights()[0] == 1  # no positive row of AU1


def test_valence_arousal_and_units_of_one_value_are_told(tmp_path: Path, caplog) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join([HEADER, *(f"v/{number:05d}.jpg,{LABELS}" for number in (1, 2, 3)), ""]))
    same = read_mtl(path)
    warn_of_one_value("training", same, ["valence_arousal", "action_units"])
    warn_of_one_value("training", same, ["expression"])
    warn_of_one_value("training", same.select(np.array([0])), ["valence_arousal"])  # one row is alike by chance
    same.valence_arousal[0, 0], same.action_units[0, 3] = 0.9, 1 - same.action_units[0, 3]
    warn_of_one_value("fold1", same, ["valence_arousal", "action_units"])
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "training: all rows have the same valence and arousal and action units",
        "fold1: all rows have the same arousal",
    ]  # fmt: skip


def test_a_column_of_one_class_is_told_where_it_is_weighed(tmp_path: Path, caplog) -> None:
    path = tmp_path / "labels.txt"
    rows = [f"v/{number:05d}.jpg,{LABELS}" for number in (1, 2, 3)]
    path.write_text("\n".join([HEADER, *rows, f"v/00004.jpg,{UNLABELLED}", ""]))
    assert read_mtl(path).class_weights().tolist() == [1, 1, 1, 1, 0.125, 1, 1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "all 3 training rows with an expression are of class 4, so that no other can be learnt. Is this the right "
        "column?"
    ]
    caplog.clear()
    path.write_text("\n".join([HEADER, rows[0], rows[1].replace(",4,", ",2,"), ""]))
    read_mtl(path).class_weights()
    read_mtl(path).select(np.array([], dtype=np.int64)).class_counts()
    assert not caplog.records


def test_class_weights_make_every_present_expression_count_as_much(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    expressions = [0, 0, 0, 4, -1]
    path.write_text("\n".join([HEADER, *(f"v/{i}.jpg,-5,-5,{e}{',-1' * 12}" for i, e in enumerate(expressions))]))
    weights = read_mtl(path).class_weights()
    assert weights[0] * 3 == pytest.approx(weights[4])
    assert weights[1] == 1  # no row of anger


def test_a_file_of_the_real_size_is_read_quickly(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    rows = [f"video{i // 300}/{i % 300 + 1:05d}.jpg,{LABELS}" for i in range(142_333)]
    path.write_text("\n".join([HEADER, *rows, ""]))
    start = time.process_time()
    assert len(read_mtl(path)) == 142_333
    assert time.process_time() - start < 4  # about 0.5 s; this catches a loop over fields


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared photographs are not here")
def test_the_shared_photographs_labels() -> None:
    train = read_mtl(REAL / "training_set_annotations.txt")
    val = read_mtl(REAL / "validation_set_annotations.txt")
    assert np.bincount(train.expression).tolist() == [259, 249, 70, 112, 259, 248, 251, 54]  # its README's counts
    assert np.bincount(val.expression).tolist() == [86, 83, 18, 38, 86, 85, 84, 18]
    assert np.isnan(train.valence_arousal).all()
    assert np.isnan(train.action_units).all()
