"""Random prediction tables of videos, for the tests of the post-processing."""

from __future__ import annotations

import numpy as np

from affect.labels import EXPRESSIONS
from evaluators.found import Found
from evaluators.table import Table

TASKS = {"valence_arousal": 2, "expression": 8, "action_units": 12}


def random_table(seed, *, rows=40, videos=3, spread=3, nulls=0.2, duplicates=True, shuffled=False, tasks=tuple(TASKS)):
    """Sparse frame numbers from 1, some rows null, some frames twice with other predictions, every video known."""
    random = np.random.default_rng(seed)
    video = np.sort(random.integers(videos, size=rows))
    video[:videos] = np.arange(videos)
    video.sort()
    frame = np.empty(rows, dtype=np.int64)
    for number in range(videos):
        of = video == number
        frame[of] = np.sort(random.choice(spread * of.sum(), size=of.sum(), replace=duplicates)) + 1 + number
    order = random.permutation(rows) if shuffled else np.arange(rows)
    video, frame = video[order], frame[order]
    null = random.random(rows) < nulls
    for number in range(videos):
        null[np.flatnonzero(video == number)[0]] = False
    values = {
        "valence_arousal": random.uniform(-1, 1, (rows, 2)),
        "expression": random.dirichlet(np.full(8, 0.3), rows),
        "action_units": random.random((rows, 12)) ** 3,
    }
    predictions = {task: values[task].astype(np.float32) for task in tasks}
    for of_task in predictions.values():
        of_task[null] = np.nan
    names = [f"video{number}" for number in video]
    image = [f"{name}/{number:05d}.jpg" for name, number in zip(names, frame, strict=True)]
    return Table(names, frame, image, predictions, EXPRESSIONS, {"experiment": "fake"}, f"{seed}.parquet")


def rows_of_frames(table):
    """For each video the first row with a prediction of each of its frames, and all of its listed frames."""
    known, listed = {}, {}
    for row, (video, frame) in enumerate(zip(table.video, table.frame.tolist(), strict=True)):
        listed.setdefault(video, set()).add(frame)
        if not table.null[row]:
            known.setdefault(video, {}).setdefault(frame, row)
    return known, listed


def filled_value(values, rows, frame, way):
    """What a frame without a prediction gets, by the definition: one frame at a time, in plain Python."""
    before = max((known for known in rows if known < frame), default=None)
    after = min((known for known in rows if known > frame), default=None)
    if before is None or after is None:
        return values[rows[after if before is None else before]].astype(np.float64)
    a, b = values[rows[before]].astype(np.float64), values[rows[after]].astype(np.float64)
    share = (frame - before) / (after - before)
    if way == "nearest":
        return b if share > 0.5 else a
    return (1 - share) * a + share * b if way == "linear" else share * a + (1 - share) * b


def people_table(seed: int, frames: int = 30, videos: int = 2) -> Table:
    """Up to three people in each frame, or nobody."""
    random = np.random.default_rng(seed)
    video, frame, person = [], [], []
    for name in range(videos):
        for number in range(1, frames + 1):
            there = [one for one in (1, 2, 3) if random.random() < 0.6] or [0]
            video += [f"clip, {name}"] * len(there)
            frame += [number] * len(there)
            person += there
    rows, face_id = len(frame), np.array(person)
    none = face_id == 0
    values = {"valence_arousal": random.uniform(-1, 1, (rows, 2)), "expression": random.dirichlet(np.ones(8), rows),
              "action_units": random.random((rows, 12)) ** 3}  # fmt: skip
    predictions = {task: np.where(none[:, None], np.nan, one).astype(np.float32) for task, one in values.items()}
    box = np.where(none[:, None], np.nan, random.uniform(-5, 500, (rows, 4))).astype(np.float32)
    score = np.where(none, np.nan, random.random(rows)).astype(np.float32)
    time = (np.array(frame) - 1) / 29.97
    time[:2] = np.nan
    found = Found(time, face_id, score, box)
    return Table(video, np.array(frame), ["a;b.mp4"] * rows, predictions, EXPRESSIONS, {"made": 1}, "people", found)
