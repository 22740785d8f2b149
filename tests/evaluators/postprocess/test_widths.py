"""Half-widths that are searched: the best of the grid, cross-fitted and stored like the other decisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affect.errors import UserError
from affect.frames import Frames
from evaluators.postprocess.chain import process
from evaluators.postprocess.crossing import cross_fitted
from evaluators.postprocess.options import PostProcess
from evaluators.postprocess.smoothing import PUBLISHED_K, smooth
from evaluators.postprocess.thresholds import search_thresholds
from evaluators.postprocess.widths import GRID, search_half_widths
from evaluators.predictions import score_table
from evaluators.table import Table
from tests.evaluators.fake import make_frames
from tests.evaluators.postprocess.test_blending import make_table

NAMES = {"valence_arousal": "P_VA", "expression": "P_EXPR", "action_units": "P_AU"}
BOX = {"smoothing": "box", "k": "search", "missing": "linear"}


@pytest.fixture(scope="module")
def made() -> tuple[Table, Frames]:
    """Labels that last, of every frame of six videos, and predictions with noise."""
    frames, random = make_frames(300, videos=6), np.random.default_rng(0)
    number = np.concatenate([np.arange(1, 51)] * 6)
    video = [f"video{place // 50}" for place in range(300)]
    lasting = np.repeat(random.integers(8, size=60), 5)
    units = np.repeat(random.random((30, 12)) < 0.3, 10, axis=0).astype(np.float32)
    affect = np.repeat(random.uniform(-1, 1, (6, 2)), 50, axis=0).astype(np.float32)
    frames = replace(
        frames, video=video, frame=number, expression=lasting, action_units=units, valence_arousal=affect
    )  # fmt: skip
    table = make_table(frames, 1, nulls=(0, 20, 21))
    said = np.clip(affect + random.normal(0, 0.5, (300, 2)), -1, 1).astype(np.float32)
    said[[0, 20, 21]] = np.nan
    return replace(table, predictions={**table.predictions, "valence_arousal": said}), frames


@pytest.mark.parametrize("thresholds", [0.5, "exact", "grid"])
@pytest.mark.parametrize("kind", ["box", "gaussian"])
def test_it_is_the_best_of_the_grid_and_none_is_in_it(
    made: tuple[Table, Frames], kind: str, thresholds: float | str
) -> None:
    table, frames = made
    found = search_half_widths(table, frames, kind, missing="linear", au_thresholds=thresholds)
    assert {0, *PUBLISHED_K.values()} <= set(GRID)
    for task, name in NAMES.items():
        scores = {}
        for k in GRID:
            smoothed = smooth(table, k, kind, missing="linear")
            limits = thresholds
            if isinstance(limits, str):
                limits = search_thresholds(limits, smoothed.predictions["action_units"], frames.action_units)[
                    0
                ].tolist()
            scores[k] = score_table(smoothed, frames, au_thresholds=limits)[name] or 0.0
        best = max(scores.values())
        assert found[task] == next(k for k in GRID if scores[k] > best - 1e-9), task
    assert found["valence_arousal"] >= 25  # its labels last a video
    assert found["expression"] <= 5


def test_a_task_without_labels_has_none_and_keeps_the_published_one(made: tuple[Table, Frames]) -> None:
    table, frames = made
    frames = replace(frames, valence_arousal=np.full((300, 2), np.nan, np.float32))
    done = process([table], frames, PostProcess.of(BOX))
    assert set(done.found["k"]) == {"expression", "action_units"}
    assert done.table.metadata["smoothed"]["k"]["valence_arousal"] == 50
    assert done.tuned == ("k",)
    nothing = replace(
        frames, expression=np.full(300, -1), action_units=np.full((300, 12), np.nan, np.float32)
    )  # fmt: skip
    with pytest.raises(UserError, match=r"postprocess\.k=search: this list has no label to search on"):
        process([table], nothing, PostProcess.of(BOX))


def test_it_is_stored_and_applied_to_another_list(made: tuple[Table, Frames], tmp_path: Path) -> None:
    table, frames = made
    done = process([table], frames, PostProcess.of(BOX))
    done.store(tmp_path / "postprocess.json", "val", frames)
    again = process([table], frames, PostProcess.of({**BOX, "k": str(tmp_path / "postprocess.json")}))
    for task in NAMES:
        np.testing.assert_array_equal(again.table.predictions[task], done.table.predictions[task])
    assert again.found == {}
    assert again.tuned == ("k",)  # the same label files


@pytest.mark.parametrize(
    ("k", "message"),
    [
        ('{"valence": 3}', "k is {'valence': 3}, expected numbers for valence_arousal, expression, action_units"),
        ('{"expression": 2.5}', "expected whole numbers of frames"),
        ('{"expression": -1}', "expected whole numbers of frames"),
        ("[3]", "expected numbers for"),
    ],
)
def test_a_faulty_file_is_refused(tmp_path: Path, k: str, message: str) -> None:
    path = tmp_path / "postprocess.json"
    path.write_text(f'{{"k": {k}, "searched_on": {{"label_files": {{}}}}}}')
    assert any(message in one for one in PostProcess.problems({"smoothing": "box", "k": str(path)}))
    (told,) = PostProcess.problems({"smoothing": "box", "k": str(tmp_path / "no.json")})
    assert (
        "no.json', and there is no such file; give the frames to either side, search, or the postprocess.json" in told
    )


def test_it_is_refused_where_nothing_is_smoothed_or_there_are_no_labels() -> None:
    assert PostProcess.problems({"k": "search"}) == [
        "postprocess.k smooths nothing by itself: give postprocess.smoothing=box, median or gaussian"
    ]
    (told,) = PostProcess.problems({"k": "search", "smoothing": "box"}, people=True)
    assert told == "postprocess.k=search needs labels: give the postprocess.json of a run that searched"


def test_it_is_cross_fitted(made: tuple[Table, Frames]) -> None:
    table, frames = made
    settings = PostProcess.of({**BOX, "cross_fit": 3})
    apart = cross_fitted(process([table], frames, settings), [table], frames, settings)
    fold = settings.folds_of(frames)
    rest, held = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    part = replace(
        table,
        video=[table.video[row] for row in rest],
        frame=table.frame[rest],
        image=[table.image[row] for row in rest],
        predictions={key: values[rest] for key, values in table.predictions.items()},
    )
    found = search_half_widths(part, frames.select(rest), "box", missing="linear")
    smoothed = smooth(table, found, missing="linear")  # no window reaches into another video
    for task in ("valence_arousal", "expression"):
        np.testing.assert_allclose(apart.table.predictions[task][held], smoothed.predictions[task][held], atol=1e-6)
    assert apart.tuned == ()
