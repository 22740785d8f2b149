"""The readers of the uni-task challenges' files: round trip, what they accept, and the error of everything else."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect.errors import DataError
from datamodules.readers.uni import frame_count, read_frame_counts, read_labels, read_test_frames, read_test_videos

HEADERS = {
    "va": "valence,arousal",
    "expr": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "au": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
}
OLD_HEADERS = {
    "va": "valence,arousal",
    "expr": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise",
    "au": "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25",
}
COLUMNS_OF_OLD_UNITS = [0, 1, 2, 3, 6, 7, None, 10]  # of 1, 2, 4, 6, 12, 15, 20 and 25 among the twelve
number = st.none() | st.floats(-1, 1)
bit = st.none() | st.integers(0, 1)
ROWS = {  # by task and whether the file is as those of ABAW1 and 2
    ("va", False): st.tuples(number, number),
    ("va", True): st.tuples(number, number),
    ("expr", False): st.tuples(st.none() | st.integers(0, 7)),
    ("expr", True): st.tuples(st.none() | st.integers(0, 6)),
    ("au", False): st.tuples(*[bit] * 12),
    ("au", True): st.tuples(*[bit] * 8),
}


def wanted(task: str, old: bool, row: tuple) -> list[float]:
    """What the reader must make of a row, written without its code."""
    if task == "va" and None in row:
        return [np.nan, np.nan]
    values = [np.nan if value is None else float(value) for value in row]
    if task == "au" and old:
        units = [np.nan] * 12
        for column, value in zip(COLUMNS_OF_OLD_UNITS, values, strict=True):
            if column is not None:
                units[column] = value
        return units
    return values


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    task=st.sampled_from(["va", "expr", "au"]),
    old=st.booleans(),
    decimals=st.booleans(),
    comma=st.sampled_from(["", ","]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.sampled_from(["", "\n", "\n\n"]),
    mark=st.booleans(),
)
def test_round_trip(tmp_path, data, task, old, decimals, comma, end, last, mark) -> None:
    rows = data.draw(st.lists(ROWS[task, old], min_size=1, max_size=8))
    if not last:
        rows.insert(0, rows[-1])  # a last row without its end, and with fewer decimals than all others, is cut off
    missing = ("-5" if task == "va" else "-1") + (".0" if decimals else "")
    lines = [(OLD_HEADERS if old else HEADERS)[task] + comma]
    lines += [",".join(missing if value is None else repr(value) for value in row) + comma for row in rows]
    content = (("\ufeff" if mark else "") + end.join(lines) + last).encode()
    path = tmp_path / "video1_left.txt"
    path.write_bytes(content)
    values, digest = read_labels(path, task)
    np.testing.assert_array_equal(values, [wanted(task, old, row) for row in rows])
    assert digest == hashlib.sha256(content).hexdigest()


FAULTS = {
    "valence of 3": ("va", "3,0.1", "valence is '3', expected a number from -1 to 1, or -5"),
    "arousal of -4": ("va", "0.1,-4", "arousal is '-4'"),
    "word": ("va", "high,0.1", "valence is 'high'"),
    "nan": ("va", "0.1,nan", "arousal is 'nan'"),
    "empty field": ("va", ",0.1", "valence is ''"),
    "one number": ("va", "0.1", "1 fields where 2 (valence,arousal) are expected"),
    "three numbers": ("va", "0.1,0.2,0.3", "3 fields where 2"),
    "blank line": ("va", "", "1 fields where 2"),
    "expression of 8": ("expr", "8", "expression is '8', expected a whole number from 0 to 7, or -1"),
    "expression of -2": ("expr", "-2", "expression is '-2'"),
    "half an expression": ("expr", "1.5", "expression is '1.5'"),
    "one-hot": ("expr", "0,0,1,0,0,0,0,0", "8 fields where 1 (expression)"),
    "blank expression": ("expr", "", "expression is ''"),
    "unit of 2": ("au", ",".join("00000000002") + ",2", "AU25 is '2', expected 0 or 1, or -1"),
    "half a unit": ("au", "0.5" + ",0" * 11, "AU1 is '0.5'"),
    "eleven units": ("au", "0" + ",0" * 10, "11 fields where 12 (AU1,"),
}
GOOD = {"va": "0.25,-0.5", "expr": "4", "au": ",".join("01" * 6)}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("position", [0, 3])
def test_a_faulty_row_is_named(tmp_path: Path, fault: str, position: int) -> None:
    task, row, message = FAULTS[fault]
    rows = [GOOD[task]] * 5
    rows[position] = row
    if position == 0:
        rows[4] = "x"  # a later fault, too
    path = tmp_path / "video1.txt"
    path.write_text("\n".join([HEADERS[task], *rows, ""]))
    with pytest.raises(DataError) as error:
        read_labels(path, task)
    assert f"{path}:{position + 2}: {message}" in str(error.value)
    assert "Correct the line" in str(error.value)
    assert "remove" not in str(error.value)  # all later rows would move to other frames


def test_an_old_expression_file_has_seven_classes(tmp_path: Path) -> None:
    path = tmp_path / "video1.txt"
    path.write_text(OLD_HEADERS["expr"] + "\n7\n")
    with pytest.raises(DataError, match=":2: expression is '7', expected a whole number from 0 to 6"):
        read_labels(path, "expr")


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        ("va", b"", "the file is empty"),
        ("va", b"\r\n\n", "the file is empty"),
        ("va", b"valence,arousal\n", "no row after the header"),
        ("va", b"0.1,0.2\n0.1,0.3", ":1: the header is missing, the first line is already a row ('0.1,0.2')"),
        ("expr", b"-1\n-1", "Put 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other' above it"),
        ("va", b"a,b,c\n0.1,0.2", ":1: the header is 'a,b,c', expected 'valence,arousal'"),
        ("au", b"valence,arousal\n0.1,0.2", "expected 'AU1,AU2,"),
        ("expr", b"valence,arousal\n0.1,0.2", "Is this a label file of data.task=expr?"),
        ("va", b"\xff\xd8\xff\xe0", "not a text file"),
    ],
)
def test_faulty_files(tmp_path: Path, task, content: bytes, message: str) -> None:
    path = tmp_path / "video1.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_labels(path, task)
    assert str(path) in str(error.value)
    assert message in str(error.value)


name = st.from_regex(r"[a-z0-9_-]{1,12}(_left|_right)?", fullmatch=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.lists(st.tuples(name, st.integers(1, 99999)), min_size=1, max_size=8),
    rest=st.sampled_from(["", ",", ",0.1,0.2", ",-1,", ",what,ever"]),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_lists_of_frames(tmp_path, frames, rest, end, mark) -> None:
    images = [f"{video}/{frame:05d}.jpg" for video, frame in frames]
    content = ("\ufeff" if mark else "") + end.join(["image_location,valence,arousal", *(i + rest for i in images)])
    path = tmp_path / "list.txt"
    path.write_bytes(content.encode())
    listed, digest = read_test_frames(path, "va")
    assert listed is not None
    assert listed.image == images
    assert listed.video == [video for video, _ in frames]
    assert listed.frame.tolist() == [frame for _, frame in frames]
    assert not listed.has_label.any()
    assert digest == hashlib.sha256(content.encode()).hexdigest()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    videos=st.lists(name, min_size=1, max_size=8, unique=True),
    suffix=st.sampled_from(["", ",", ".mp4", ".txt", ".avi,"]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_lists_of_videos(tmp_path, videos, suffix, end, last) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes((end.join(video + suffix for video in videos) + (end if last else "")).encode())
    assert read_test_frames(path, "expr")[0] is None
    assert read_test_videos(path) == videos


def test_faulty_lists(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("video1/00001.jpg,\nvideo1/00002.jpg,\n")
    with pytest.raises(DataError, match=r"list\.txt:1: the header is missing.*'image_location,AU1,AU2,"):
        read_test_frames(path, "au")
    path.write_text("image_location,valence,arousal\nvideo1/00001.jpg,\nvideo1/last.jpg,\n")
    with pytest.raises(DataError, match=r"list\.txt:3: the image is 'video1/last\.jpg'"):
        read_test_frames(path, "va")
    path.write_text("video1\nvideo2\nvideo1\n")
    with pytest.raises(DataError, match=r"list\.txt:3: video 'video1' is listed in line 1 already"):
        read_test_videos(path)
    path.write_text("video1\n\nvideo2\n")
    with pytest.raises(DataError, match=r"list\.txt:2: '' is not the name of one video"):
        read_test_videos(path)


def test_frame_counts_as_numbers_and_as_sentences(tmp_path: Path) -> None:
    path = tmp_path / "counts.txt"
    path.write_bytes(
        b"video1,120\r\n10-60-1280x720.mp4, 35,\r\n"
        b"The video video59_right has in total and altogether exactly 7 frames.\r\n"
    )
    counts, digest = read_frame_counts(path)
    assert counts == {"video1": 120, "10-60-1280x720": 35, "video59_right": 7}
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert frame_count("video1_left", counts) == 120
    assert frame_count("video1_right", counts) == 120
    assert frame_count("video59_right", counts) == 7
    assert frame_count("video59", counts) is None
    assert frame_count("video1_left_x", counts) is None


@pytest.mark.parametrize(
    "line", ["video1", "video1,", "video1,many", "video1,0", "video1,-3", ",4", "a,1,2", "", "a b"]
)
def test_faulty_frame_counts(tmp_path: Path, line: str) -> None:
    path = tmp_path / "counts.txt"
    path.write_text(f"video1,4\n{line}\nvideo2,3\n")
    with pytest.raises(DataError, match=r"counts\.txt:2: .*is not <video>,<number of frames>"):
        read_frame_counts(path)


def test_action_units_of_the_real_size_are_read_quickly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (20, 12))
    rows = [",".join(map(str, bits[i // 5000])) for i in range(100_000)]
    path = tmp_path / "video1.txt"
    path.write_text("\n".join([HEADERS["au"], *rows]))
    start = time.process_time()
    assert read_labels(path, "au")[0].shape == (100_000, 12)
    assert time.process_time() - start < 1  # about 0.03 s
