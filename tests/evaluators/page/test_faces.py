"""The faces of a report: the best and the worst of each task against a plain reference."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.page.faces import EACH, errors, extremes, faces_card
from evaluators.table import table_of_rows
from tests.evaluators.fake import make_frames, make_predictions

HALF = (0.5,) * 12


def make_table(frames, predicted=None):
    rows = np.arange(len(frames.frame)) if predicted is None else predicted
    said = {task: values.numpy()[rows] for task, values in make_predictions(frames).items()}
    return table_of_rows(frames, rows, said, {}, "a table")


def grey(rows, side):
    for row in rows:
        yield row, np.full((side, side, 3), row % 256, np.uint8)


def test_errors_are_those_of_each_row():
    frames = make_frames(60)
    table = make_table(frames, np.arange(5, 60))
    made = {task: errors(task, table, frames) for task in table.tasks}
    for row in range(60):
        affect, label, units = frames.valence_arousal[row], frames.expression[row], frames.action_units[row]
        said = {task: table.predictions[task][row] for task in table.tasks}
        known = ~np.isnan(units)
        expected = {
            "valence_arousal": np.sqrt(((said["valence_arousal"] - affect) ** 2).sum()),
            "expression": 1 - said["expression"][label] if label >= 0 else np.nan,
            "action_units": np.abs(said["action_units"] - units)[known].mean() if known.any() else np.nan,
        }
        for task, value in expected.items():
            assert made[task][row] == pytest.approx(value, abs=1e-6, nan_ok=True), (task, row)
    assert np.isnan(made["expression"][:5]).all()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.none() | st.floats(0, 1, width=16)), max_size=40),
    st.integers(1, 6),
)
def test_extremes_take_turns_over_the_videos(rows, most):
    off = np.array([np.nan if value is None else value for _, value in rows], np.float32)
    video = np.array([one for one, _ in rows], np.int64)

    def in_turns(order):
        waiting, chosen = list(order), []
        while waiting:
            seen = set()
            for row in list(waiting):
                if rows[row][0] not in seen:
                    seen.add(rows[row][0])
                    chosen.append(row)
                    waiting.remove(row)
        return chosen[:most]

    order = sorted((row for row in range(len(rows)) if rows[row][1] is not None), key=lambda row: (off[row], row))
    middle = (len(order) + 1) // 2
    best, worst = extremes(off, video, most)
    assert best.tolist() == in_turns(order[:middle])
    assert worst.tolist() == in_turns(order[middle:][::-1])


def test_sixteen_of_each_kind_are_shown_with_what_is_said_of_them():
    frames = make_frames(200, videos=40)
    table = make_table(frames)
    card = faces_card(table, frames, grey, HALF)
    assert re.findall(r"<summary>(.*?)</summary>", card) == [
        "Valence and arousal: the best and the worst",
        "Expression: the best and the worst",
        "Action units: the best and the worst",
    ]
    groups = card.split("<div class=faces>")[1:]
    assert [group.count("<figure>") for group in groups] == [EACH] * 7
    assert card.count("data:image/jpeg") == 7 * EACH
    heads = [[float(value) for value in re.findall(r"<p><b>\D*([\d.]+)</b></p>", group)] for group in groups]
    assert not heads[0]
    off = errors("valence_arousal", table, frames)
    assert heads[1][0] == pytest.approx(np.nanmin(off), abs=0.00501)
    assert heads[2][0] == pytest.approx(np.nanmax(off), abs=0.00501)
    labelled = 1 - errors("expression", table, frames)
    assert heads[3][0] == pytest.approx(np.nanmax(labelled), abs=0.00501)
    assert heads[4][0] == pytest.approx(np.nanmin(labelled), abs=0.00501)
    assert "class=right" in groups[3]
    assert "class=right" not in groups[4]
    assert "AU label" not in groups[1]
    assert "valence" not in groups[5]


def test_pictures_that_cannot_be_read_are_replaced_by_the_next():
    frames = make_frames(60)

    def odd(rows, side):
        return grey((row for row in rows if row % 2), side)

    groups = faces_card(make_table(frames), frames, odd, HALF).split("<div class=faces>")[1:]
    assert min(group.count("<figure>") for group in groups) >= 8
    assert faces_card(make_table(frames), frames, lambda rows, side: iter(()), HALF) == ""


def test_a_task_without_labels_has_no_best():
    frames = make_frames(30)
    frames.expression[:] = -1
    table = make_table(frames)
    assert "Expression: the best" not in faces_card(table, frames, grey, HALF)
    alone = replace(table, predictions={"action_units": table.predictions["action_units"]})
    assert re.findall(r"<summary>(.*?):", faces_card(alone, frames, grey, HALF)) == ["Action units"]
