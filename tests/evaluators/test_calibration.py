from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.labels import AU_NAMES
from evaluators.calibration import (
    calibration_scores,
    pooled,
    reliability,
    reliability_of,
    reliability_panels,
    video_mean,
)
from evaluators.postprocess.coverage import fit_coverage, with_bounds
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table


def plain_ece(probabilities, true, bins):
    """The definition, bin by bin and frame by frame."""
    total = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [
            (p, hit)
            for p, hit in zip(probabilities, true, strict=True)
            if low <= p < high or (index == bins - 1 and p == 1)
        ]
        if inside:
            said = sum(p for p, _ in inside) / len(inside)
            share = sum(bool(hit) for _, hit in inside) / len(inside)
            total += len(inside) / len(probabilities) * abs(said - share)
    return total


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60),
    bins=st.sampled_from([1, 2, 8, 16]),
)
def test_the_error_is_that_of_a_plain_loop(values, bins):
    # thousandths, and bins whose edges are exact: which side of an edge a value is on is then no question of rounding
    probabilities = [thousandth / 1000 for thousandth, _ in values]
    true = [hit for _, hit in values]
    found = reliability_of(np.array(probabilities), np.array(true), bins)
    assert found.ece == pytest.approx(plain_ece(probabilities, true, bins), abs=1e-12)
    assert found.count.sum() == len(values)
    assert 0 <= found.ece <= 1


def test_each_task_of_a_table():
    frames = make_frames(200)
    table = make_table(frames, 1, nulls=(0, 5))
    found = reliability(table, frames)
    assert list(found) == ["expression", *AU_NAMES]
    rows = ~table.null & (frames.expression >= 0)
    likeliest = table.predictions["expression"][rows]
    hit = likeliest.argmax(axis=1) == frames.expression[rows]
    assert found["expression"].ece == pytest.approx(plain_ece(likeliest.max(axis=1).tolist(), hit, 15), abs=1e-9)
    scores = calibration_scores(table, frames)
    errors = []
    for column, name in enumerate(AU_NAMES):
        rows = ~table.null & ~np.isnan(frames.action_units[:, column])
        values = table.predictions["action_units"][rows, column].tolist()
        errors.append(plain_ece(values, frames.action_units[rows, column] == 1, 15))
        assert scores[f"ECE_AU{name.removeprefix('au')}"] == pytest.approx(errors[-1], abs=1e-9)
    assert scores["ECE_AU"] == pytest.approx(np.mean(errors), abs=1e-9)
    assert list(scores)[:2] == ["ECE_EXPR", "ECE_AU"]


def test_what_has_no_labels_is_left_out():
    frames = make_frames(50)
    table = make_table(frames, 1)
    units = np.full((50, 12), np.nan, dtype=np.float32)
    units[:, 2] = 1
    some = dataclasses.replace(frames, action_units=units, expression=np.full(50, -1))
    assert list(calibration_scores(table, some)) == ["ECE_AU", "ECE_AU4"]
    none = dataclasses.replace(some, action_units=np.full((50, 12), np.nan, dtype=np.float32))
    assert calibration_scores(table, none) == {}
    assert reliability_panels(reliability(table, none)) == []


def test_bounds_are_scored_by_video():
    frames = make_frames(300, videos=25)
    table = make_table(frames, 1, nulls=(4,))
    table = with_bounds(table, fit_coverage(table, frames, 0.7))
    scores = calibration_scores(table, frames)
    inside, width, size = {}, {}, {}
    for row in range(300):
        if table.null[row]:
            continue
        name, label = frames.video[row], frames.valence_arousal[row, 1]
        if not np.isnan(label):
            low, high = table.bounds.intervals["arousal"][row]
            inside.setdefault(name, []).append(low <= label <= high)
            width.setdefault(name, []).append(float(high) - float(low))
        if frames.expression[row] >= 0:
            size.setdefault(name, []).append(table.bounds.classes[row].sum())

    def mean(of_videos):
        return np.mean([np.mean(one) for one in of_videos.values()])

    assert scores["COVERAGE_A"] == pytest.approx(mean(inside), abs=1e-6)
    assert scores["WIDTH_A"] == pytest.approx(mean(width), abs=1e-6)
    assert scores["SIZE_EXPR"] == pytest.approx(mean(size), abs=1e-6)
    assert 0.7 <= scores["COVERAGE_V"] < 0.8  # the list that it was fitted on: a little more than was asked for
    assert video_mean(np.array([1, 0, 1]), np.array([7, 7, 2])) == 0.75


def test_the_diagram():
    frames = make_frames(200)
    table = make_table(frames, 1)
    found = reliability(table, frames)
    panels = reliability_panels(found)
    assert panels == reliability_panels(found)  # the same run gives the same bytes
    for svg in panels:
        ET.fromstring(svg)
    titles = [title for svg in panels for title in re.findall(r">([^<]*, ECE [^<]*)<", svg)]
    scores = calibration_scores(table, frames)
    assert titles == [f"Expressions, ECE {scores['ECE_EXPR']:.3f}", f"Action units, ECE {scores['ECE_AU']:.3f}"]
    (only,) = reliability_panels({name: one for name, one in found.items() if name != "expression"})
    assert "Expressions" not in only
    assert "Action units" in only


def test_units_together_are_their_frames_pooled():
    random = np.random.default_rng(0)
    values, true = random.random((2, 40)), random.random((2, 40)) < 0.4
    both = pooled([reliability_of(*one) for one in zip(values, true, strict=True)])
    whole = reliability_of(values.ravel(), true.ravel())
    for name in ("count", "said", "true"):
        np.testing.assert_allclose(getattr(both, name), getattr(whole, name), atol=1e-12)
