from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import DataError
from evaluators.postprocess.filling import fill_nulls
from tests.evaluators.tables import filled_value, random_table, rows_of_frames


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    fill=st.sampled_from(["linear", "reversed", None]),
    nulls=st.sampled_from([0.0, 0.3, 0.9]),
    shuffled=st.booleans(),
)
def test_filling_against_one_frame_at_a_time(seed, fill, nulls, shuffled):
    table = random_table(seed, nulls=nulls, shuffled=shuffled)
    filled, count = fill_nulls(table, fill)
    assert count == table.null.sum()
    known, _ = rows_of_frames(table)
    for task, values in table.predictions.items():
        way = fill or ("linear" if task == "valence_arousal" else "nearest")
        for row in range(len(table)):
            rows, frame = known[table.video[row]], int(table.frame[row])
            if not table.null[row]:
                expected = values[row]
            elif frame in rows:
                expected = values[rows[frame]]
            else:
                expected = filled_value(values, rows, frame, way)
            np.testing.assert_allclose(filled.predictions[task][row], expected, rtol=2e-7, atol=1e-9)
    np.testing.assert_allclose(filled.predictions["expression"].sum(axis=1), 1, atol=1e-6)


def test_the_weights_of_the_two_ways():
    table = random_table(0, rows=2, videos=1, nulls=0, duplicates=False)
    three = dataclasses.replace(
        table,
        video=["a"] * 3,
        frame=np.array([10, 12, 20]),
        image=["x"] * 3,
        predictions={"valence_arousal": np.array([[0, 0], [np.nan, np.nan], [1, -1]], dtype=np.float32)},
    )
    assert fill_nulls(three, "linear")[0].predictions["valence_arousal"][1] == pytest.approx([0.2, -0.2])
    assert fill_nulls(three, "reversed")[0].predictions["valence_arousal"][1] == pytest.approx([0.8, -0.8])


def test_what_cannot_be_filled():
    table = random_table(1)
    table.predictions["expression"][[name == "video1" for name in table.video]] = np.nan
    with pytest.raises(DataError, match=r"video 'video1' has no prediction at all.*postprocess\.fallback={"):
        fill_nulls(table, "linear")
    pictures = dataclasses.replace(random_table(1), frame=np.arange(40))
    with pytest.raises(DataError, match="single pictures, not videos"):
        fill_nulls(pictures, "linear")
