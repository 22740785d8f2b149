"""Folds of whole videos: what each holds back, in every kind of data; what is refused; the file."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from affect.errors import DataError
from affect.folds import base_video, deal
from affect.frames import rows_by_video
from datamodules.affwild2_joint import AffWild2JointDataModule
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.base import FaceDataModule
from datamodules.faces import FacesDataModule
from datamodules.folds import fold_table
from datamodules.readers.folds import FILE, Dealt, list_sha256
from features.datamodule import FeaturesDataModule
from features.store import open_store
from features.store_files import FeatureWriter, StoreInfo
from tests.datamodules.conftest import HEADER, write_picture
from tests.datamodules.test_affwild2_joint import root as _joint_root  # noqa: F401
from tests.datamodules.test_affwild2_uni import FOLDERS, write_crops, write_labels

SIZES: dict[str, Any] = {"image_size": 8, "batch_size": 1}
AUS = ",".join("01" * 6)


def write_mtl(root: Path, train: dict[str, list[int]], val: dict[str, list[int]]) -> Path:
    """Write label files of videos, each by the expressions of its rows, with a picture for each."""
    for name, videos in (("training_set", train), ("validation_set", val)):
        lines = [HEADER]
        for video, expressions in videos.items():
            for frame, expression in enumerate(expressions, 1):
                write_picture(root / "cropped_aligned" / video / f"{frame:05d}.jpg", frame, size=8)
                lines.append(f"{video}/{frame:05d}.jpg,0.5,0.5,{expression},{AUS}")
        (root / f"{name}_annotations.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def mtl(tmp_path: Path) -> Path:
    train = {"a_left": [0, 1, 0], "a_right": [1, 0], "b": [0, 1, 1, 0], "c": [1, 0]}
    return write_mtl(tmp_path / "mtl", train, {"a": [0, 1], "d": [0, 0, 1], "e": [1, 0, 1]})


def module(root: Path, **options: Any) -> MTLDataModule:
    return MTLDataModule(str(root), **SIZES, **options)


def held_and_trained(data: FaceDataModule, fold: int) -> tuple[list[str], list[str]]:
    data.setup("fit")
    return list(data.frames(f"fold{fold}").image), list(data.frames("train").image)


def test_every_row_is_held_back_once_and_no_video_is_on_both_sides(mtl: Path) -> None:
    whole = module(mtl)
    listed = [*whole.frames("train").image, *whole.frames("val").image]
    seen = Counter[str]()
    for fold in range(3):
        data = module(mtl, folds=3, fold=fold)
        held, trained = held_and_trained(data, fold)
        assert Counter(held + trained) == Counter(listed)
        assert [image for image in listed if image in set(held)] == held  # in the order of the lists
        sides = [{base_video(image.partition("/")[0]) for image in part} for part in (held, trained)]
        assert not sides[0] & sides[1]
        assert data.held == f"fold{fold}"
        assert len(data.val_dataloader().dataset) == len(held)  # type: ignore[arg-type]
        seen.update(held)
    assert seen == Counter(listed)
    assert list(module(mtl, folds=3).frames("oof").image) == listed


def test_the_order_of_the_lists_and_of_their_rows_changes_no_fold(mtl: Path, tmp_path: Path) -> None:
    first = module(mtl, folds=3, fold=0).dealt
    turned = module(mtl, folds=3, fold=0, fold_splits=["val", "train"]).dealt
    assert first == turned
    for name in ("training_set", "validation_set"):
        file = mtl / f"{name}_annotations.txt"
        header, *rows = file.read_text().splitlines()
        file.write_text("\n".join([header, *reversed(rows)]) + "\n")
    again = module(mtl, folds=3, fold=0).dealt
    assert first is not None
    assert again is not None
    assert again.fold_of == first.fold_of
    assert again.list_sha256 != first.list_sha256


def test_the_training_list_alone_leaves_the_validation_list_to_itself(mtl: Path) -> None:
    data = module(mtl, folds=2, fold=1, fold_splits=["train"])
    held, trained = held_and_trained(data, 1)
    assert {image.partition("/")[0] for image in held + trained} == {"a_left", "a_right", "b", "c"}
    assert list(data.frames("val").image) == list(module(mtl).frames("val").image)
    with pytest.raises(DataError, match=r"split=val: its videos are dealt into the folds; give split=fold1"):
        module(mtl, folds=2, fold=1).frames("val")


@given(
    sizes=st.lists(st.integers(1, 40), min_size=25, max_size=40),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**16),
)
def test_folds_are_balanced_in_rows_and_classes_where_videos_are_many(sizes: list[int], folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [f"v{number}" for number, size in enumerate(sizes) for _ in range(size)]
    classes = random.integers(0, 2, len(groups))
    counts = np.stack([np.ones(len(groups)), classes == 0, classes == 1], axis=1).astype(np.float64)
    fold = deal(groups, counts, folds)
    total = np.stack([counts[fold == number].sum(axis=0) for number in range(folds)])
    largest = np.max([counts[np.array(groups) == name].sum(axis=0) for name in set(groups)], axis=0)
    assert (np.abs(total - total.mean(axis=0)) <= np.maximum(0.2 * total.mean(axis=0), largest)).all()


def test_groups_join_videos_and_what_is_joined_by_others(mtl: Path) -> None:
    (mtl / "people.csv").write_text("video,group\na_left,x\na_right,y\nb,y\nc,z\na,x\nd,z\ne,w\nelsewhere,w\n")
    dealt = module(mtl, folds=3, fold=0, groups="people.csv").dealt
    assert dealt is not None
    fold = dealt.fold_of
    assert fold["a"] == fold["b"]  # by a_right
    assert fold["c"] == fold["d"]
    assert len({fold["a"], fold["c"], fold["e"]}) == 3


def test_pictures_need_groups(tmp_path: Path) -> None:
    for number in range(6):
        write_picture(tmp_path / f"{number}.jpg", number, size=8)
    with pytest.raises(DataError, match=r"no frames of videos.*data\.groups=<CSV with the columns image,group>"):
        FacesDataModule(str(tmp_path), val_share=0.4, folds=2, fold=0, **SIZES).setup("fit")
    lines = ["image,group", *(f"{number}.jpg,person{number // 2}" for number in range(6))]
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    data = FacesDataModule(str(tmp_path), val_share=0.4, folds=3, fold=1, groups="people.csv", **SIZES)
    held, trained = held_and_trained(data, 1)
    assert len(held) == 2
    assert len(trained) == 4
    assert len({int(image[0]) // 2 for image in held}) == 1
    assert data.dealt is not None
    assert data.dealt.key == "image"
    data.dealt.write(tmp_path / FILE)
    read = FacesDataModule(str(tmp_path), val_share=0.4, folds=str(tmp_path / FILE), fold=1, **SIZES)
    assert held_and_trained(read, 1) == (held, trained)  # the file says it without groups


@pytest.mark.parametrize("task", FOLDERS)
def test_uni_task_lists(tmp_path: Path, task: str) -> None:
    for split, videos in (
        ("Train_Set", {"a_left": "LLm", "a_right": "LL", "b": "LL"}),
        ("Validation_Set", {"c": "LL"}),
    ):
        write_labels(tmp_path / FOLDERS[task] / split, task, **videos)
        for video, rows in videos.items():
            write_crops(tmp_path / "cropped_aligned" / video, *range(1, len(rows) + 1))
    seen: list[str] = []
    for fold in range(3):
        data = AffWild2UniDataModule(str(tmp_path), task=task, folds=3, fold=fold, **SIZES)  # type: ignore[arg-type]
        held, trained = held_and_trained(data, fold)
        assert len(held) + len(trained) == 9
        assert data.has_image("train").all()
        seen += held
    assert len(set(seen)) == len(seen) == 9


def test_joint_lists_keep_what_each_says_of_a_video_and_score_each_frame_once(request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue("_joint_root")
    without = AffWild2JointDataModule(str(root), image_size=8, batch_size=3)
    rows = {split: without.frames(split) for split in ("train", "val")}
    assert "shared" not in set(rows["train"].video)  # left out, as the units' validation list has it
    for fold in range(2):
        data = AffWild2JointDataModule(str(root), image_size=8, batch_size=3, folds=2, fold=fold)
        train, held = data.frames("train"), data.frames(f"fold{fold}")
        assert not {*map(base_video, train.video)} & {*map(base_video, held.video)}
        frames = list(zip(held.video, held.frame.tolist(), strict=True))
        assert frames == sorted(set(frames))
        where = train if "shared" in set(train.video) else held
        of_shared = np.array([video == "shared" for video in where.video])
        assert where.labelled("valence_arousal")[of_shared].any()
        assert where.labelled("action_units")[of_shared].any()


def test_stored_features_take_the_folds_of_their_labels(mtl: Path, tmp_path: Path) -> None:
    info = StoreInfo("x", "0", embedding=1, outputs=("y",), images="cropped_aligned", image_size=8)
    store = open_store(tmp_path / "store", info).root
    whole = module(mtl, folds=3).frames("oof")
    for video, rows in rows_by_video(whole.video).items():
        writer = FeatureWriter(store, video, info)
        writer.add(whole.frame[rows], rows[:, None].astype(np.float32), np.ones((len(rows), 1), np.float32))
        writer.finish()
    data = FeaturesDataModule(str(store), module(mtl), folds=3, fold=2, **SIZES)
    held, trained = held_and_trained(data, 2)
    assert (held, trained) == held_and_trained(module(mtl, folds=3, fold=2), 2)
    assert data.held == "fold2"
    place = {image: number for number, image in enumerate(whole.image)}
    for split, images in (("fold2", held), ("train", trained)):
        read = data.store.read(data.places(split)).embedding[:, 0]
        assert read.tolist() == [place[image] for image in images]
    with pytest.raises(ValueError, match=r"data\.train_splits is not for data\.folds"):
        FeaturesDataModule(str(store), module(mtl), train_splits=["train", "val"], folds=3, fold=2, **SIZES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 5, "fold": 7}, r"data\.fold=7: there are 5 folds, 0 to 4"),
        ({"folds": 6, "fold": 0}, r"6 folds of 5 videos"),
        ({"fold": 1}, r"data\.fold=1: give data\.folds, too"),
        ({"groups": "x.csv"}, r"data\.groups=x\.csv: give data\.folds, too"),
        ({"folds": 3}, r"data\.folds is given, and data\.fold is not"),
        ({"folds": 3, "fold": 0, "fold_splits": []}, r"data\.fold_splits=\[\]"),
        ({"folds": "nowhere.csv", "fold": 0}, r"data\.folds=nowhere\.csv: no such file"),
        ({"folds": 2, "fold": 0, "groups": "nowhere.csv"}, r"nowhere\.csv: No such file"),
    ],
)
def test_settings_that_cannot_be_end_in_one_message(mtl: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        module(mtl, **options).setup("fit") if "folds" in options else module(mtl, **options)


def test_splits_that_are_not_there_are_told(mtl: Path) -> None:
    with pytest.raises(DataError, match=r"split=fold0: the data has no folds"):
        module(mtl).frames("fold0")
    with pytest.raises(DataError, match=r"split=fold3: there are fold0 to fold2"):
        module(mtl, folds=3, fold=0).frames("fold3")


def test_a_fold_without_a_label_of_the_task_is_an_error_without_one_of_a_class_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_mtl(tmp_path, {"a": [0, 0], "b": [-1, -1]}, {"c": [-1, -1]})
    with pytest.raises(DataError, match=r"fold \d has no label of expression"):
        module(root, folds=3, fold=0).setup("fit")
    root = write_mtl(tmp_path / "classes", {"a": [0, 0], "b": [0, 0]}, {"c": [0, 3]})
    with caplog.at_level(logging.WARNING):
        module(root, folds=3, fold=0).setup("fit")
    assert "no row of fear" in caplog.text


def test_the_table_counts_videos_rows_and_labels(mtl: Path) -> None:
    data = module(mtl, folds=2, fold=0)
    assert data.dealt is not None
    header, *rows = fold_table(data.frames("oof"), data.dealt, data.expressions)
    assert header == ["fold", "videos", "rows", "VA rows", "EXPR rows", "AU rows", "furthest from an even share"]
    assert sum(int(row[1]) for row in rows) == 5
    assert sum(int(row[2]) for row in rows) == len(data.frames("oof")) == 19


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", categories=["L", "N"]), min_size=1, max_size=9)


@given(st.dictionaries(NAMES, st.integers(0, 3), min_size=4, max_size=12), st.sampled_from(["", "0f" * 32]))
def test_a_file_that_was_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, of: Any, digest: str) -> None:
    names = sorted(of)
    of |= {name: number for number, name in enumerate(names[:4])}  # no fold is empty
    dealt = Dealt("image", of, 4, digest)
    path = tmp_path_factory.mktemp("folds") / FILE
    dealt.write(path)
    assert Dealt.read(path) == dealt


def test_the_file_of_a_run_gives_the_same_folds_to_other_data(
    mtl: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = module(mtl, folds=3, fold=1)
    assert first.dealt is not None
    assert first.dealt.list_sha256 == list_sha256(first.frames("oof"))
    first.dealt.write(tmp_path / FILE)
    again = module(mtl, folds=str(tmp_path / FILE), fold=1)
    assert held_and_trained(again, 1) == held_and_trained(first, 1)
    assert again.dealt == first.dealt
    part = module(mtl, folds=str(tmp_path / FILE), fold=1, fold_splits=["train"])
    with caplog.at_level(logging.WARNING):
        part.setup("fit")
    assert "other lists than train of this data; each video keeps its fold, and 2 that are not in these" in caplog.text
    listed = set(module(mtl).frames("train").image)
    assert set(part.frames("fold1").image) == listed & set(first.frames("fold1").image)
    assert set(part.frames("train").image) == listed & set(first.frames("train").image)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("video,fold\na,0\nb,1\na,0", r":4: a has a line already"),
        ("video,fold\na_left,0\na_right,1", r":3: a_right is of a video that is in fold 0"),
        ("video,fold\na,0\nb,1\nc,0\nd,1", r"no line for 1 videos of the data, 'e' first"),
        (
            "video,fold\na,0\nb,1\nc,0\nd,1\ne,0\nf,1\ng,0",
            r"'f' has a line, .* list of .* \(train and val\): .* 1 more",
        ),
        ("video,fold\na,0\nb,2\nc,0\nd,0\ne,0", r"fold 1 has no video, and there is a fold 2"),
        ("video,fold\na,0\nb,0\nc,0\nd,0\ne,0", r"1 fold; two are needed"),
        ("video,fold\na,0\nb,one", r":3: 'b,one' is not a video, a comma"),
        ("name,fold\na,0", r":1: expected video,fold or image,fold"),
    ],
)
def test_a_faulty_file_ends_in_one_message(mtl: Path, tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / FILE).write_text(lines + "\n")
    with pytest.raises(DataError, match=message):
        module(mtl, folds=str(tmp_path / FILE), fold=0).setup("fit")


@given(st.binary(max_size=80))
def test_any_bytes_are_folds_or_one_message(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("folds") / FILE
    path.write_bytes(b"video,fold\na,0\nb,1\n" + content)
    try:
        read: Any = Dealt.read(path)
    except DataError as error:
        read = str(error)
    assert str(path) in read if isinstance(read, str) else read.count >= 2
