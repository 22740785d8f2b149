"""The feature store: what is written is read, whatever was killed in between, and never another network's."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.store import FeatureStore, PartWriter, Places, StoreError, StoreInfo, open_store, rows_by_video, share

INFO = StoreInfo(
    network="n", sha256="a" * 64, embedding=5, outputs=("x", "valence"), images="cropped", image_size=8, dtype="float32"
)


def write(root: Path, video: str, frames: list[int], info: StoreInfo = INFO, batch: int = 2) -> None:
    writer = PartWriter(root, video, info)
    for start in range(0, len(frames), batch):
        part = np.array(frames[start : start + batch])
        writer.add(part, *values(video, part))
    writer.finish()


def values(video: str, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features that tell which frame they are of."""
    base = frames[:, None] + 1000.0 * len(video)
    return (base + np.arange(5) / 8).astype(np.float32), (base + np.array([0.25, 0.5])).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(
    videos=st.dictionaries(
        st.sampled_from(["a", "bb", "ccc"]), st.lists(st.integers(1, 90), unique=True, min_size=1), min_size=1
    ),
    batch=st.integers(1, 7),
    data=st.data(),
)
def test_every_frame_is_read_back_wherever_it_stands(
    tmp_path_factory: pytest.TempPathFactory, videos: dict[str, list[int]], batch: int, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("store") / "s"
    open_store(root, INFO)
    for video, frames in videos.items():
        cut = data.draw(st.integers(0, len(frames)))
        for part in (frames[:cut], frames[cut:]):  # an empty part leaves nothing
            write(root, video, part, batch=batch)
    store = pickle.loads(pickle.dumps(FeatureStore(root)))
    wanted = data.draw(
        st.lists(st.tuples(st.sampled_from(["a", "bb", "ccc", "none"]), st.integers(1, 90)), max_size=60)
    )
    names, numbers = [video for video, _ in wanted], np.array([frame for _, frame in wanted], dtype=np.int64)
    places = store.find(names, numbers)
    assert places.found.tolist() == [frame in videos.get(video, []) for video, frame in wanted]
    rows = np.flatnonzero(places.found)
    read = store.read(Places(places.part[rows], places.position[rows]))
    for row, embedding, outputs in zip(rows, *read, strict=True):
        expected = values(names[row], numbers[row : row + 1])
        np.testing.assert_array_equal(embedding, expected[0][0])
        np.testing.assert_array_equal(outputs, expected[1][0])


def test_half_precision_halves_the_embeddings_alone(tmp_path: Path) -> None:
    open_store(tmp_path / "s", replace(INFO, dtype="float16"))
    write(tmp_path / "s", "a", [1, 2, 3], replace(INFO, dtype="float16"))
    (part,) = FeatureStore(tmp_path / "s").parts
    assert np.load(part / "embedding.npy").dtype == np.float16
    assert np.load(part / "outputs.npy").dtype == np.float32


def test_what_a_killed_writer_left_is_no_part(tmp_path: Path) -> None:
    open_store(tmp_path, INFO)
    killed = PartWriter(tmp_path, "a", INFO)
    killed.add(np.array([1]), *values("a", np.array([1])))
    assert not FeatureStore(tmp_path).find(["a"], np.array([1])).found.any()
    write(tmp_path, "a", [1, 2])
    assert FeatureStore(tmp_path).frames_of("a").tolist() == [1, 2]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["part-00000"]


@pytest.mark.parametrize(("key", "value"), [("sha256", "b" * 64), ("images", "cropped_aligned"), ("image_size", 9)])
def test_a_store_of_other_features_is_refused(tmp_path: Path, key: str, value: object) -> None:
    open_store(tmp_path / "s", INFO)
    with pytest.raises(StoreError, match=rf"store of other features: {key} is .*another store="):
        open_store(tmp_path / "s", replace(INFO, **{key: value}))
    open_store(tmp_path / "s", INFO)


def test_folders_that_are_no_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"store\.json: no such file.*predict\.py store="):
        FeatureStore(tmp_path / "none")
    (tmp_path / "precious").write_text("x")
    with pytest.raises(StoreError, match="not empty and has no store"):
        open_store(tmp_path, INFO)
    (tmp_path / "store.json").write_text('{"schema_version": 99}')
    with pytest.raises(StoreError, match="schema version 99"):
        FeatureStore(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(StoreError, match="not the description of a feature store"):
        FeatureStore(tmp_path)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    open_store(tmp_path, INFO)
    write(tmp_path, "a", list(range(1, 2000)))
    path = tmp_path / "a" / "part-00000" / "embedding.npy"
    path.write_bytes(path.read_bytes()[:-4])
    store = FeatureStore(tmp_path)
    with pytest.raises(StoreError, match=r"embedding\.npy: cannot be read.*delete .*part-00000"):
        store.read(store.find(["a"], np.array([5])))


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    half = replace(INFO, dtype="float16")
    open_store(tmp_path, half)
    embedding, outputs = values("a", np.array([1]))
    with pytest.raises(StoreError, match=r"not finite in float16; give dtype=float32"):
        PartWriter(tmp_path, "a", half).add(np.array([1]), embedding + 1e5, outputs)


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 6))
def test_videos_are_shared_out_whole_and_evenly(sizes: list[int], world_size: int) -> None:
    shares = share(sizes, world_size)
    assert sorted(video for videos in shares for video in videos) == list(range(len(sizes)))
    loads = [sum(sizes[video] for video in videos) for videos in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


@given(st.lists(st.sampled_from("abc")))
def test_rows_by_video(names: list[str]) -> None:
    expected = {name: [row for row, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}
    assert {name: rows.tolist() for name, rows in rows_by_video(names).items()} == expected
    assert list(rows_by_video(names)) == list(expected)
