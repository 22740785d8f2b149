"""The comparison on photographs: scores and thirds; the photographs themselves where they are there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.studies.photographs import (  # fmt: skip
    CANDIDATES,
    Split,
    answers,
    command,
    gradients,
    linear,
    per_source,
    read,
    thirds,
    write_thirds,
)
from datamodules.readers.mtl import read_mtl
from runs.config import CONFIG_DIR, check_command_line

PHOTOGRAPHS = CONFIG_DIR.parent / ".." / "shared" / "real_faces_small"
HEADER = "image,valence,arousal,expression,aus"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Six groups of 24 pictures, three a class, whose brightness tells the class."""
    random = np.random.default_rng(0)
    for split, groups in (("training", 6), ("validation", 2)):
        lines = [HEADER]
        for group in range(groups):
            for number in range(24):
                name = f"{split}{group}/{number + 1:05d}.jpg"
                (tmp_path / "cropped_aligned" / name).parent.mkdir(parents=True, exist_ok=True)
                picture = random.integers(0, 30, (112, 112, 3)) + 25 * (number % 8)
                picture[:: 4 + number % 8] = 255
                cv2.imwrite(str(tmp_path / "cropped_aligned" / name), picture.astype(np.uint8))
                lines.append(f"{name},-5,-5,{number % 8}{',-1' * 12}")
        (tmp_path / f"{split}_set_annotations.txt").write_text("\n".join(lines) + "\n")
    images = [line.split(",")[0] for line in lines[1:]]
    sources = ["a" if int(image[-6:-4]) < 9 else "b" for image in images]
    rows = [f"{image},{source}" for image, source in zip(images, sources, strict=True)]
    (tmp_path / "sources.csv").write_text("\n".join(["image,source", *rows]) + "\n")
    return tmp_path


def test_scores_are_those_of_scikit_learn(root: Path) -> None:
    val = read(root, "validation")
    predicted = np.random.default_rng(1).integers(0, 7, len(val.labels))
    accuracy, f1 = answers(predicted, val).scores()[0]
    assert accuracy == pytest.approx(accuracy_score(val.labels, predicted))
    assert f1 == pytest.approx(f1_score(val.labels, predicted, average="macro", labels=range(8), zero_division=0))


def test_no_video_is_on_both_sides_and_files_select_the_same_rows(root: Path, tmp_path: Path) -> None:
    train = read(root, "training")
    selections = write_thirds(root, train, tmp_path / "thirds")
    scored = []
    for (learn, score), given in zip(thirds(train), selections, strict=True):
        assert not {train.frames.video[i] for i in learn} & {train.frames.video[i] for i in score}
        for part, override in zip((learn, score), given, strict=True):
            frames = read_mtl(Path(override.partition("=")[2]))
            assert frames.image == [train.frames.image[i] for i in part]
        scored += list(score)
    assert sorted(scored) == list(range(len(train.labels)))


@pytest.mark.slow
def test_the_linear_baseline_learns_and_scores_are_told_by_source(root: Path) -> None:
    train, val = read(root, "training"), read(root, "validation")
    predicted, strength = linear(gradients(train.images), train, gradients(val.images))
    said = answers(predicted, val)
    assert said.named()["ACC_EXPR"] > 0.9
    assert strength > 0
    rows = per_source(root, val, {"it": [said, said]})
    assert rows[0] == ["source", "images", "it"]
    assert [row[:2] for row in rows[1:]] == [["a", "16"], ["b", "32"]]


@pytest.mark.parametrize("name", CANDIDATES)
def test_candidates_are_runs_that_train_py_takes(name: str, root: Path, tmp_path: Path, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(
        "benchmarks.studies.photographs.run", lambda folder, script, arguments: made.append((folder, arguments))
    )
    check_command_line("train", command(name, tmp_path))
    assert bool(made) == ("rendered" in " ".join(CANDIDATES[name]))
    for _, arguments in made:
        check_command_line("train", arguments)


def test_the_photographs_are_read() -> None:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"{PHOTOGRAPHS} is not there")
    train: Split = read(PHOTOGRAPHS, "training")
    assert np.bincount(train.labels).tolist() == [259, 249, 70, 112, 259, 248, 251, 54]
