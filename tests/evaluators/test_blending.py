from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from evaluators.blending import average
from evaluators.predictions import TableError, read_table, write_table
from evaluators.table import Table
from tests.evaluators.fake import make_frames, make_predictions


def make_table(frames, seed, nulls=()):
    predictions = {key: value.numpy().copy() for key, value in make_predictions(frames, seed=seed).items()}
    for values in predictions.values():
        values[list(nulls)] = np.nan
    expressions = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
    metadata = {"experiment": f"run{seed}", "label_files": frames.files}
    return Table(frames.video, frames.frame, frames.image, predictions, expressions, metadata, f"{seed}.parquet")


def test_the_mean_of_what_is_there(tmp_path):
    frames = make_frames(30)
    tables = [
        make_table(frames, 1, nulls=[4, 5]),
        make_table(frames, 2, nulls=[5, 6]),
        make_table(frames, 3, nulls=[5]),
    ]
    mean = average(tables)
    assert np.flatnonzero(mean.null).tolist() == [5]
    for key, values in mean.predictions.items():
        stack = np.stack([table.predictions[key] for table in tables]).astype(np.float64)
        rows = np.setdiff1d(np.arange(30), [5])
        np.testing.assert_allclose(values[rows], np.nanmean(stack[:, rows], axis=0), rtol=1e-6)
        assert values.dtype == np.float32
    write_table(mean, tmp_path / "mean.parquet")
    again = read_table(tmp_path / "mean.parquet")
    assert [made["experiment"] for made in again.metadata["mean_of"]] == ["run1", "run2", "run3"]
    assert again.files == frames.files


def test_one_table_is_itself():
    table = make_table(make_frames(5), 1)
    assert average([table]) is table


def test_what_cannot_be_averaged():
    frames = make_frames(10)
    one = make_table(frames, 1)
    with pytest.raises(TableError, match="at least one"):
        average([])
    with pytest.raises(TableError, match="different lists"):
        average([one, make_table(make_frames(11), 1)])
    without = dataclasses.replace(one, predictions={"expression": one.predictions["expression"]})
    with pytest.raises(TableError, match="average tables with the same columns"):
        average([one, without])
