from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image

from evaluators.faces import FACES, FILE, SIDE, caption, choose_rows, write_faces
from evaluators.table import table_of_rows
from tests.evaluators.fake import make_frames, make_predictions

THRESHOLDS = [0.5] * 12


def make_table(frames, predicted=None, tasks=("valence_arousal", "expression", "action_units")):
    rows = np.arange(len(frames.frame)) if predicted is None else predicted
    predictions = make_predictions(frames)
    return table_of_rows(frames, rows, {task: predictions[task].numpy()[rows] for task in tasks}, {}, "a table")


def pictures(readable=lambda row: True):
    def read(rows, side):
        for row in filter(readable, rows):
            yield row, np.full((side, side, 3), row % 256, np.uint8)

    return read


def texts(lines):
    return [(line.name, [word.text for word in line.words]) for line in lines]


def write(folder, table, frames, read):
    write_faces(folder, table, frames, read, au_thresholds=THRESHOLDS, split="val")


def test_sixteen_faces_are_drawn(tmp_path):
    frames = make_frames(200)
    write(tmp_path, make_table(frames), frames, pictures())
    content = (tmp_path / FILE).read_bytes()
    with Image.open(tmp_path / FILE) as drawing:
        greys = [colour for count, colour in drawing.getcolors(2**16) if count == SIDE**2 and len({*colour}) == 1]
    assert len(greys) == FACES
    write(tmp_path / "again", make_table(frames), frames, pictures())
    assert (tmp_path / "again" / FILE).read_bytes() == content


def test_without_images_or_predictions_nothing_is_drawn(tmp_path):
    frames = make_frames(20)
    write(tmp_path, make_table(frames), frames, pictures(lambda row: False))
    write(tmp_path, make_table(frames, np.zeros(0, np.int64)), frames, pictures())
    assert not (tmp_path / FILE).exists()


def test_few_faces_and_single_tasks_are_drawn(tmp_path):
    frames = make_frames(30)
    for tasks in (["expression"], ["valence_arousal"], ["action_units"]):
        write(tmp_path, make_table(frames, tasks=tasks), frames, pictures(lambda row: row in (3, 4)))
        assert (tmp_path / FILE).is_file()
        (tmp_path / FILE).unlink()


def test_rows_with_all_labels_and_other_videos_come_first():
    frames = make_frames(300, videos=20)
    predicted = np.arange(10, 300)
    rows = choose_rows(make_table(frames, predicted), frames)
    assert len(set(rows)) == len(rows) >= FACES
    assert set(rows) <= set(predicted.tolist())
    whole = ~np.isnan(frames.action_units).any(axis=1) & ~np.isnan(frames.valence_arousal).any(axis=1)
    whole &= frames.expression >= 0
    count = int(whole[predicted].sum())
    assert whole[rows[:count]].all()
    labelled = {frames.video[row] for row in predicted[whole[predicted]]}
    assert {frames.video[row] for row in rows[: len(labelled)]} == labelled
    assert choose_rows(make_table(frames, predicted), frames, seed=1) != rows


def test_missing_labels_are_told_and_wrong_predictions_marked():
    frames = make_frames(2, missing=0.0)
    frames.valence_arousal[:] = [[0.25, -1.0], [np.nan, np.nan]]
    frames.expression[:] = [3, -1]
    frames.action_units[:] = 0
    frames.action_units[0, [0, 1]] = 1  # AU1 and AU2
    frames.action_units[0, 3] = np.nan  # AU6
    frames.action_units[1] = np.nan
    table = make_table(frames)
    units = np.zeros((2, 12), np.float32)
    units[0, [0, 2, 3]] = 0.5  # AU1, AU4 and AU6
    scores = np.tile(np.eye(8, dtype=np.float32)[4], (2, 1))
    affect = np.array([[0.5, 0.125], [-0.5, 0.0]], np.float32)
    table = replace(table, predictions={"valence_arousal": affect, "expression": scores, "action_units": units})

    known, unknown = (caption(table, frames, row, THRESHOLDS) for row in (0, 1))
    assert texts(known.beside[1:]) == [
        ("", ["fear", "happiness"]),
        ("valence", ["+0.25", "+0.50"]),
        ("arousal", ["-1.00", "+0.12"]),
    ]
    assert texts(known.below) == [("AU label", ["1", "2"]), ("predicted", ["1", "4", "6"])]
    right, wrong, not_known = (word.colour for word in known.below[1].words)
    assert len({right, wrong, not_known}) == 3
    assert known.beside[1].words[1].colour == wrong == known.below[0].words[1].colour
    assert texts(unknown.beside[1:])[0] == ("", ["no label", "happiness"])
    assert texts(unknown.below) == [("AU label", ["no label"]), ("predicted", ["none"])]
