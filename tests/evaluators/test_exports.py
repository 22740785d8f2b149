"""Tables for other tools, read again by the rules of those tools and compared with what was predicted."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import UserError
from affect.labels import ACTION_UNITS, AFFECTNET_EXPRESSIONS, AU_NAMES, EXPRESSIONS, LSD_EXPRESSIONS
from evaluators.bids import entities, signals_of
from evaluators.episodes import stretches
from evaluators.exports import check_exports, elan, export_files, fex, openface
from evaluators.found import Found
from evaluators.table import Table, column_names

LIMITS = tuple(np.linspace(0.3, 0.7, 12))


def video(
    seed: int = 0,
    times: np.ndarray | None = None,
    people: int = 2,
    frames: np.ndarray | None = None,
    expressions: tuple[str, ...] = EXPRESSIONS,
) -> tuple[Table, Found]:
    """A video in which people come and go; a frame without a face is one row, and one face has no prediction."""
    random = np.random.default_rng(seed)
    frames = np.arange(1, 81) if frames is None else frames
    times = (frames - 1) / 25 if times is None else times
    rows = []
    for frame, time in zip(frames.tolist(), times.tolist(), strict=True):
        there = [person for person in range(1, people + 1) if (frame // 10 + person) % 4]
        rows += [(frame, time, person) for person in there or [0]]
    frame, time, face_id = (np.array(column) for column in zip(*rows, strict=True))
    n, none = len(rows), face_id == 0
    slow = np.sin(frame / 9 + 2 * face_id)[:, None]  # so that stretches are longer than a frame
    values = {
        "valence_arousal": np.clip(slow + random.normal(0, 0.1, (n, 2)), -1, 1),
        "expression": random.dirichlet(np.full(len(expressions), 0.4), n),
        "action_units": 1 / (1 + np.exp(-4 * slow * np.linspace(-1, 1, 12) - random.normal(0, 0.2, (n, 12)))),
    }
    values["expression"] = np.repeat(values["expression"][::7], 7, axis=0)[:n]
    for of_task in values.values():
        of_task[none] = np.nan
        of_task[np.flatnonzero(~none)[20:21]] = np.nan
    predictions = {task: of_task.astype(np.float32) for task, of_task in values.items()}
    score, box = random.random(n).astype(np.float32), random.uniform(0, 500, (n, 4)).astype(np.float32)
    score[none], box[none] = np.nan, np.nan
    found = Found(time, face_id, score, box)
    return Table(["a, b.mp4"] * n, frame, [""] * n, predictions, expressions, {}, "a.parquet", found), found


def only(table: Table, *tasks: str) -> Table:
    return dataclasses.replace(table, predictions={task: table.predictions[task] for task in tasks})


def read(text: str, **options: Any) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), **options)


def test_py_feat_finds_its_columns() -> None:
    table, found = video()
    fexed = read(fex(table, found))
    units = [column for column in fexed.columns if "AU" in column]  # the rule of py-feat
    assert units == [f"AU{unit:02d}" for unit in ACTION_UNITS]
    np.testing.assert_array_equal(fexed[units].to_numpy(np.float32), table.predictions["action_units"])
    assert {"valence", "arousal"} <= set(fexed.columns)  # then emotions have these names
    seven = fexed[["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger"]]
    null = table.null
    assert seven[null].isna().all(axis=None)
    np.testing.assert_allclose(seven[~null].sum(axis=1), 1, atol=1e-6)
    said = pd.DataFrame(table.predictions["expression"], columns=EXPRESSIONS)
    np.testing.assert_allclose(fexed["Happy"], said["happiness"] / (1 - said["other"]), rtol=1e-4)
    np.testing.assert_array_equal(fexed["other"].to_numpy(np.float32), said["other"])
    np.testing.assert_array_equal(
        fexed[["valence", "arousal"]].to_numpy(np.float32), table.predictions["valence_arousal"]
    )
    boxes = fexed[["FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"]]
    np.testing.assert_array_equal(boxes.to_numpy(np.float32), found.box)
    np.testing.assert_array_equal(fexed["FaceScore"].to_numpy(np.float32), found.detection_score)
    assert (fexed["frame"] == table.frame - 1).all()
    assert set(fexed["input"]) == {"a, b.mp4"}
    assert fexed["approx_time"].iloc[-1] == "00:03"
    numbers = fexed["Identity"].str.removeprefix("Person_").fillna(0).astype(int)
    assert (numbers == found.face_id).all()


def test_py_feat_of_other_models() -> None:
    table, found = video()
    first = read(fex(only(table, "expression"), found))
    assert {"anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "other"} <= set(first.columns)
    assert not {"Happy", "valence"} & set(first.columns)
    units = read(fex(only(table, "action_units"), found))
    assert [column for column in units.columns if "AU" in column] == [f"AU{unit:02d}" for unit in ACTION_UNITS]
    assert "neutral" not in units.columns
    contempt, found = video(expressions=AFFECTNET_EXPRESSIONS)
    both = read(fex(contempt, found))
    assert "contempt" in both.columns
    np.testing.assert_allclose(both.loc[~contempt.null, "Neutral":"Anger"].sum(axis=1), 1, atol=1e-6)


def test_pictures_without_times_go_to_py_feat_alone() -> None:
    table, found = video()
    rows = len(table)
    files, first = [f"{row}.jpg" for row in range(rows)], np.ones(rows, np.int64)
    pictures = dataclasses.replace(table, video=[str(row) for row in range(rows)], image=files, frame=first)
    timeless = dataclasses.replace(found, timestamp=np.full(len(table), np.nan))
    fexed = read(fex(pictures, timeless))
    assert fexed["approx_time"].isna().all()
    assert fexed["input"].tolist() == files
    assert fexed["Identity"].isna().all()  # the first face of one picture is not that of the next
    for name in ("openface", "elan", "bids"):
        with pytest.raises(UserError, match=rf"^export={name} is for one video, and a\.parquet is of \d+ sources"):
            export_files([name], pictures, "a")
        with pytest.raises(UserError, match=rf"^export={name} needs the time of each frame, and those of a\.parquet"):
            export_files([name], dataclasses.replace(table, found=timeless), "a")


def test_openface_is_read_as_openface() -> None:
    table, found = video()
    text = openface(table, found, thresholds=LIMITS)
    assert text.startswith("frame, face_id, timestamp, confidence, success, AU01_c, AU02_c, AU04_c, AU06_c, ")
    faces = read(text, sep=",")
    faces.columns = faces.columns.str.strip(" ")  # the rule of read_openface
    names = [f"AU{unit:02d}_c" for unit in ACTION_UNITS]
    assert list(faces.columns[5:]) == [*(name for name in names if name != "AU24_c"), "AU24_c"]
    assert not [column for column in faces.columns if column.endswith("_r")]
    seen = ~table.null
    assert (faces["success"] == seen).all()
    expected = np.array([[value >= limit for value, limit in zip(row, LIMITS, strict=True)]
                         for row in table.predictions["action_units"].astype(np.float64)])  # fmt: skip
    assert (faces[names].to_numpy() == (expected & seen[:, None])).all()
    assert 0.1 < faces.loc[seen, names].to_numpy().mean() < 0.9
    assert (faces["frame"] == table.frame).all()
    np.testing.assert_array_equal(faces["timestamp"], found.timestamp)
    assert (faces["face_id"] == found.face_id).all()
    np.testing.assert_array_equal(faces["confidence"].to_numpy(np.float32), np.nan_to_num(found.detection_score))


def plain_episodes(table: Table, found: Found, shortest: float) -> set[tuple[int, str, int, int]]:
    """Person, name, first and last frame of each episode, one frame at a time; the frames have 25 a second."""
    rows = {key: row for row, key in enumerate(zip(table.frame.tolist(), found.face_id.tolist(), strict=True))}
    shown = {}
    for (frame, person), row in rows.items():
        if person and not table.null[row]:
            said = table.predictions["action_units"][row]
            present = {f"AU{unit:02d}" for unit, value, limit in zip(ACTION_UNITS, said, LIMITS, strict=True)
                       if value >= np.float32(limit)}  # fmt: skip
            shown[frame, person] = present | {EXPRESSIONS[int(table.predictions["expression"][row].argmax())]}
    made = set()
    for (frame, person), names in shown.items():
        for name in names:
            if name not in shown.get((frame - 1, person), set()):
                last = frame
                while name in shown.get((last + 1, person), set()):
                    last += 1
                if (last + 1 - frame) / 25 >= shortest - 1e-9:
                    made.add((person, name, frame, last))
    return made


@pytest.mark.parametrize(("people", "shortest"), [(2, 0.2), (1, 0.2), (2, 0.0), (3, 0.5)])
def test_elan_gets_the_stretches_that_a_person_would_count(people: int, shortest: float) -> None:
    table, found = video(people=people)
    lines = elan(table, found, thresholds=LIMITS, shortest=shortest).splitlines()
    tiers: dict[str, list[tuple[float, float]]] = {}
    read_again = set()
    for line in lines:
        tier, begin, end, value = line.split("\t")
        tiers.setdefault(tier, []).append((float(begin), float(end)))
        name, _, person = tier.partition("@person")
        assert bool(person) == (people > 1)
        first, after = (round(25 * float(time)) + 1 for time in (begin, end))
        read_again.add((int(person or 1), value if name == "expression" else name, first, after - 1))
        assert name == "expression" or 0.3 <= float(value) <= 1
    assert read_again == plain_episodes(table, found, shortest)
    for times in tiers.values():  # ELAN takes no overlap in a tier
        assert all(begin < end for begin, end in times)
        assert all(one[1] <= other[0] for one, other in pairwise(sorted(times)))


def test_bids_events_are_the_same_episodes() -> None:
    table, found = video()
    files = export_files(["bids"], table, "clip 1", thresholds=LIMITS)
    text = files["sub-clip1_task-video_events.tsv"].decode()
    events = read(text, sep="\t")
    assert list(events.columns[:2]) == ["onset", "duration"]
    assert events["onset"].is_monotonic_increasing
    first, after = (25 * events["onset"]).round() + 1, (25 * (events["onset"] + events["duration"])).round() + 1
    named = zip(events["face_id"], events["trial_type"], first.astype(int), after.astype(int) - 1, strict=True)
    assert set(named) == plain_episodes(table, found, 0.2)
    about = json.loads(files["sub-clip1_task-video_events.json"])
    assert set(events.columns[2:]) <= set(about)
    assert about["AUThresholds"] == pytest.approx(LIMITS)


def physio(files: dict[str, bytes], stem: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    about = json.loads(files[f"{stem}.json"])
    text = gzip.decompress(files[f"{stem}.tsv.gz"]).decode()
    return read(text, sep="\t", header=None, names=about["Columns"]), about


def test_bids_signals_of_a_constant_rate_are_the_frames() -> None:
    frames = np.delete(np.arange(1, 81), [30, 31])  # two are lost in the stream
    table, found = video(frames=frames, times=np.round((frames - 1) / 25 + 0.04, 3))
    files = export_files(["bids"], table, "sub-01_task-rest_run-2_video")
    for person in (1, 2):
        signals, about = physio(files, f"sub-01_task-rest_run-2_recording-face{person}_physio")
        assert list(signals.columns) == [name for task in table.tasks for name in column_names(task)]
        assert (about["SamplingFrequency"], about["StartTime"], len(signals)) == (25, 0.04, 80)
        assert about["Resampling"].startswith("none")
        expected = np.full((80, 12), np.nan)
        rows = found.face_id == person
        expected[table.frame[rows] - 1] = table.predictions["action_units"][rows]
        np.testing.assert_allclose(signals[list(AU_NAMES)], expected, atol=1e-6)
        assert np.isnan(expected[30:32]).all()


def test_bids_signals_of_a_varying_rate_are_resampled_to_the_mean() -> None:
    random = np.random.default_rng(3)
    times = np.cumsum(random.choice([0.02, 0.04, 0.11], 80)) - 0.02
    table, found = video(times=times, people=1)
    # what changes evenly in time can be told at any time
    table.predictions["valence_arousal"][:, 0] = np.where(table.null, np.nan, found.timestamp / 10)
    files = export_files(["bids"], table, "a")
    signals, about = physio(files, "sub-a_task-video_recording-face1_physio")
    assert about["SamplingFrequency"] == pytest.approx(79 / (times[-1] - times[0]), abs=1e-5)
    assert about["Resampling"] == "linear, from 80 frames of a variable rate to its mean"
    assert len(signals) == 80
    at = times[0] + np.arange(80) * (times[-1] - times[0]) / 79
    known = signals["valence"].notna().to_numpy()
    missing = np.interp(at, times, np.isnan(np.interp(times, found.timestamp, np.where(table.null, np.nan, 1.0))))
    assert known[missing == 0].all()
    assert not known[missing == 1].any()
    inside = known & (missing == 0)
    np.testing.assert_allclose(signals["valence"][inside], at[inside] / 10, atol=1e-5)
    np.testing.assert_allclose(signals.loc[known, "expr_neutral":"expr_other"].sum(axis=1), 1, atol=1e-5)


def test_a_video_without_a_face_has_no_signal() -> None:
    table, _ = video(people=0)
    files = export_files(["fex", "openface", "elan", "bids"], table, "a")
    assert set(files) == {"a_fex.csv", "a_openface.csv", "a_elan.txt", "sub-a_task-video_events.tsv",
                          "sub-a_task-video_events.json"}  # fmt: skip
    assert files["a_elan.txt"] == b""
    faces = read(files["a_openface.csv"].decode(), skipinitialspace=True)
    assert (len(faces), faces["success"].sum()) == (80, 0)
    assert read(files["a_fex.csv"].decode())["AU12"].isna().all()


def test_one_frame() -> None:
    table, found = video(frames=np.array([1]), people=1)
    _, signals, about = signals_of(table, found, 1)
    assert (len(signals), about["SamplingFrequency"]) == (1, 1)
    assert elan(table, found, shortest=0.2) == ""


@pytest.mark.parametrize(
    ("exports", "tasks", "expressions", "message"),
    [
        (
            ["fex", "eaf"],
            ["expression"],
            EXPRESSIONS,
            "^export=eaf: no such form; there are: bids, elan, fex, openface$",
        ),
        (
            ["fex"],
            ["valence_arousal"],
            EXPRESSIONS,
            "^export=fex needs action units or expression, of which this model",
        ),
        (["openface"], ["expression"], EXPRESSIONS, "^export=openface needs action units, of which"),
        (["elan"], ["valence_arousal"], EXPRESSIONS, "^export=elan needs "),
        (["fex"], ["expression"], LSD_EXPRESSIONS, "^export=fex has seven expressions, of which .* not know neutral"),
        (["openface", "fex"], ["expression"], LSD_EXPRESSIONS, "^export=openface needs .*; export=fex has seven"),
    ],
)
def test_what_a_model_cannot_fill(exports: list[str], tasks: list[str], expressions: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_exports(exports, tasks, expressions)


def test_a_table_of_crops_has_no_people() -> None:
    table, _ = video()
    with pytest.raises(UserError, match=r"^a\.parquet does not say when and where its faces are"):
        export_files(["fex"], dataclasses.replace(table, found=None), "a")


def test_pictures_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(UserError, match=r"^export=elan is for videos, and photos has pictures: only fex takes these$"):
        check_exports(["fex", "elan"], ["expression"], EXPRESSIONS, ["photos"])


def test_what_a_model_can_fill() -> None:
    check_exports(["bids"], ["valence_arousal"], EXPRESSIONS)
    check_exports(["elan", "bids"], ["expression"], LSD_EXPRESSIONS)
    check_exports(["fex", "openface", "elan", "bids"], ["action_units"], LSD_EXPRESSIONS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_task-rest_video", "sub-01_task-rest"),
        ("sub-01_ses-2_task-rest_run-1", "sub-01_ses-2_task-rest_run-1"),
        ("my clip (é).x", "sub-myclipex_task-video"),
        ("sub-01", "sub-sub01_task-video"),
        ("…", "sub-unnamed_task-video"),
    ],
)
def test_names_of_bids(name: str, expected: str) -> None:
    assert entities(name) == expected


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(-1, 2)), max_size=30))
def test_stretches_cover_each_frame_once(steps: list[tuple[int, int]]) -> None:
    frames = np.cumsum([step for step, _ in steps], dtype=np.int64)
    state = np.array([shown for _, shown in steps], dtype=np.int64)
    covered = []
    ends = list(stretches(frames, state))
    for first, last in ends:
        assert len(set(state[first : last + 1].tolist())) == 1
        assert frames[last] - frames[first] == last - first
        covered += range(first, last + 1)
    assert covered == np.flatnonzero(state >= 0).tolist()
    for (_, last), (first, _) in pairwise(ends):  # none could be longer
        assert not (first == last + 1 and state[first] == state[last] and frames[first] == frames[last] + 1)
