from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from affect.errors import DataError
from affect.labels import AFFECTNET_EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.postprocess.filling import fill_nulls
from evaluators.postprocess.thresholds import PUBLISHED
from evaluators.submission import write_submission, write_uni_submission
from evaluators.table import Table


def make_table(rows, *, tasks=("valence_arousal", "expression", "action_units")):
    """A table from (video, frame, value or None); the value decides every prediction."""
    values = np.array([np.nan if value is None else value for _, _, value in rows], dtype=np.float32)[:, None]
    expression = np.where(
        np.isnan(values), values, np.eye(8, dtype=np.float32)[(np.nan_to_num(values[:, 0]) * 8).astype(int) % 8]
    )
    predictions = {
        "valence_arousal": np.concatenate([values, -values], axis=1),
        "expression": expression,
        "action_units": np.repeat(values, 12, axis=1),
    }
    return Table(
        video=[video for video, _, _ in rows],
        frame=np.array([frame for _, frame, _ in rows]),
        image=[f"{video}/{frame:05d}.jpg" for video, frame, _ in rows],
        predictions={task: predictions[task] for task in tasks},
        expressions=("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other"),
        metadata={},
        source="test.parquet",
    )


def test_nulls_are_filled_from_the_same_video_in_time():
    table = make_table([
        ("a", 1, None), ("a", 10, 0.2), ("a", 12, None), ("a", 19, None), ("a", 20, 0.8), ("a", 90, None),
        ("b", 13, 0.5), ("b", 14, None),
    ])  # fmt: skip
    filled, count = fill_nulls(table)
    assert count == 5
    valence = filled.predictions["valence_arousal"]
    np.testing.assert_allclose(valence[:, 0], [0.2, 0.2, 0.32, 0.74, 0.8, 0.8, 0.5, 0.5], atol=1e-6)
    np.testing.assert_allclose(valence[:, 1], -valence[:, 0])
    np.testing.assert_allclose(filled.predictions["action_units"][:, 3], [0.2, 0.2, 0.2, 0.8, 0.8, 0.8, 0.5, 0.5])
    assert filled.predictions["expression"].argmax(axis=1).tolist() == [1, 1, 1, 6, 6, 6, 4, 4]
    assert not filled.null.any()
    assert table.null.sum() == 5  # the original is not changed


def test_ties_duplicates_and_unordered_rows():
    table = make_table([("a", 30, 0.75), ("a", 20, None), ("a", 10, 0.25), ("a", 20, None), ("a", 10, 0.25)])
    filled, count = fill_nulls(table)
    assert count == 2
    np.testing.assert_allclose(filled.predictions["valence_arousal"][:, 0], [0.75, 0.5, 0.25, 0.5, 0.25])
    np.testing.assert_allclose(filled.predictions["action_units"][:, 0], [0.75, 0.25, 0.25, 0.25, 0.25])


def test_nothing_to_fill():
    table = make_table([("a", 1, 0.5)])
    assert fill_nulls(table) == (table, 0)


def test_a_video_without_any_prediction_is_an_error(tmp_path):
    table = make_table([("a", 1, 0.5), ("empty", 1, None), ("empty", 2, None)])
    with pytest.raises(DataError, match=r"video 'empty' has no prediction at all \(row 1, 2\)"):
        write_submission(table, tmp_path / "out.txt")
    assert list(tmp_path.iterdir()) == []


def test_the_file_follows_the_list_row_by_row(tmp_path, caplog):
    table = make_table([("b", 7, 0.51), ("a", 8, 0.125), ("a", 8, 0.125), ("a", 21, None)])
    with caplog.at_level(logging.WARNING):
        assert write_submission(table, tmp_path / "sub" / "out.txt") == 1
    assert "1 of 4 rows" in caplog.text
    on, off = ",".join("1" * 12), ",".join("0" * 12)
    assert (tmp_path / "sub" / "out.txt").read_bytes().decode() == (
        "image,valence,arousal,expression,aus\n"
        f"b/00007.jpg,0.5100,-0.5100,4,{on}\n"
        f"a/00008.jpg,0.1250,-0.1250,1,{off}\n"
        f"a/00008.jpg,0.1250,-0.1250,1,{off}\n"
        f"a/00021.jpg,0.1250,-0.1250,1,{off}\n"
    )


def test_thresholds_and_clipping(tmp_path):
    table = make_table([("a", 1, 0.5)])
    table.predictions["action_units"][0] = PUBLISHED
    table.predictions["valence_arousal"][0] = [1.3, -1.3]
    write_submission(table, tmp_path / "out.txt", au_thresholds="published")
    fields = (tmp_path / "out.txt").read_text().splitlines()[1].split(",")
    assert fields[1:3] == ["1.0000", "-1.0000"]
    assert fields[4:] == ["1"] * 12  # equal to the threshold is positive


def test_a_missing_task_is_an_error(tmp_path):
    table = make_table([("a", 1, 0.5)], tasks=("expression", "action_units"))
    with pytest.raises(DataError, match=r"test\.parquet: no predictions of valence_arousal"):
        write_submission(table, tmp_path / "out.txt")


def test_the_synthetic_data_challenge_takes_image_and_class(tmp_path):
    probabilities = np.eye(6, dtype=np.float32)[[5, 0, 2]]
    table = Table(
        video=["", "", ""],
        frame=np.arange(3),
        image=["0.jpg", "1.jpg", "2.jpg"],
        predictions={"expression": probabilities},
        expressions=LSD_EXPRESSIONS,
        metadata={},
        source="test.parquet",
    )
    assert write_submission(table, tmp_path / "submission.txt") == 0
    assert (tmp_path / "submission.txt").read_bytes() == b"image,expression\n0.jpg,5\n1.jpg,0\n2.jpg,2\n"
    probabilities[1] = np.nan
    with pytest.raises(DataError, match="no prediction of row 1"):
        write_submission(table, tmp_path / "other.txt")
    assert not (tmp_path / "other.txt").exists()


UNI_HEADERS = {
    "va": "valence,arousal",
    "expr": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "au": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
}
UNI_LINES = {
    "va": ["0.5100,-0.5100", "0.1250,-0.1250", "0.2250,-0.2250", "0.3250,-0.3250"],
    "expr": ["4", "1", "1", "2"],
    "au": [",".join("1" * 12), *[",".join("0" * 12)] * 3],
}
UNI_TASKS = {"va": "valence_arousal", "expr": "expression", "au": "action_units"}


@pytest.mark.parametrize("task", UNI_HEADERS)
@pytest.mark.parametrize("alone", [True, False])
def test_uni_task_file_follows_the_list_row_by_row(tmp_path, caplog, task, alone):
    rows = [("b_left", 1, 0.51), ("a", 1, 0.125), ("a", 2, None), ("a", 3, 0.325)]
    table = make_table(rows, **({"tasks": [UNI_TASKS[task]]} if alone else {}))
    with caplog.at_level(logging.WARNING):
        assert write_uni_submission(table, tmp_path / "predictions.txt", task) == 1
    assert "1 of 4 rows" in caplog.text
    images = ["b_left/00001.jpg", "a/00001.jpg", "a/00002.jpg", "a/00003.jpg"]
    lines = [f"image_location,{UNI_HEADERS[task]}"]
    lines += [f"{image},{line}" for image, line in zip(images, UNI_LINES[task], strict=True)]
    assert (tmp_path / "predictions.txt").read_bytes().decode() == "\n".join(lines) + "\n"


@pytest.mark.parametrize("task", UNI_HEADERS)
def test_a_file_per_video_has_a_line_per_frame(tmp_path, task):
    table = make_table([("b_left", 1, 0.51), ("a", 1, 0.125), ("a", 2, None), ("a", 3, 0.325)])
    assert write_uni_submission(table, tmp_path / "sub" / "va", task, per_video=True) == 1
    written = {path.name: path.read_text().splitlines() for path in (tmp_path / "sub" / "va").iterdir()}
    lines = UNI_LINES[task]
    assert written == {"b_left.txt": [UNI_HEADERS[task], lines[0]], "a.txt": [UNI_HEADERS[task], *lines[1:]]}
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["va"]
    with pytest.raises(DataError, match=r"va is not empty: give another folder"):
        write_uni_submission(table, tmp_path / "sub" / "va", task, per_video=True)


@pytest.mark.parametrize("frames", [(1, 3), (2, 3), (1, 1), (2, 1)])
def test_a_file_per_video_needs_every_frame_once_in_order(tmp_path, frames):
    table = make_table([("a", frame, 0.5) for frame in frames])
    with pytest.raises(DataError, match=r"row \d is frame \d of a where frame \d is expected"):
        write_uni_submission(table, tmp_path / "sub", "va", per_video=True)
    assert list(tmp_path.iterdir()) == []
    write_uni_submission(table, tmp_path / "predictions.txt", "va")


def test_what_a_uni_task_submission_refuses(tmp_path):
    table = make_table([("a", 1, 0.5)], tasks=("expression",))
    with pytest.raises(DataError, match=r"test\.parquet: no predictions of action_units"):
        write_uni_submission(table, tmp_path / "predictions.txt", "au")
    other = replace(table, expressions=AFFECTNET_EXPRESSIONS)
    with pytest.raises(DataError, match=r"its expressions are neutral, happiness.*numbers neutral, anger"):
        write_uni_submission(other, tmp_path / "predictions.txt", "expr")
    empty = make_table([("a", 1, 0.5), ("b", 1, None)])
    with pytest.raises(DataError, match="video 'b' has no prediction at all"):
        write_uni_submission(empty, tmp_path / "predictions.txt", "va")
    assert list(tmp_path.iterdir()) == []
