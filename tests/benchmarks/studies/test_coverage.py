"""Intervals and comparisons on simulated predictions; the whole study is slow."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.studies.coverage import SCORES, simulate, study, world
from evaluators.sums import sums


def test_the_simulation_is_like_the_real_lists() -> None:
    rng = np.random.default_rng(0)
    of = world(rng, 400)
    first, second = simulate(rng, of, 2)
    classes = [len(set(of.frames.expression[of.video == video])) for video in range(400)]
    assert 1.5 < np.mean(classes) < 4  # of eight
    assert 0.2 < np.mean(of.frames.expression == 7) < 0.4
    scores = sums(first, of.frames).named()
    assert all(0.3 < scores[name] < 0.9 for name in ("P_VA", "P_EXPR", "P_AU"))
    assert len(sums(first, of.frames)) == 400
    assert not np.array_equal(first.predictions["expression"], second.predictions["expression"])


@pytest.mark.slow
def test_intervals_hold_the_truth_and_comparisons_are_seldom_wrong() -> None:
    found = study(1000, 0)
    coverage, errors = found["coverage"], found["type-I error"]
    for videos, low, high in ((200, 0.93, 0.97), (60, 0.90, 0.98)):
        held = dict(zip(SCORES, coverage[f"{videos} videos"]["studentised"], strict=True))
        assert [name for name in SCORES if not low <= held[name] <= high] == [], held
        for runs, least in (("one run", 0.03), ("three runs", 0.02)):
            wrong = dict(zip(SCORES, errors[f"{runs} each, {videos} videos"], strict=True))
            assert [name for name in SCORES if not least <= wrong[name] <= 0.08] == [], wrong
    assert max(coverage["200 videos"]["frames as units"]) < 0.5
