"""Self-training: what the teacher is sure of, and the runs that follow each other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from affect.errors import DataError
from affect.labels import MTL_HEADER
from benchmarks.studies.selftraining import LIST, REPEATS, SURE, listed, pseudo_labels, self_trained
from datamodules.readers.mtl import read_frame_list, read_mtl
from evaluators.table import read_table


def pictures(folder: Path, names: list[str]) -> Path:
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), random.integers(0, 256, (48, 48, 3)).astype(np.uint8))
    return folder


def test_pictures_are_copied_once_and_listed(tmp_path: Path) -> None:
    names = ["a/x.jpg", "a/deep/er.png", "b.JPG"]
    made = listed(pictures(tmp_path / "faces", names), tmp_path / "copy")
    frames = read_frame_list(made / LIST)
    assert len(frames.image) == len(names)
    originals = {(tmp_path / "faces" / name).read_bytes() for name in names}
    assert {(made / "cropped_aligned" / image).read_bytes() for image in frames.image} == originals
    before = (made / LIST).stat().st_mtime_ns
    assert listed(tmp_path / "nowhere", tmp_path / "copy") == made
    assert (made / LIST).stat().st_mtime_ns == before


def test_a_folder_without_pictures_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    with pytest.raises(DataError, match="no picture in"):
        listed(tmp_path / "faces", tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


@pytest.mark.slow
def test_teacher_student_and_the_tuned_network_follow_each_other(tmp_path: Path) -> None:
    lines = []
    for number in range(32):
        name = f"video{number % 4}/{number + 1:05d}.jpg"
        path = tmp_path / "root" / "cropped_aligned" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((112, 112, 3), 120 * (number % 2), np.uint8))
        lines.append(f"{name},-5,-5,{4 * (number % 2)}{',-1' * 12}")
    labelled = tmp_path / "labelled.txt"
    labelled.write_text("\n".join([MTL_HEADER, *lines]) + "\n")
    faces = listed(pictures(tmp_path / "faces", [f"{number}.jpg" for number in range(40)]), tmp_path / "copy")
    given = [
        "experiment=photographs", "trainer=cpu", "trainer.precision=32-true", "model.network.image_size=32",
        "model.network.weights=random", "trainer.max_epochs=2", "data.batch_size=8", "callbacks.progress=null",
        f"data.val_annotations={labelled}",
    ]  # fmt: skip
    last = self_trained(tmp_path / "runs", given, labelled, tmp_path / "root", faces)
    assert last == tmp_path / "runs" / "tuned"
    table = read_table(tmp_path / "runs" / "said" / "predictions" / "test.parquet")
    sure = table.predictions["expression"].max(axis=1) >= SURE
    learnt = read_mtl(tmp_path / "runs" / "pseudo.txt")
    assert len(learnt.image) == REPEATS * 32 + sure.sum()
    said = dict(zip(table.image, table.predictions["expression"].argmax(axis=1), strict=True))
    of_faces = {image: label for image, label in zip(learnt.image, learnt.expression, strict=True) if image in said}
    assert of_faces == {image: said[image] for image, keep in zip(table.image, sure, strict=True) if keep}
    pseudo_labels(tmp_path / "runs" / "said" / "predictions" / "test.parquet", labelled, tmp_path / "again.txt")
    assert (tmp_path / "again.txt").read_bytes() == (tmp_path / "runs" / "pseudo.txt").read_bytes()
    config = (last / "config.yaml").read_text()
    assert "student/weights/backbone.pth" in config
    assert (tmp_path / "runs" / "student" / "config.yaml").read_text().count("weights: random") == 1
