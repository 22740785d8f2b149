"""What a report draws of its videos over time, decoded again and compared with the table."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest

from affect.frames import Frames
from affect.labels import EXPRESSIONS
from evaluators.page.videos import CELLS, LONGEST, VIDEOS, video_card, video_data
from evaluators.table import table_of_rows
from tests.evaluators.fake import make_frames, make_predictions


def make_table(frames, predicted=None):
    rows = np.arange(len(frames.frame)) if predicted is None else predicted
    said = {task: values.numpy()[rows] for task, values in make_predictions(frames).items()}
    return table_of_rows(frames, rows, said, {}, "a table")


def decoded(video, columns):
    """The cells of a video, and the values of each task; NaN where there is none."""
    cell = np.frombuffer(base64.b64decode(video["cell"]), "<u2")
    made = {}
    for task, series in columns.items():
        values = np.frombuffer(base64.b64decode(video[task]), np.uint8).reshape(series, len(cell)).astype(float)
        made[task] = np.where(values == 255, np.nan, values)
    return cell, made


def test_each_frame_has_its_label_and_its_prediction():
    frames = make_frames(60)
    table = make_table(frames, np.arange(4, 60))
    data = video_data(table, frames)
    assert [video["name"] for video in data["videos"]] == list(dict.fromkeys(frames.video))
    assert [name for name, _ in data["expressions"]] == list(EXPRESSIONS)
    assert len(data["units"]) == 12
    for video in data["videos"]:
        rows = np.flatnonzero(np.array(frames.video) == video["name"])
        cell, said = decoded(video, {"valence_arousal": 8, "expression": 3, "action_units": 24})
        assert (video["width"], video["rows"]) == (1, len(rows))
        assert (video["first"] + cell).tolist() == frames.frame[rows].tolist()
        affect = said["valence_arousal"].reshape(2, 4, -1) / 254 * 2 - 1
        np.testing.assert_allclose(affect[:, 0], frames.valence_arousal[rows].T, atol=0.005)
        for kind in (1, 2, 3):  # a frame is its own least, mean and greatest
            np.testing.assert_allclose(affect[:, kind], table.predictions["valence_arousal"][rows].T, atol=0.005)
        label, likely, share = said["expression"]
        np.testing.assert_array_equal(np.nan_to_num(label, nan=-1), frames.expression[rows])
        known = ~table.null[rows]
        predicted = table.predictions["expression"][rows]
        np.testing.assert_array_equal(np.isnan(likely), ~known)
        np.testing.assert_array_equal(likely[known], predicted[known].argmax(axis=1))
        np.testing.assert_allclose(share[known] / 254, predicted[known].max(axis=1), atol=0.003)
        units = said["action_units"].reshape(12, 2, -1) / 254
        np.testing.assert_allclose(units[:, 0], frames.action_units[rows].T, atol=0.003)
        np.testing.assert_allclose(units[:, 1], table.predictions["action_units"][rows].T, atol=0.003)


def test_frames_that_share_a_cell_are_least_mean_and_greatest():
    length = 3 * LONGEST
    rng = np.random.default_rng(0)
    frames = Frames(
        ["clip"] * length, np.arange(1, length + 1), [f"{row}.jpg" for row in range(length)],
        np.tile(np.array([0.5, -0.5], np.float32), (length, 1)), np.zeros(length, np.int64),
        np.zeros((length, 12), np.float32), {},
    )  # fmt: skip
    affect = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    order = rng.permutation(length)
    frames, table = frames.select(order), table_of_rows(frames, np.arange(length), {"valence_arousal": affect}, {}, "a")
    table = replace(table, frame=frames.frame, predictions={"valence_arousal": affect[order]})
    (video,) = video_data(table, frames)["videos"]
    cell, said = decoded(video, {"valence_arousal": 8})
    assert (video["width"], len(cell)) == (3, LONGEST)
    of_cells = affect.reshape(LONGEST, 3, 2)
    expected = np.stack([of_cells.min(axis=1), of_cells.mean(axis=1), of_cells.max(axis=1)])
    made = said["valence_arousal"].reshape(2, 4, -1)[:, 1:] / 254 * 2 - 1
    np.testing.assert_allclose(made, expected.transpose(2, 0, 1), atol=0.005)


def test_many_videos_share_the_room_and_the_longest_stay():
    counts = [40 + number % 7 for number in range(VIDEOS + 50)]
    video = [f"v{number:03d}" for number, count in enumerate(counts) for _ in range(count)]
    frame = np.concatenate([np.arange(1, 1 + 300 * count, 300) for count in counts])
    rows = len(video)
    frames = Frames(
        video, frame, [""] * rows, np.zeros((rows, 2), np.float32), np.zeros(rows, np.int64),
        np.zeros((rows, 12), np.float32), {},
    )  # fmt: skip
    table = table_of_rows(frames, np.arange(rows), {"valence_arousal": np.zeros((rows, 2), np.float32)}, {}, "a table")
    data = video_data(table, frames)
    assert (len(data["videos"]), data["left_out"]) == (VIDEOS, 50)
    assert "50 shorter videos are left out" in video_card(data)
    kept = [counts[int(one["name"][1:])] for one in data["videos"]]
    assert sorted(kept) == sorted(counts)[50:]
    assert data["expressions"] == data["units"] == []
    cells = [len(base64.b64decode(one["cell"])) // 2 for one in data["videos"]]
    assert sum(cells) <= CELLS
    assert max(np.frombuffer(base64.b64decode(one["cell"]), "<u2").max() for one in data["videos"]) < CELLS // VIDEOS


@pytest.mark.parametrize("frame", [np.arange(20), np.ones(20, np.int64)], ids=["row numbers", "one frame each"])
def test_single_pictures_have_no_time(frame):
    frames = make_frames(20)
    frames = replace(frames, frame=frame, video=[f"v{row}" for row in range(20)])
    assert video_data(make_table(frames), frames) is None
    assert video_card(None) == ""
