"""How much fitted decisions flatter: the drawn logits, the gains of a draw, and a study that goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.errors import ConfigError
from benchmarks.studies import optimism
from benchmarks.studies.optimism import GAINS, SCORES, SEARCHES, Draws, a_part_each, drawn, lines, lists, study
from evaluators.postprocess.options import PostProcess
from evaluators.predictions import score_table
from evaluators.sums import sums


def test_the_logits_are_of_drawn_videos_and_a_function_of_the_seed() -> None:
    table, frames, of_video = drawn(3, 12)
    again, *_ = drawn(3, 12)
    assert np.array_equal(table.predictions["expression"], again.predictions["expression"])
    assert sorted(set(frames.video)) == [f"video{index:05d}" for index in range(12)]
    assert np.array_equal(np.unique(of_video, return_counts=True)[1] >= 14, np.ones(12, bool))
    assert np.allclose(table.predictions["expression"].sum(axis=1), 1, atol=1e-5)
    scores = score_table(table, frames)
    assert 0.15 < (scores["ACC_EXPR"] or 0) < 0.9
    assert (table.predictions["action_units"][frames.action_units == 1].mean()
            > table.predictions["action_units"][frames.action_units == 0].mean() + 0.2)  # fmt: skip


def test_videos_take_turns_in_whose_rule_decides_them() -> None:
    table, frames, of_video = drawn(0, 7)
    thresholds = (0.2, 0.5, 0.9)
    each = a_part_each([sums(table, frames, au_thresholds=one).only(SCORES) for one in thresholds])
    limit = np.array(thresholds)[of_video % 3][:, None]
    said = (table.predictions["action_units"] >= limit).astype(np.float32)
    plain = score_table(replace(table, predictions={**table.predictions, "action_units": said}), frames)
    assert each.scores()[0].tolist() == pytest.approx([plain[name] for name in SCORES])
    weights = lists(65)
    assert weights.shape == (2, 65)
    assert weights.sum(axis=0).tolist() == [1] * 60 + [0] * 5
    assert weights.sum(axis=1).tolist() == [30, 30]


@pytest.mark.slow
def test_the_gains_are_those_of_a_plain_computation_and_a_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains = study(tmp_path, 0, 2, 30)
    path = tmp_path / "optimism.json"
    whole = path.read_text()
    of = Draws(0, 2, 30)
    table, frames = of.only(of.order[:30])
    settings = PostProcess(au_thresholds="exact")
    done = optimism.process([table], frames, settings)
    before, after = (score_table(table, frames, au_thresholds=one)["P_AU"] for one in (0.5, done.au_thresholds))
    assert before is not None
    assert after is not None
    named = dict(zip(GAINS, gains[0]["exact"]["P_AU"], strict=True))
    assert named["self-fitted"] == pytest.approx(after - before)
    assert named["self-fitted"] >= max(named["cross-fitted"], 0)
    fresh, labels = of.only(of.order[30:])  # all that are left
    decided = score_table(fresh, labels, au_thresholds=done.au_thresholds)["P_AU"]
    assert named["of the one rule"] == pytest.approx((decided or 0) - (score_table(fresh, labels)["P_AU"] or 0))
    rows = list(lines(gains))
    assert [row[0] for row in rows[1:]] == [f"{score}, {search}" for search in SEARCHES for score in SCORES]
    content = json.loads(whole)
    path.write_text(json.dumps({**content, "gains": content["gains"][:1]}))  # stopped after the first draw
    assert study(tmp_path, 0, 2, 30) == gains
    assert path.read_text() == whole
    monkeypatch.setattr(optimism, "Draws", None)  # a finished one draws nothing
    assert study(tmp_path, 0, 2, 30) == gains
    with pytest.raises(ConfigError, match=r"optimism\.json is of .*'seed': 0.*, not of .*'seed': 1"):
        study(tmp_path, 1, 2, 30)
    path.write_text("{")
    with pytest.raises(ConfigError, match="is damaged: remove it, or give another folder"):
        study(tmp_path, 0, 2, 30)
