"""Windows of a store: what stands in them, how they lie on videos, and that nothing else decides what is drawn."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from affect.errors import ConfigError, DataError
from features.planning import filled, moved, pieces, windows
from features.windows import WindowBatches, WindowsDataModule
from tests.features.windows import Listed, Video, frames_of, values, windows_of, write_store

A = Video(listed=[1, 2, 3, 4, 5, 6, 7, 8], known=[2, 3, 6, 8])
VIDEOS = {"a": A, "bb": Video([1, 2], [1, 2]), "ccc": Video([1, 2, 3], [])}


@given(st.integers(1, 60), st.integers(1, 20), st.data())
def test_windows_cover_a_video_as_a_loop_lays_them(length: int, window: int, data: st.DataObject) -> None:
    hop = data.draw(st.integers(1, window))
    expected, start = [], 0
    while start + window < length:
        expected.append(start)
        start += hop
    expected.append(max(length - window, 0))
    spans = windows(length, window, hop)
    assert spans.start.tolist() == expected
    assert spans.stop.tolist() == [min(one + window, length) for one in expected]
    for number, done in enumerate(spans.done):
        later = expected[number + 1 :]
        assert done == min(later, default=length)
    covered = {position for start, stop in zip(spans.start, spans.stop, strict=True) for position in range(start, stop)}
    assert covered == set(range(length))


@given(st.integers(1, 60), st.integers(1, 20))
def test_pieces_follow_one_another(length: int, size: int) -> None:
    spans = pieces(length, size)
    assert [p for start, stop in zip(spans.start, spans.stop, strict=True) for p in range(start, stop)] == [
        *range(length)
    ]
    assert spans.done.tolist() == spans.stop.tolist()


@given(st.lists(st.integers(0, 40), unique=True, max_size=12), st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_missing_frames_take_the_nearest_or_the_previous_features(known: list[int], frames: list[int]) -> None:
    known = sorted(known)
    nearest = [min(known, key=lambda one: (abs(one - frame), one), default=None) for frame in frames]
    previous = [max((one for one in known if one <= frame), default=None) for frame in frames]
    for fill, expected in (("nearest", nearest), ("previous", previous)):
        chosen = filled(np.array(frames), np.array(known, dtype=np.int64), fill)
        assert [known[one] if one >= 0 else None for one in chosen] == expected


def batches(data: WindowsDataModule, split: str = "train") -> list[dict[str, Any]]:
    loader = data.train_dataloader() if split == "train" else data._evaluation_loader(split)
    return list(loader)


def test_a_batch_holds_the_windows_as_the_contract_says(tmp_path: Path) -> None:
    data = windows_of(tmp_path, {"a": A}, eval_batch_size=9)
    (batch,) = batches(data, "val")
    assert batch["start"].tolist() == [0, 3, 4]
    assert batch["done"].tolist() == [3, 4, 8]
    assert batch["present"].all()
    assert batch["row"].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [4, 5, 6, 7]]
    has = [2, 2, 3, 3, 6, 6, 6, 8]  # 7 is as near to 6 as to 8: the earlier
    assert batch["seen"].tolist() == [[frame in A.known for frame in range(s + 1, s + 5)] for s in (0, 3, 4)]
    expected = values("a", has)
    for features, start in zip(batch["features"].numpy(), (0, 3, 4), strict=True):
        np.testing.assert_array_equal(features, expected[start : start + 4])
    np.testing.assert_array_equal(batch["expression"][1].numpy(), frames_of({"a": A}).expression[3:7])
    assert batch["known"].tolist() == batch["at"].tolist() == [*range(8)]


def test_short_videos_are_padded_and_padding_alone_is_not_present(tmp_path: Path) -> None:
    data = windows_of(tmp_path, {"bb": VIDEOS["bb"]})
    (batch,) = batches(data, "val")
    assert batch["present"].tolist() == batch["seen"].tolist() == [[True, True, False, False]]
    assert batch["row"].tolist() == [[0, 1, -1, -1]]
    assert not batch["features"][0, 2:].any()
    assert torch.isnan(batch["valence_arousal"][0, 2:]).all()
    assert batch["expression"][0, 2:].tolist() == [-1, -1]


def test_previous_features_and_zeros_before_the_first(tmp_path: Path) -> None:
    data = windows_of(tmp_path, {"a": A}, fill="previous", max_frames=100)
    (batch,) = batches(data, "val")
    assert batch["features"].shape == (1, 8, 3)
    assert not batch["features"][0, 0].any()
    np.testing.assert_array_equal(batch["features"][0, 1:].numpy(), values("a", [2, 3, 3, 3, 6, 6, 8]))


def test_listed_rows_or_every_frame(tmp_path: Path) -> None:
    sparse = {"a": Video([6, 2, 10, 2], [2, 4, 6, 10])}
    data = windows_of(tmp_path, sparse, grid="rows")
    (batch,) = batches(data, "val")
    assert batch["row"].tolist() == [[1, 0, 2, -1]]
    np.testing.assert_array_equal(batch["features"][0, :3].numpy(), values("a", [2, 6, 10]))
    assert batch["known"].tolist() == [1, 3, 0, 2]
    assert batch["at"].tolist() == [0, 0, 1, 2]
    every = windows_of(tmp_path, sparse, grid="frames", max_frames=50)
    (batch,) = batches(every, "val")
    assert batch["row"].tolist() == [[-1, 1, -1, -1, -1, 0, -1, -1, -1, 2]]
    assert batch["seen"].tolist() == [[frame in (2, 4, 6, 10) for frame in range(1, 11)]]


def test_of_a_frame_that_is_listed_twice_each_value_teaches_once(tmp_path: Path) -> None:
    videos = {"a": Video([1, 1, 2], [1, 2])}
    frames = frames_of(videos)
    affect = frames.valence_arousal.copy()
    affect[0] = np.nan
    units = frames.action_units.copy()
    units[0, :6], units[:, 11] = np.nan, np.nan
    frames = replace(frames, valence_arousal=affect, action_units=units)
    (batch,) = batches(windows_of(tmp_path, videos, frames))
    np.testing.assert_array_equal(batch["valence_arousal"][0, 0], affect[1])
    assert batch["expression"][0, 0] == frames.expression[0]
    np.testing.assert_array_equal(batch["action_units"][0, 0], [*units[1, :6], *units[0, 6:]])


def test_several_stores_stand_side_by_side(tmp_path: Path) -> None:
    (batch,) = batches(windows_of(tmp_path, {"a": A}, stores=2, max_frames=8), "val")
    assert batch["features"].shape == (1, 8, 7)
    has = [2, 2, 3, 3, 6, 6, 6, 8]
    np.testing.assert_array_equal(batch["features"][0].numpy(), np.hstack([values("a", has), values("a", has, 4)]))


def test_stores_of_other_frames_are_refused(tmp_path: Path) -> None:
    one = write_store(tmp_path / "one", {"a": A})
    two = write_store(tmp_path / "two", {"a": A._replace(known=[2, 3, 7, 8])})
    data = WindowsDataModule([str(one), str(two)], Listed({"a": A}), image_size=1, window=4, hop=2, batch_size=1)
    with pytest.raises(DataError, match=r"one and .*two are stores of other frames: 2 of video a .* frame 6 for one"):
        data.setup("fit")


def test_training_draws_the_windows_with_a_labelled_frame_that_has_features(tmp_path: Path) -> None:
    videos = {"a": Video(range(1, 21), [1, 2, 18]), "bb": Video([1, 2], [1])}
    frames = frames_of(videos)
    numbers = np.arange(len(frames))
    bare = replace(
        frames,
        valence_arousal=np.full_like(frames.valence_arousal, np.nan),
        action_units=np.full_like(frames.action_units, np.nan),
        expression=np.where((numbers == 0) | (numbers == 9) | (numbers == 20), 1, -1),
    )
    data = windows_of(tmp_path, videos, bare, hop=4)
    assert [column.tolist() for column in data.training_windows] == [[0, 1], [0, 0]]
    nothing = replace(bare, expression=np.full(len(frames), -1))
    with pytest.raises(DataError, match=r"no frame of the training videos has both features in .*store0 and a label"):
        windows_of(tmp_path, videos, nothing)._check_batches()


def drawn(data: WindowsDataModule, epoch: int, rank: int = 0, world_size: int = 1) -> list[tuple[str, int]]:
    """The windows of an epoch."""
    video, start = data.training_windows
    sampler = WindowBatches(
        np.arange(len(start)), data.batch_size, seed=data.seed, rank=rank, world_size=world_size, video=video,
        start=start, data=data,
    )  # fmt: skip
    sampler.set_epoch(epoch)
    plans = data.plans("train")
    return [(plans[v].video, int(s)) for cut in sampler for v, s in zip(cut.video, cut.start, strict=True)]


LONG = {name: Video(range(1, 60), range(1, 60)) for name in ("a", "bb", "ccc")}


def test_the_order_is_of_seed_and_epoch_and_processes_share_it(tmp_path: Path) -> None:
    data, again = (windows_of(tmp_path / name, LONG, seed=3) for name in "xy")
    assert drawn(data, 1) == drawn(again, 1) != drawn(data, 2)
    assert drawn(windows_of(tmp_path / "z", LONG, seed=4), 1) != drawn(data, 1)
    whole = drawn(data, 1)
    halves = [drawn(data, 1, rank, 2) for rank in (0, 1)]
    assert len(halves[0]) == len(halves[1])
    together = [one for step in range(0, len(halves[0]), 2) for half in halves for one in half[step : step + 2]]
    assert together == whole[: len(together)]


def test_random_starts_are_of_seed_epoch_and_video_alone(tmp_path: Path) -> None:
    data = windows_of(tmp_path / "all", LONG, random_starts=True, window=10, hop=6)
    alone = windows_of(tmp_path / "one", {"bb": LONG["bb"]}, random_starts=True, window=10, hop=6, batch_size=1)
    seen = set()
    for epoch in range(8):
        of_bb = sorted(start for video, start in drawn(data, epoch) if video == "bb")
        assert of_bb == sorted(start for _, start in drawn(alone, epoch))
        fixed = windows(59, 10, 6).start
        moves = {m for m in range(-3, 4) if of_bb == (fixed + m).clip(0, 49).tolist()}
        assert moves
        seen |= moves
    assert len(seen) > 2
    assert drawn(data, 0) == drawn(windows_of(tmp_path / "more", LONG, random_starts=True, window=10, hop=6), 0)
    assert moved(np.array([0]), 5, 9, 3, (0, 0, "a")).tolist() == [0]


@pytest.mark.parametrize("random_starts", [False, True])
def test_loader_processes_change_nothing(tmp_path: Path, random_starts: bool) -> None:
    options = {"random_starts": random_starts, "window": 10, "hop": 6}
    alone, helped = (windows_of(tmp_path / str(n), LONG, num_workers=n, **options) for n in (0, 2))
    for split in ("train", "val"):
        for one, other in zip(batches(alone, split), batches(helped, split), strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert torch.equal(one[name].nan_to_num(9), other[name].nan_to_num(9))


def test_videos_go_to_processes_as_wholes_and_each_gets_as_many_batches(tmp_path: Path) -> None:
    videos = {**VIDEOS, "dddd": Video(range(1, 31), range(1, 31))}
    data = windows_of(tmp_path, videos)
    ranks = [data.cuts("val", rank, 3) for rank in range(3)]
    assert len({len(cuts) for cuts in ranks}) == 1
    assert [len(list(cuts)) for cuts in ranks] == [len(cuts) for cuts in ranks]
    of_rank = [{data.plans("val")[v].video for cut in cuts for v in cut.video} for cuts in ranks]
    assert sorted(name for names in of_rank for name in names) == ["a", "bb", "dddd"]
    unreadable = [cut.unreadable.tolist() for cuts in ranks for cut in cuts if len(cut.unreadable)]
    assert unreadable == [[10, 11, 12]]  # of the video without features


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 5}, r"data\.hop=5: windows of data\.window=4 frames would leave out"),
        ({"eval_hop": 9}, r"data\.eval_hop=9: windows of data\.window=4"),
    ],
)
def test_hops_beyond_the_window_are_refused(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        windows_of(tmp_path, VIDEOS, **options)


def test_no_store_and_numbers_that_are_no_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.store=\[\]: give the folder"):
        WindowsDataModule([], Listed(VIDEOS), image_size=1, window=4, hop=2, batch_size=1)
    with pytest.raises(DataError, match=r"frame 20000000 of video a: .*Give data\.grid=rows"):
        windows_of(tmp_path, {"a": Video([1, 20_000_000], [1])}).plans("val")


def test_features_that_are_not_finite_are_told_with_store_video_and_frame(tmp_path: Path) -> None:
    data = windows_of(tmp_path, {"a": A}, stores=2)
    part = tmp_path / "store1" / "a" / "part-00000"
    array = np.load(part / "embedding.npy")
    array[2, 1] = np.nan
    np.save(part / "embedding.npy", array)
    os.unlink(part / "sha256.txt")
    with pytest.raises(DataError, match=r"store1/a/part-00000/embedding\.npy: frame 6 of video a is not finite"):
        data.setup("fit")


@settings(max_examples=40, deadline=None)
@given(
    listed=st.lists(st.integers(1, 25), min_size=1, max_size=40),
    known=st.sets(st.integers(1, 30), min_size=1),
    grid=st.sampled_from(["frames", "rows"]),
    cut=st.tuples(st.integers(0, 30), st.integers(0, 30)),
)
def test_plans_list_each_row_once_where_its_frame_is(
    tmp_path_factory: pytest.TempPathFactory, listed: list[int], known: set[int], grid: Any, cut: tuple[int, int]
) -> None:
    videos = {"a": Video(listed, sorted(known | {listed[0]}))}
    (plan,) = windows_of(tmp_path_factory.mktemp("w"), videos, grid=grid).plans("val")
    numbers = sorted(set(listed)) if grid == "rows" else list(range(1, max(listed) + 1))
    assert len(plan) == len(numbers)
    assert plan.seen.tolist() == [frame in videos["a"].known for frame in numbers]
    start, stop = (min(one, len(plan)) for one in sorted(cut))
    rows, position = plan.listed(start, stop)
    expected = [(row, p) for p in range(start, stop) for row, frame in enumerate(listed) if frame == numbers[p]]
    assert list(zip(rows.tolist(), position.tolist(), strict=True)) == expected
