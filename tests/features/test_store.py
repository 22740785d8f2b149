"""The feature store: what is written is read, whatever was killed in between, and never another network's."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prepare
from affect import checksums, files
from affect.errors import DataError
from affect.files import LockedError
from affect.frames import rows_by_video
from features import store as module
from features.store import FeatureStore, Places, open_store, problems, share, writing
from features.store_files import FeatureWriter, StoreInfo
from tests.changes import changed

INFO = StoreInfo(
    network="n", sha256="a" * 64, embedding=5, outputs=("x", "valence"), images="cropped", image_size=8, dtype="float32"
)


def write(root: Path, video: str, frames: list[int], info: StoreInfo = INFO, batch: int = 2) -> None:
    writer = FeatureWriter(root, video, info)
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
    killed = FeatureWriter(tmp_path, "a", INFO)
    killed.add(np.array([1]), *values("a", np.array([1])))
    assert not FeatureStore(tmp_path).find(["a"], np.array([1])).found.any()
    write(tmp_path, "a", [1, 2])
    assert FeatureStore(tmp_path).frames_of("a").tolist() == [1, 2]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["part-00000"]


@pytest.mark.parametrize(("key", "value"), [("sha256", "b" * 64), ("images", "cropped_aligned"), ("image_size", 9)])
def test_a_store_of_other_features_is_refused(tmp_path: Path, key: str, value: object) -> None:
    open_store(tmp_path / "s", INFO)
    with pytest.raises(DataError, match=rf"store of other features: {key} is .*another store="):
        open_store(tmp_path / "s", replace(INFO, **{key: value}))
    open_store(tmp_path / "s", INFO)


def test_folders_that_are_no_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"store\.json: no such file.*extract\.py store="):
        FeatureStore(tmp_path / "none")
    (tmp_path / "precious").write_text("x")
    with pytest.raises(DataError, match="not empty and has no store"):
        open_store(tmp_path, INFO)
    (tmp_path / "store.json").write_text('{"schema_version": 99}')
    with pytest.raises(DataError, match="schema version 99"):
        FeatureStore(tmp_path)
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(DataError, match="not the description of a feature store"):
        FeatureStore(tmp_path)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    open_store(tmp_path, INFO)
    write(tmp_path, "a", list(range(1, 2000)))
    path = tmp_path / "a" / "part-00000" / "embedding.npy"
    path.write_bytes(path.read_bytes()[:-4])
    store = FeatureStore(tmp_path)
    with pytest.raises(DataError, match=r"embedding\.npy: cannot be read.*delete .*part-00000"):
        store.read(store.find(["a"], np.array([5])))


def everything(root: Path) -> tuple[StoreInfo, list[list[float]]]:
    """What a store says of itself, and the features of all frames of its videos."""
    store = FeatureStore(root)
    names, numbers = ["a"] * 40 + ["bb"] * 30, np.array([*range(1, 41), *range(1, 31)])
    read = store.read(store.find(names, numbers))
    return store.info, [read.embedding.tolist(), read.outputs.tolist()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two videos, not to be changed."""
    root = tmp_path_factory.mktemp("whole") / "s"
    open_store(root, INFO)
    write(root, "a", list(range(1, 41)))
    write(root, "bb", list(range(1, 31)))
    return root


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "s"))


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_told", set())


def test_no_change_of_a_file_gives_another_value(whole: Path, copy: Path) -> None:
    expected, random, other = everything(whole), np.random.default_rng(0), []
    paths = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert len(paths) == 9
    for number in range(200):
        path = paths[number % len(paths)]
        content = (whole / path).read_bytes()
        (copy / path).write_bytes(changed(content, random, number % 4))
        with contextlib.suppress(DataError):
            if everything(copy) != expected:
                other.append((number, path))
        (copy / path).write_bytes(content)
    assert not other


def without_checksums(root: Path) -> None:
    """As 3aa692f wrote stores."""
    for path in root.glob("*/*/sha256.txt"):
        path.unlink()
    content = json.loads((root / "store.json").read_text())
    del content["checksum"]
    (root / "store.json").write_text(json.dumps(content))


def test_stores_without_checksums_are_read_with_one_warning_each(
    whole: Path, copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = everything(whole)
    assert not caplog.records
    without_checksums(copy)
    assert everything(copy) == everything(copy) == expected
    assert [record.message.partition(": ")[2].partition(" without")[0] for record in caplog.records] == [
        "a feature store", "a part of a feature store",
    ]  # fmt: skip
    assert problems(copy) == (2, [])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_stored_value_that_is_not_finite_is_told_with_its_frame(tmp_path: Path, dtype: str, value: float) -> None:
    info = replace(INFO, dtype=dtype)
    open_store(tmp_path, info)
    write(tmp_path, "a", list(range(11, 40)), info)
    without_checksums(tmp_path)
    array = np.load(path := tmp_path / "a" / "part-00000" / "embedding.npy")
    array[7, 3] = value
    np.save(path, array)
    with pytest.raises(DataError, match=r"embedding\.npy: frame 18 of video a is not finite"):
        FeatureStore(tmp_path).check(["a"])


class Bomb:
    """A pickle that would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("embedding", np.zeros((40, 6), np.float32)),
        ("embedding", np.zeros((40, 5), np.float64)),
        ("embedding", np.zeros((5, 40), np.float32).T),
        ("embedding", np.zeros((39, 5), np.float32)),
        ("outputs", np.zeros(40, np.float32)),
        ("frame", np.zeros((), np.int32)),
        ("frame", np.zeros(0, np.int32)),
        ("outputs", b""),
        ("outputs", b"PK\x03\x04"),
        ("embedding", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 5), }"),
        ("embedding", "object"),
        ("embedding", "pickle"),
    ],
)
def test_arrays_of_another_shape_or_kind_are_refused(copy: Path, tmp_path: Path, name: str, content: object) -> None:
    without_checksums(copy)
    path = copy / "a" / "part-00000" / f"{name}.npy"
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif content == "object":
        np.save(path, np.array([Bomb(tmp_path / "ran")], dtype=object))
    else:
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(DataError, match=r"part-00000.*delete .*part-00000 and run extract\.py again"):
        everything(copy)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "null", "[" * 100_000, '{"schema_version": 1}', "\ud800",
        *({key: value} for key, value in [
            ("embedding", 5.0), ("embedding", -1), ("embedding", True), ("outputs", "xy"), ("outputs", None),
            ("outputs", [1]), ("dtype", "object"), ("network", None), ("image_size", "8"), ("further", 1),
        ]),
    ],
)  # fmt: skip
def test_descriptions_that_cannot_be(copy: Path, content: str | dict[str, object]) -> None:
    if isinstance(content, dict):
        without_checksums(copy)
        content = json.dumps(json.loads((copy / "store.json").read_text()) | content)
    (copy / "store.json").write_text(content, errors="surrogatepass")
    with pytest.raises(DataError, match=r"store\.json: .*make "):
        FeatureStore(copy)


def test_what_was_checked_is_remembered_by_size_and_time(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    check = module.check_array

    def noting(part: Path, name: str, *others: object) -> None:
        looked_at.append(f"{part.parent.name}/{name}")
        check(part, name, *others)

    monkeypatch.setattr(module, "check_array", noting)

    def opened() -> list[str]:
        """What is looked at when the store is opened, read, and read in a loader process."""
        looked_at.clear()
        store = FeatureStore(copy, tmp_path / "cache")
        store.check(["a", "bb", "none"])
        before = list(looked_at)
        for one in (store, pickle.loads(pickle.dumps(store))):
            one.read(one.find(["a", "bb"], np.array([3, 4])))
        assert looked_at == before
        return before

    assert len(opened()) == 6
    assert not opened()
    path = copy / "a" / "part-00000" / "outputs.npy"
    path.write_bytes(path.read_bytes())
    assert opened() == ["a/outputs"]
    assert not opened()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="does not fit sha256"):
        opened()


def test_a_cache_that_cannot_be_written_stops_nothing(
    copy: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    FeatureStore(copy, tmp_path / "file" / "cache").check(["a"])
    assert "cannot be kept, so the next run does the same again" in caplog.text


@pytest.mark.parametrize("video", ["../x", "/x", "..", ".", "", "a/b", "link"])
def test_a_videos_folder_stays_in_the_store(tmp_path: Path, video: str) -> None:
    root = tmp_path / "s"
    open_store(root, INFO)
    (tmp_path / "out").mkdir()
    (root / "link").symlink_to(tmp_path / "out")
    with pytest.raises(DataError, match="is no folder of its own in the store"):
        FeatureWriter(root, video, INFO)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["link", "out", "s", "store.json"]


def test_a_part_that_was_deleted_is_not_written_over_another(tmp_path: Path) -> None:
    open_store(tmp_path, INFO)
    write(tmp_path, "a", [1, 2])
    write(tmp_path, "a", [3])
    shutil.rmtree(tmp_path / "a" / "part-00000")
    write(tmp_path, "a", [1, 2])
    assert FeatureStore(tmp_path).frames_of("a").tolist() == [3, 1, 2]


def test_one_extraction_at_a_time(copy: Path) -> None:
    with writing(copy), pytest.raises(LockedError, match=r"feature store .*: another process"), writing(copy):
        pass
    with writing(copy):
        pass
    assert not (copy / ".lock").exists()


def test_leftovers_of_killed_extractions_go_with_the_next(copy: Path) -> None:
    before = {path.relative_to(copy) for path in copy.rglob("*")}
    (copy / "c" / ".writing").mkdir(parents=True)
    (copy / "a" / ".writing").mkdir()
    (copy / "a" / ".writing" / "frame.npy").write_bytes(b"x")
    (copy / ".store.json.7.writing").write_bytes(b"x")
    with pytest.raises(ZeroDivisionError), writing(copy):
        _ = 1 / 0
    assert (copy / "c").is_dir()
    with writing(copy):
        pass
    assert {path.relative_to(copy) for path in copy.rglob("*")} == before


def test_a_start_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "new" / "s"):
        _ = 1 / 0
    assert not (tmp_path / "new" / "s").exists()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", Path("/dev/null")):
        with pytest.raises(DataError, match=r"is a file, not a folder\. Give another store="), writing(path):
            pass


@pytest.mark.parametrize("point", ["part.written", "part.renamed"])
def test_a_part_is_there_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    open_store(tmp_path / "whole", INFO)
    write(tmp_path / "whole", "a", [1, 2])
    open_store(tmp_path / "s", INFO)

    def full(reached: str, path: Path) -> None:
        if reached == point:
            raise OSError(28, "no room", str(path))

    monkeypatch.setattr(files, "hook", full)
    with pytest.raises(OSError, match="no room"):
        write(tmp_path / "s", "a", [1, 2])
    monkeypatch.undo()
    missing = [1, 2] if point == "part.written" else []
    assert FeatureStore(tmp_path / "s").frames_of("a").tolist() == ([] if missing else [1, 2])
    write(tmp_path / "s", "a", missing)
    assert dict(contents(tmp_path / "s")) == dict(contents(tmp_path / "whole"))


def contents(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in root.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(root)), path.read_bytes()


def test_prepare_checks_a_store(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare.main(["store", str(copy)])
    assert capsys.readouterr().out == f"{copy}: 2 parts, all as they were written\n"
    path = copy / "a" / "part-00000" / "outputs.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"1 of 2 parts cannot be used\n.*outputs\.npy: damaged.*delete .*part-00000"):
        prepare.main(["store", str(copy)])


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    half = replace(INFO, dtype="float16")
    open_store(tmp_path, half)
    embedding, outputs = values("a", np.array([1]))
    with pytest.raises(DataError, match=r"not finite in float16; give dtype=float32"):
        FeatureWriter(tmp_path, "a", half).add(np.array([1]), embedding + 1e5, outputs)


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
