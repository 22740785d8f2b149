from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from affect.labels import ACTION_UNITS, AFFECTNET_EXPRESSIONS, EXPRESSIONS, MTL_HEADER
from rendering import dataset, video, writing
from rendering.cache import draw as draw_faces
from rendering.look import USUAL
from tests.rendering.conftest import SIZE

FILES = {"train": "training_set_annotations.txt", "validation": "validation_set_annotations.txt"}


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_one_and_two_workers_write_the_same_bytes(rendered, tmp_path):
    again = draw_faces(tmp_path / "mtl", "mtl", workers=2, **SIZE)
    assert digests(again) == digests(rendered)


def test_another_seed_gives_other_pictures(rendered, tmp_path):
    other = draw_faces(tmp_path / "mtl", "mtl", workers=1, **{**SIZE, "seed": 4, "train_videos": 1, "val_videos": 1})
    assert not set(digests(other).values()) & set(digests(rendered).values())


def test_a_video_does_not_depend_on_how_many_there_are(rendered, tmp_path):
    fewer = digests(draw_faces(tmp_path / "mtl", "mtl", workers=1, **{**SIZE, "train_videos": 2, "val_videos": 1}))
    pictures = [name for name in fewer if name.endswith(".jpg")]
    assert len(pictures) > 30
    assert all(digests(rendered)[name] == fewer[name] for name in pictures)


@pytest.mark.parametrize("split", FILES)
def test_annotation_rows_are_those_of_the_real_files(rendered, split):
    first, *lines = (rendered / FILES[split]).read_text().splitlines()
    assert first == MTL_HEADER
    for line in lines:
        image, valence, arousal, expression, *units = line.split(",")
        folder, name = image.split("/")
        assert folder.startswith(split)
        assert int(Path(name).stem) >= 1
        assert len(units) == len(ACTION_UNITS)
        assert (valence == "-5.0") == (arousal == "-5.0")
        assert valence == "-5.0" or all(-1 <= float(value) <= 1 for value in (valence, arousal))
        assert -1 <= int(expression) < len(EXPRESSIONS)
        assert set(units) <= {"0", "1"} or set(units) == {"-1"}
        assert not (valence == "-5.0" and expression == "-1" and units[0] == "-1"), "a row without any label"
        assert split == "train" or (valence != "-5.0" and units[0] != "-1")
    state = pq.read_table(rendered / "state.parquet", filters=[("split", "==", split)])
    assert state["image"].to_pylist() == [line.split(",")[0] for line in lines]


def test_pictures_are_112_pixels_and_frames_sparse(rendered):
    for folder in (rendered / "cropped_aligned").iterdir():
        frames = sorted(int(path.stem) for path in folder.iterdir())
        assert all(after - before >= 4 for before, after in pairwise(frames))
        assert cv2.imread(str(folder / f"{frames[0]:05d}.jpg")).shape == (112, 112, 3)


def test_some_rows_are_listed_twice_and_some_crops_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "render", lambda *_: np.zeros((112, 112, 3), np.uint8))  # pixels do not matter here
    rows = [
        row
        for index in range(30)
        for row in dataset._write_video(0, 24, USUAL, tmp_path, (video.TRAIN, index))  # more rows than the fixture has
    ]
    images = Counter(row["image"] for row in rows)
    missing = [image for image in images if not (tmp_path / "cropped_aligned" / image).is_file()]
    assert 0 < sum(images.values()) - len(images) < 0.03 * len(images)
    assert 0 < len(missing) < 0.02 * len(images)


def test_a_complete_data_set_is_left_alone_and_another_one_refused(rendered):
    before = (rendered / "rendering.json").stat().st_mtime_ns
    assert draw_faces(rendered, "mtl", workers=1, **SIZE) == rendered
    assert (rendered / "rendering.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"'seed': 3.*'seed': 5.*delete the folder"):
        draw_faces(rendered, "mtl", workers=1, **{**SIZE, "seed": 5})


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no rendering\.json"):
        draw_faces(tmp_path, "mtl", workers=1, **SIZE)


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(writing, "write_jpeg", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        draw_faces(tmp_path / "mtl", "mtl", workers=1, **SIZE)
    assert not list(tmp_path.iterdir())


def test_affectnet_folders(tmp_path):
    root = draw_faces(tmp_path / "affectnet", "affectnet", seed=3, train_faces=24, val_faces=8, workers=1)
    for split, faces in (("train", 3), ("val", 1)):
        for number in range(len(AFFECTNET_EXPRESSIONS)):
            pictures = list((root / split / str(number)).glob("*.jpg"))
            assert len(pictures) == faces
            assert cv2.imread(str(pictures[0])).shape == (112, 112, 3)
    assert json.loads((root / "rendering.json").read_text())["layout"] == "affectnet"
    again = draw_faces(tmp_path / "again", "affectnet", seed=3, train_faces=24, val_faces=8, workers=2)
    assert digests(again) == digests(root)


def test_lsd_folders(tmp_path):
    root = draw_faces(tmp_path / "lsd", "lsd", seed=3, train_faces=12, val_faces=6, workers=1)
    for split, faces in (("training_set_synthetic_images", 2), ("validation_set_real_images", 1)):
        folders = sorted(path.name for path in (root / split).iterdir())
        assert folders == ["ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE"]
        assert all(len(list((root / split / name).glob("*.jpg"))) == faces for name in folders)
    again = draw_faces(tmp_path / "again", "lsd", seed=3, train_faces=12, val_faces=6, workers=2)
    assert digests(again) == digests(root)
    other = draw_faces(tmp_path / "affectnet", "affectnet", seed=3, train_faces=8, val_faces=8, workers=1)
    assert not set(digests(root).values()) & {v for k, v in digests(other).items() if str(k).endswith(".jpg")}


def test_unlabelled_faces_in_celebas_folders(tmp_path):
    root = draw_faces(tmp_path / "faces", "faces", seed=3, train_faces=5, val_faces=2, workers=1)
    names = sorted(path.name for path in (root / "img_align_celeba").iterdir())
    assert names == [f"{number:06d}.jpg" for number in range(1, 8)]
    lines = (root / "Eval" / "list_eval_partition.txt").read_text().splitlines()
    assert lines == [f"{name} {int(name > '000005.jpg')}" for name in names]
    again = draw_faces(tmp_path / "again", "faces", seed=3, train_faces=5, val_faces=2, workers=2)
    assert digests(again) == digests(root)
