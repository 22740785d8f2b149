from __future__ import annotations

import numpy as np
import pytest

from rendering import video


def signature(stream: int, index: int, seed: int = 0) -> tuple[float, ...]:
    person = video.draw_person(seed, stream, index)
    return (person.width, person.eye_x, person.mouth_width, *person.skin)


def test_no_two_streams_videos_or_seeds_share_a_person():
    people = [signature(stream, index, seed) for seed in (0, 1) for stream in range(4) for index in range(40)]
    assert len(set(people)) == len(people)


def test_people_vary():
    people = np.array([signature(video.TRAIN, index) for index in range(100)])
    assert np.all(people.std(axis=0) > [1.0, 0.5, 0.5, 20, 20, 20])


def test_a_video_is_a_function_of_seed_stream_and_index():
    one, two = (video.draw_video(7, video.TRAIN, 5, 10) for _ in range(2))
    assert np.array_equal(one.units, two.units)
    assert np.array_equal(one.background, two.background)
    assert one.moments[3].pose == two.moments[3].pose
    assert not np.array_equal(one.units, video.draw_video(7, video.TRAIN, 6, 10).units)


def test_trajectories_are_smooth_and_frames_sparse():
    for index in range(20):
        seen = video.draw_video(0, video.TRAIN, index, 30)
        assert seen.frames[0] == 1
        gaps = np.diff(seen.frames)
        assert gaps.min() >= 4
        assert gaps.max() <= 9
        yaw = np.array([moment.pose.yaw for moment in seen.moments])
        assert np.abs(np.diff(yaw) / gaps).max() < 0.04
        assert seen.units.min() >= 0
        assert seen.units.max() <= 1
        assert seen.expression.sum(axis=1) == pytest.approx(1.0)


def test_expressions_come_and_go_over_several_frames():
    frames = np.arange(1, 400)
    partial = [
        (video.episodes(0, video.TRAIN, index, frames)[1].max(axis=1) < 0.95).sum() for index in range(30)
    ]  # frames of each video on the way from one expression to the next
    assert sum(count > 4 for count in partial) > 10


def test_expressions_last_as_long_as_asked_for_and_each_comes_as_often():
    frames = np.arange(1, 401)
    shown = np.zeros(8)
    for index in range(30):
        units, weights = video.episodes(0, video.UNI_TRAIN, index, frames, (20, 60))
        assert weights.sum(axis=1) == pytest.approx(1.0)
        assert units.min() >= 0
        assert units.max() <= 1
        kinds = weights.argmax(axis=1)
        changes = np.flatnonzero(np.diff(kinds))
        lengths = np.diff(changes)
        assert len(changes) >= 4  # 400 / 60, less those where the same one follows
        assert lengths.min() >= 20 - 1
        shown += np.bincount(kinds, minlength=8)
    assert (shown / shown.sum()).min() > 0.06
    assert (shown / shown.sum()).max() < 0.21
    longer, _ = video.episodes(0, video.UNI_TRAIN, 0, frames[:300], (20, 60))
    assert longer.shape == (300, 2, 16)


def test_consecutive_videos_are_spread_evenly():
    spread = np.stack([video.spread(0, video.TRAIN, index) for index in range(400)])
    counts = np.stack([np.histogram(column, 10, (0, 1))[0] for column in spread.T])
    assert counts.min() >= 30
    assert counts.max() <= 52
    assert np.abs(np.corrcoef(spread.T) - np.eye(spread.shape[1])).max() < 0.1


def test_portraits_show_one_frame():
    seen = video.draw_portrait(0, video.AFFECTNET_TRAIN, 1, "contempt")
    assert seen.units.shape == (1, 2, 16)
    assert len(seen.moments) == 1
