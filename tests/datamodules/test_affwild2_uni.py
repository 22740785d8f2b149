"""The uni-task data module: label folders of all names, crops of several folders, test lists of both kinds."""

from __future__ import annotations

import logging
import os
import pickle
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affect.computed import Computed, CropPaths, frame_names
from affect.errors import DataError
from datamodules import affwild2_uni
from datamodules.affwild2_uni import AffWild2UniDataModule, crop_numbers
from datamodules.links import Links
from tests.datamodules.conftest import truncate, write_picture
from tests.datamodules.readers.test_uni import GOOD, HEADERS

MISSING = {"va": "-5,-5", "expr": "-1", "au": ",".join(["-1"] * 12)}
FOLDERS = {"va": "VA_Estimation_Challenge", "expr": "EXPR_Recognition_Challenge", "au": "AU_Detection_Challenge"}


def module(root: Path | list[Path], task: str = "va", **options: Any) -> AffWild2UniDataModule:
    roots = [str(folder) for folder in root] if isinstance(root, list) else str(root)
    return AffWild2UniDataModule(roots, task=task, **{"image_size": 32, "batch_size": 2, **options})


def write_labels(folder: Path, task: str = "va", **rows: str) -> None:
    """Write label files: each video's rows as a string of L (labelled) and m (missing)."""
    folder.mkdir(parents=True, exist_ok=True)
    for video, kinds in rows.items():
        lines = [HEADERS[task], *(GOOD[task] if kind == "L" else MISSING[task] for kind in kinds)]
        (folder / f"{video}.txt").write_text("\n".join(lines) + "\n")


def write_crops(folder: Path, *frames: int) -> None:
    for frame in frames:
        write_picture(folder / f"{frame:05d}.jpg", frame, size=24)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three training videos, one of them with two people, and one validation video; of all three tasks."""
    root = tmp_path / "root"
    for task, folder in FOLDERS.items():
        write_labels(root / folder / "Train_Set", task, video2="LLmLL", video10_1_left="LLL", video10_1_right="mmm")
        write_labels(root / folder / "Validation_Set", task, v="LmLL")
        (root / folder / "Train_Set" / "._video2.txt").write_bytes(b"\x00\x05\x16")  # as Macs leave them
    images = root / "cropped_aligned"
    write_crops(images / "video2", 1, 2, 4, 9)  # no 5; 9 has no row
    write_crops(images / "video10_1_left", 2)
    write_crops(images / "v", 1, 2, 3)
    (images / "v" / "4.jpg").touch()  # not a crop's name
    (images / "v" / ".DS_Store").touch()
    return root


@pytest.mark.parametrize("task", FOLDERS)
def test_rows_are_all_frames_of_the_label_files_in_order(root: Path, task: str) -> None:
    data = module(root, task, drop_last=False)
    data.setup("fit")
    train = data.frames("train")
    assert list(train.video) == ["video10_1_left"] * 3 + ["video10_1_right"] * 3 + ["video2"] * 5
    assert train.frame.tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5]
    assert list(train.image)[2:4] == ["video10_1_left/00003.jpg", "video10_1_right/00001.jpg"]
    assert train.image[-1] == "video2/00005.jpg"
    labelled = [True] * 3 + [False] * 3 + [True, True, False, True, True]
    assert train.has_label.tolist() == labelled
    for name, values in (("va", train.valence_arousal), ("au", train.action_units), ("expr", train.expression)):
        known = ~np.isnan(values).reshape(11, -1).any(axis=1) if name != "expr" else train.expression >= 0
        assert known.tolist() == (labelled if name == task else [False] * 11)
    assert train.expression.dtype == train.frame.dtype == np.int64
    assert train.valence_arousal.dtype == train.action_units.dtype == np.float32
    if task == "expr":
        assert set(train.expression.tolist()) == {4, -1}
    assert list(train.files) == [f"{FOLDERS[task]}/Train_Set"]
    assert data.train_rows.tolist() == [1, 6, 7, 9]  # a label and a crop
    batches = list(data.train_dataloader())
    assert sorted(row for batch in batches for row in batch["row"].tolist()) == [1, 6, 7, 9]
    rows = [(batch["row"].tolist(), batch["unreadable"].tolist()) for batch in data.val_dataloader()]
    assert rows == [([0, 1], []), ([2], [3])]  # evaluation keeps every row


def test_the_hash_of_a_folder_changes_with_any_of_its_files(root: Path) -> None:
    (before,) = module(root).frames("train").files.values()
    write_labels(root / FOLDERS["va"] / "Train_Set", video10_1_right="mmL")
    (after,) = module(root).frames("train").files.values()
    assert before != after


@pytest.mark.parametrize(
    ("task", "folder", "split"),
    [
        ("va", "VA_Set", "Train_Set"),
        ("va", "VA_Set", "Training_Set"),
        ("va", "VA_Estimation_Challenge", "Training_Set"),
        ("expr", "EXPR_Set", "Train_Set"),
        ("expr", "EXPR_Classification_Challenge", "Train_Set"),
        ("expr", "EXPR_Recognition_Challenge", "Train_Set"),
        ("au", "AU_Set", "Training_Set"),
        ("au", "AU_Detection_Challenge", "Train_Set"),
    ],
)
def test_every_name_of_a_label_folder(tmp_path: Path, task: str, folder: str, split: str) -> None:
    write_labels(tmp_path / "labels" / folder / split, task, a="L")
    write_crops(tmp_path / "faces" / "cropped_aligned" / "a", 1)
    frames = module([tmp_path / "faces", tmp_path / "labels"], task).frames("train")
    assert list(frames.files) == [f"{folder}/{split}"]


def test_given_label_folders(root: Path, tmp_path: Path) -> None:
    write_labels(tmp_path / "mine", video2="L")
    data = module(root, train_annotations=str(tmp_path / "mine"), val_annotations=f"{FOLDERS['va']}/Train_Set")
    assert len(data.frames("train")) == 1
    assert len(data.frames("val")) == 11
    with pytest.raises(FileNotFoundError, match=r"looked for .*nowhere\. Add .* or set data\.val_annotations"):
        module(root, val_annotations="nowhere").frames("val")


@pytest.mark.parametrize(
    ("images", "places"),
    [
        ("cropped_aligned", ("cropped_aligned", "cropped_aligned_new_50_vids", "batch1/cropped_aligned")),
        ("cropped_aligned", ("batch1/cropped_aligned", "batch2/cropped_aligned", "batch2/cropped_aligned_new_50_vids")),
        ("cropped", ("cropped", "cropped_new_50_vids", "batch2/cropped")),
        ("cropped", ("batch1", "batch2", "cropped_new_50_vids")),
        ("faces/112", ("faces/112", "batch1/faces/112", "batch2/faces/112")),
    ],
)
def test_crops_of_several_folders_are_merged(tmp_path: Path, images: str, places: tuple[str, ...]) -> None:
    write_labels(tmp_path / "VA_Set/Train_Set", a="L", b="L", c="LL")
    for video, place in zip("abc", places, strict=True):
        write_crops(tmp_path / place / video, 1)
    write_crops(tmp_path / "other" / "c", 2)
    _, paths = module(tmp_path, images=images).read_split("train")
    assert [path and str(path.relative_to(tmp_path)) for path in paths] == [
        *(f"{place}/{video}/00001.jpg" for video, place in zip("abc", places, strict=True)), None,
    ]  # fmt: skip


def test_the_first_root_that_has_a_crop_wins(root: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    write_crops(more / "cropped_aligned/v", 1, 4)
    for roots, first in (([root, more], "root"), ([more, root], "more")):
        _, paths = module(roots).read_split("val")
        names = [path.relative_to(tmp_path).parts[0] for path in paths if path]
        assert names == [first, "root", "root", "more"]


def test_kept_listings_are_used_until_a_folder_changes(root: Path, tmp_path: Path, monkeypatch) -> None:
    cache = tmp_path / "cache"
    first = module(root, cache_dir=str(cache)).read_split("train")[1]
    listed: list[Any] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path)) or real(path))
    again = module(root, cache_dir=str(cache)).read_split("train")[1]
    assert list(again) == list(first)
    assert [path.name for path in listed] == ["Train_Set"]
    write_crops(root / "cropped_aligned/video2", 5)
    os.utime(root / "cropped_aligned/video2", ns=(1, 1))  # on any file system
    later = module(root, cache_dir=str(cache)).read_split("train")[1]
    assert [path.name for path in listed[1:]] == ["Train_Set", "video2"]
    assert later.found.tolist() == [False, True, *[False] * 4, True, True, False, True, True]


def test_a_list_of_frames_is_kept_row_by_row(root: Path, tmp_path: Path) -> None:
    test = tmp_path / "test"
    write_crops(test / "cropped_aligned/t_left", 1, 3)
    path = tmp_path / "CVPR_6th_ABAW_Expr_test_set_sample.txt"
    names = ["t_left/00003.jpg", "u/00001.jpg", "t_left/00001.jpg", "t_left/00003.jpg"]
    path.write_text(
        "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n"
        + "".join(f"{name},0\r\n" for name in names)
    )
    data = module(root, "expr", test_list=str(path), test_root=str(test))
    data.predict_split = "test"
    data.setup("predict")
    frames = data.frames("test")
    assert list(frames.image) == names
    assert list(frames.video) == ["t_left", "u", "t_left", "t_left"]
    rows = [(batch["row"].tolist(), batch["unreadable"].tolist()) for batch in data.predict_dataloader()]
    assert rows == [([0], [1]), ([2, 3], [])]


def test_a_list_of_videos_takes_its_lengths_from_the_counts_or_from_the_crops(root: Path, caplog) -> None:
    (root / "list.txt").write_text("video2\nvideo10_1_left\n")
    with caplog.at_level(logging.WARNING):
        frames, paths = module(root, test_list="list.txt").read_split("test")
    assert "each is taken to end with its last crop" in caplog.text
    assert list(frames.video) == ["video2"] * 9 + ["video10_1_left"] * 2
    assert frames.frame.tolist() == [*range(1, 10), 1, 2]
    assert paths.found.tolist() == [n in (1, 2, 4, 9) for n in range(1, 10)] + [False, True]

    (root / "counts.txt").write_text("video2,5\nvideo10_1,4\n")
    caplog.clear()
    frames, paths = module(root, test_list="list.txt", expected_frames="counts.txt").read_split("test")
    assert not caplog.records
    assert frames.frame.tolist() == [1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert frames.image[5] == "video10_1_left/00001.jpg"
    assert set(frames.files) == {"list.txt", "counts.txt"}
    assert not frames.has_label.any()

    (root / "counts.txt").write_text("video2,5\n")
    with pytest.raises(DataError, match=r"list\.txt:2: .*counts\.txt has no number of frames of video10_1_left"):
        module(root, test_list="list.txt", expected_frames="counts.txt").read_split("test")
    (root / "list.txt").write_text("video2\nnone\n")
    with pytest.raises(DataError, match=r"list\.txt:2: there is no crop to tell the number of frames of none"):
        module(root, test_list="list.txt").read_split("test")


def test_what_is_missing_is_named_with_its_key(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.task is 'mtl', expected va, expr, au"):
        module(root, "mtl")
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*nowhere\. Set data\.root"):
        module(tmp_path / "nowhere").setup("fit")
    with pytest.raises(FileNotFoundError, match=r"Challenge/Train_Set, .*VA_Set/Training_Set\. Add the folder above"):
        module(root / "cropped_aligned").setup("fit")
    with pytest.raises(FileNotFoundError, match=r"no image folder: looked for .*/crops, .*batch2/crops_new_50_vids"):
        module(root, images="crops").setup("fit")
    with pytest.raises(FileNotFoundError, match=r"the test split has no list\. Set data\.test_list"):
        module(root).frames("test")
    with pytest.raises(FileNotFoundError, match=r"looked for .*list\.txt\. Set data\.test_list to its path"):
        module(root, test_list="list.txt").frames("test")
    (root / "list.txt").write_text("video2\n")
    with pytest.raises(FileNotFoundError, match=r"looked for .*counts\.txt\. Set data\.expected_frames"):
        module(root, test_list="list.txt", expected_frames="counts.txt").frames("test")
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*\. Set data\.test_root"):
        module(root, test_list="list.txt", test_root=str(tmp_path / "nowhere")).frames("test")
    (tmp_path / "empty/cropped_aligned").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"none of the 4 images .*Validation_Set exists; .*v/00001\.jpg"):
        module([tmp_path / "empty", root], images="cropped_aligned/video2").frames("val")
    (tmp_path / "empty/VA_Set/Train_Set").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"Train_Set has no label file"):
        module(tmp_path / "empty").frames("train")
    path = root / FOLDERS["va"] / "Train_Set" / "video2.txt"
    path.write_text(path.read_text() + "0.1\n")
    with pytest.raises(DataError, match=r"video2\.txt:7: 1 fields where 2"):
        module(root).frames("train")


def test_a_training_split_without_labels_and_a_damaged_crop(root: Path) -> None:
    write_labels(root / FOLDERS["va"] / "Train_Set", video2="mmmmm", video10_1_left="m")
    with pytest.raises(DataError, match=r"none of the 9 rows of VA_Estimation_Challenge/Train_Set has both"):
        module(root).setup("fit")
    truncate(root / "cropped_aligned/v/00002.jpg")
    rows = [row for batch in module(root).val_dataloader() for row in batch["unreadable"].tolist()]
    assert rows == [1, 3]


def test_computed_sequences_are_sequences() -> None:
    videos, images = frame_names(["a", "b"], np.array([0, 1, 1]), np.array([7, 1, 100000]))
    assert (list(videos), list(images)) == (["a", "b", "b"], ["a/00007.jpg", "b/00001.jpg", "b/100000.jpg"])
    assert (len(images), images[-1], list(images[1:])) == (3, "b/100000.jpg", ["b/00001.jpg", "b/100000.jpg"])
    assert isinstance(images, Computed)
    assert list(images.take(np.array([2, 0]))) == ["b/100000.jpg", "a/00007.jpg"]
    assert np.asarray(videos, dtype=object).tolist() == ["a", "b", "b"]
    assert (videos.count("b"), "c" in videos) == (2, False)
    with pytest.raises(IndexError):
        images[3]
    paths = CropPaths(
        [(Path("x"), ".jpg"), (Path("y"), ".JPG")], ["a", "b"], np.array([1, -1]), np.array([0, 1]), np.array([3, 4])
    )
    again = pickle.loads(pickle.dumps(paths))  # as loader processes get it where they do not fork
    assert list(again) == list(paths) == [Path("y/a/00003.JPG"), None]
    assert again.found.tolist() == [True, False]


def test_numbers_of_crops(tmp_path: Path) -> None:
    for name in ("00003.jpg", "00001.jpg", "123456.jpg", "3.jpg", "00004.png", "x.jpg", "0000５.jpg", "00002.JPG"):
        (tmp_path / name).touch()
    links = Links(tmp_path, follow_outside=False)
    crops = crop_numbers(tmp_path, None, links)
    assert [(suffix, numbers.tolist()) for suffix, numbers in crops.items()] == [
        (".JPG", [2]),
        (".jpg", [1, 3, 123456]),
    ]
    for absent in ("none", "x.jpg", "n" * 300):
        assert crop_numbers(tmp_path / absent, None, links) == {}


def test_crops_are_found_whatever_their_case_and_another_suffix_is_named(tmp_path: Path) -> None:
    for name in ("00001.JPG", "00002.jpg", "00002.JPG", "00003.Jpg"):
        write_picture(tmp_path / "cropped_aligned/v" / name.lower(), 0, size=8)
        (tmp_path / "cropped_aligned/v" / name.lower()).rename(tmp_path / "cropped_aligned/v" / name)
    write_picture(tmp_path / "cropped_aligned/v/00002.jpg", 1, size=8)
    labels = tmp_path / "VA_Set/Train_Set/v.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("valence,arousal\n0.5,0.5\n0.5,0.5\n0.5,0.5\n0.5,0.5\n")
    data = module(tmp_path)
    frames, paths = data.read_split("train")
    assert [path and path.name for path in paths] == ["00001.JPG", "00002.jpg", "00003.Jpg", None]
    assert list(frames.image) == [f"v/{number:05d}.jpg" for number in range(1, 5)]  # as in every list and submission
    for path in (tmp_path / "cropped_aligned/v").iterdir():
        path.rename(path.with_suffix(".png"))
    with pytest.raises(FileNotFoundError, match=r"none of the 4 images .* But there is .*/v/0000\d\.png: rename such"):
        module(tmp_path).read_split("train")


@pytest.mark.slow
@pytest.mark.parametrize("task", FOLDERS)
def test_two_million_rows_take_a_quarter_of_a_gigabyte(tmp_path: Path, monkeypatch, task: str) -> None:
    """As many rows as ABAW5's files of VA have valid ones; the crops are pretended, two million files take too long."""
    rng = np.random.default_rng(0)
    (tmp_path / "cropped_aligned").mkdir()
    for split, files, rows in (("Train_Set", 356, 1_680_144), ("Validation_Set", 76, 382_021)):
        folder = tmp_path / FOLDERS[task] / split
        folder.mkdir(parents=True)
        for number, length in enumerate(np.diff([0, *np.sort(rng.choice(rows, files - 1, replace=False)), rows])):
            if task == "va":
                lines = [f"{v:.3f},{a:.3f}" for v, a in np.sin(rng.normal(size=(length, 2)))]
            else:
                lines = [GOOD[task]] * length
            (folder / f"{split}{number}-30-1280x720.txt").write_text("\n".join([HEADERS[task], *lines]))
    monkeypatch.setattr(affwild2_uni, "crop_numbers", lambda folder, cache, links: {".jpg": np.arange(1, 40_000)})
    tracemalloc.start()
    start = time.process_time()
    data = module(tmp_path, task)
    data.setup("fit")
    seconds, held = time.process_time() - start, tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(data.frames("train")) + len(data.frames("val")) == 2_062_165
    print(f"{task}: {held / 2**20:.0f} MiB, {seconds:.1f} s while memory is traced")
    assert held < 250 * 2**20
    assert seconds < 60
