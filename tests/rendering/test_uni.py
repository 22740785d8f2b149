"""The rendered uni-task layout: its files, and what the reader makes of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from datamodules.affwild2_uni import AffWild2UniDataModule
from evaluators.metrics import ConcordanceCorrelation
from rendering import video
from rendering.cache import draw as draw_faces
from rendering.oracle import oracle_predictions
from tests.rendering.test_dataset import digests
from tests.rendering.test_video import signature

SIZE = {"seed": 3, "train_videos": 5, "val_videos": 3, "frames_per_video": 16}
CHALLENGES = {
    "va": "VA_Estimation_Challenge",
    "expr": "EXPR_Classification_Challenge",
    "au": "AU_Detection_Challenge",
}
HEADERS = {
    "va": "valence,arousal",
    "expr": "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other",
    "au": "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
}
TRAIN = ["train-0000_left", "train-0000_right", "train-0002", "train-0003", "train-0004"]
VALIDATION = ["validation-0000_left", "validation-0000_right", "validation-0002"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_faces(tmp_path_factory.mktemp("uni") / "uni", "uni", workers=1, **SIZE)


def module(root: Path, task: str) -> AffWild2UniDataModule:
    return AffWild2UniDataModule(str(root), task=task, image_size=32, batch_size=4)


def test_files_are_those_of_the_challenges(root: Path) -> None:
    assert sorted(path.name for path in (root / "cropped_aligned").iterdir()) == TRAIN + VALIDATION
    for task, challenge in CHALLENGES.items():
        for split, videos in (("Train_Set", TRAIN), ("Validation_Set", VALIDATION)):
            paths = sorted((root / challenge / split).iterdir())
            assert [path.stem for path in paths] == videos
            assert {path.read_text().splitlines()[0] for path in paths} == {HEADERS[task]}
    for folder in (root / "cropped_aligned").iterdir():
        rows = (root / CHALLENGES["va"]).glob(f"*/{folder.name}.txt")
        frames = sorted(int(path.stem) for path in folder.iterdir())
        assert 1 <= frames[0] <= frames[-1] <= len(next(rows).read_text().splitlines()) - 1
        assert cv2.imread(str(folder / f"{frames[0]:05d}.jpg")).shape == (112, 112, 3)


def test_one_and_two_workers_write_the_same_bytes(root: Path, tmp_path: Path) -> None:
    assert digests(draw_faces(tmp_path / "uni", "uni", workers=2, **SIZE)) == digests(root)


@pytest.mark.parametrize("task", CHALLENGES)
def test_the_reader_reads_it_back(root: Path, task: str) -> None:
    data = module(root, task)
    data.setup("fit")
    for split, name in (("train", "train"), ("val", "validation")):
        frames, images = data._split(split)
        state = pq.read_table(root / "state.parquet", filters=[("split", "==", name)])
        assert list(frames.image) == state["image"].to_pylist()
        assert all(path is None or path.is_file() for path in images)
        crops = [path for path in images if path is not None]
        assert len(set(crops)) == len(crops) == len(list((root / "cropped_aligned").glob(f"{name}*/*.jpg")))
        for video_name in set(frames.video):
            numbers = frames.frame[[one == video_name for one in frames.video]]
            assert numbers.tolist() == list(range(1, len(numbers) + 1))
        annotated = {video_name for video_name, has in zip(frames.video, frames.has_label, strict=True) if has}
        assert (f"{name}-0002" in annotated) == (task != "expr")
    left, right = (sum(one == name for one in data.frames("train").video) for name in TRAIN[:2])
    assert left == right


def test_crops_and_labels_are_missing_as_often_as_published(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        "rendering.writing.render", lambda *_: np.zeros((112, 112, 3), np.uint8)
    )  # pixels do not matter here
    root = draw_faces(tmp_path / "uni", "uni", seed=0, train_videos=40, val_videos=1, frames_per_video=100, workers=1)
    shares = {task: 1 - module(root, task).frames("train").has_label.mean() for task in CHALLENGES}
    assert 0.35 < shares["expr"] < 0.53
    assert 0 < shares["va"] < 0.03
    assert 0 < shares["au"] < 0.05
    frames, images = module(root, "va").read_split("train")
    missing = ~images.found
    assert 0.008 < missing.mean() < 0.04
    holes = np.flatnonzero(missing[1:] & missing[:-1])  # two in a row: a detector fails in stretches
    assert len(holes) > 5
    last = np.flatnonzero(np.diff(frames.frame) < 0)
    assert 0.4 < missing[last].mean() < 0.9


def test_trajectories_are_smooth_from_frame_to_frame() -> None:
    for index in range(10):
        seen = video.draw_video(0, video.UNI_TRAIN, index, 60)
        assert seen.frames.tolist() == list(range(1, 61))
        yaw = np.array([moment.pose.yaw for moment in seen.moments])
        assert np.abs(np.diff(yaw)).max() < 0.04
        assert np.abs(np.diff(seen.units.max(axis=1)[:, :10], axis=0)).max() < 0.4


def test_nobody_is_in_another_data_set() -> None:
    streams = range(10)
    people = {signature(stream, index, seed) for stream in streams for index in range(20) for seed in (0, 1)}
    assert len(people) == 10 * 20 * 2


def test_the_oracle_stands_above_chance(root: Path) -> None:
    known = oracle_predictions(root, "train")
    frames = module(root, "va").frames("train")
    metric = ConcordanceCorrelation()
    metric.update(torch.from_numpy(known["valence_arousal"]), torch.from_numpy(frames.valence_arousal))
    assert metric.compute().mean() > 0.3


def test_a_video_of_one_frame(tmp_path: Path) -> None:
    root = draw_faces(tmp_path / "uni", "uni", seed=0, train_videos=1, val_videos=1, frames_per_video=1, workers=1)
    frames, images = module(root, "au").read_split("train")
    assert list(frames.image) == ["train-0000_left/00001.jpg"]
    assert images.found.all()


def test_joint_lists_lack_videos_and_share_two(root: Path, tmp_path: Path) -> None:
    sizes = {**SIZE, "train_videos": 7, "val_videos": 6}
    joint = draw_faces(tmp_path / "joint", "joint", workers=1, **sizes)
    for challenge, lacking, validated in (
        ("VA_Estimation_Challenge", 3, "train-0004"),
        ("EXPR_Classification_Challenge", 4, None),
        ("AU_Detection_Challenge", 5, "train-0003"),
    ):
        train, val = (sorted(path.stem for path in (joint / challenge / split).iterdir())
                      for split in ("Train_Set", "Validation_Set"))  # fmt: skip
        known = [*TRAIN, "train-0005", "train-0006"]
        assert train == [name for name in known if name not in (f"train-{lacking:04d}", validated)]
        people = [*VALIDATION, "validation-0003", "validation-0004", "validation-0005"]
        assert val == [validated] * bool(validated) + [name for name in people if name != f"validation-{lacking:04d}"]
    # what is listed is what the layout "uni" has of the same seed
    of_uni = digests(root)
    of_joint = digests(joint)
    common = of_uni.keys() & of_joint.keys() - {"rendering.json", "attributes.csv"}
    assert len(common) > 60
    assert {name: of_uni[name] for name in common} == {name: of_joint[name] for name in common}
    with pytest.raises(FileNotFoundError, match="layouts mtl and uni"):
        oracle_predictions(joint, "train")
