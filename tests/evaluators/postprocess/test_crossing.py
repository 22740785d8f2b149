from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from affect.errors import DataError, UserError
from affect.folds import base_video
from evaluators.postprocess.chain import process
from evaluators.postprocess.crossing import cross_fitted
from evaluators.postprocess.options import PostProcess
from evaluators.predictions import score_table
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table

ALL = {"temperature": "search", "expression_biases": "search", "au_thresholds": "exact", "smoothing": "box", "k": 2}


def crossed(frames, tables, **keys):
    settings = PostProcess.of(keys, len(tables))
    done = process(tables, frames, settings)
    return done, cross_fitted(done, tables, frames, settings)


def test_a_video_is_decided_by_rules_that_were_fitted_on_the_others():
    frames = make_frames(300, videos=9)
    tables = [make_table(frames, 1, nulls=(3,)), make_table(frames, 2)]
    keys = {**ALL, "weights": "search"}
    done, apart = crossed(frames, tables, **keys, cross_fit=3)
    fold = PostProcess.of({**keys, "cross_fit": 3}, 2).folds_of(frames)
    number = fold[0]
    held = fold == number
    # other labels of the fold change nothing in it, and something outside of it
    planted = dataclasses.replace(
        frames,
        valence_arousal=np.where(held[:, None], -frames.valence_arousal, frames.valence_arousal),
        expression=np.where(held & (frames.expression >= 0), 7 - frames.expression, frames.expression),
        action_units=np.where(held[:, None], 1 - frames.action_units, frames.action_units),
    )
    settings = PostProcess.of({**keys, "cross_fit": 3}, 2)
    np.testing.assert_array_equal(settings.folds_of(planted), fold)  # which labels there are deals no video
    other = cross_fitted(process(tables, planted, settings), tables, planted, settings)
    for key, values in apart.table.predictions.items():
        np.testing.assert_array_equal(values[held], other.table.predictions[key][held])
        assert (values[~held] != other.table.predictions[key][~held]).any()
    assert apart.tuned == ()
    assert set(done.tuned) == {"weights", "temperature", "expression_biases", "au_thresholds"}


def test_both_scores_are_those_of_a_plain_computation():
    frames = make_frames(240, videos=8)
    table = make_table(frames, 1)
    keys = {"au_thresholds": "exact", "cross_fit": 4}
    done, apart = crossed(frames, [table], **keys)
    fold = PostProcess.of(keys).folds_of(frames)
    said = np.zeros((240, 12), dtype=bool)
    values = table.predictions["action_units"]
    for number in range(4):
        for unit in range(12):
            known = (fold != number) & ~np.isnan(frames.action_units[:, unit])
            positive = frames.action_units[known, unit] == 1
            tried = np.unique(values[known, unit])[::-1]
            f1 = [2 * np.sum(positive & (values[known, unit] >= one)) /
                  (np.sum(values[known, unit] >= one) + positive.sum()) for one in tried]  # fmt: skip
            said[fold == number, unit] = values[fold == number, unit] >= tried[int(np.argmax(f1))]
    np.testing.assert_array_equal(apart.table.predictions["action_units"], said)
    np.testing.assert_array_equal(apart.table.predictions["expression"], table.predictions["expression"])
    by_unit = []
    for unit in range(12):
        known = ~np.isnan(frames.action_units[:, unit])
        label, told = frames.action_units[known, unit] == 1, said[known, unit]
        by_unit.append(2 * np.sum(label & told) / (label.sum() + told.sum()))
    score = score_table(apart.table, frames, au_thresholds=apart.au_thresholds)["P_AU"]
    assert score == pytest.approx(np.mean(by_unit), abs=1e-9)
    assert done.table is table
    assert score < score_table(done.table, frames, au_thresholds=done.au_thresholds)["P_AU"]


def test_without_cross_fit_nothing_changes_and_folds_keep_people_of_a_video_together():
    frames = make_frames(60, videos=6)
    done, apart = crossed(frames, [make_table(frames, 1)], au_thresholds="grid")
    assert apart is done
    people = [f"v{int(name[-1]) // 2}{'_left' if int(name[-1]) % 2 else ''}" for name in frames.video]
    fold = PostProcess(cross_fit=3).folds_of(dataclasses.replace(frames, video=people))
    assert len({(base_video(name), one) for name, one in zip(people, fold.tolist(), strict=True)}) == 3


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"cross_fit": 5}, "nothing is: give"),
        ({"cross_fit": 1, "au_thresholds": "exact"}, "cross_fit is 1"),
        ({"cross_fit": True, "au_thresholds": "exact"}, "cross_fit is True"),
        ({"cross_fit": 2, "au_thresholds": "exact", "blend": "raw"}, "no fold is apart"),
    ],
)
def test_folds_without_use_are_refused(keys, message):
    with pytest.raises(UserError, match=message):
        PostProcess.of(keys, 2)


def test_lists_that_cannot_be_folded_are_refused():
    frames = make_frames(60, videos=3)
    table = make_table(frames, 1)
    with pytest.raises(DataError, match="5 folds of 3 videos"):
        crossed(frames, [table], au_thresholds="exact", cross_fit=5)
    one = [frames.video[0] == name for name in frames.video]
    only = dataclasses.replace(frames, expression=np.where(one, frames.expression, -1))
    with pytest.raises(UserError, match=r"cross_fit=3: without the videos of fold \d: .*no label of an expression"):
        crossed(only, [table], expression_biases="grid", cross_fit=3)
