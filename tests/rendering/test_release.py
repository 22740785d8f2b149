"""AffectNet as it is given out, rendered: the faces of the class folders, annotations that the reader takes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from affect.labels import AFFECTNET_EXPRESSIONS, EXPRESSIONS
from datamodules.affectnet import AffectNetDataModule
from rendering.affect import CONTEMPT, annotate_portrait, valence_arousal
from rendering.cache import draw as draw_faces

SIZE = {"seed": 3, "train_faces": 48, "val_faces": 16}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_faces(tmp_path_factory.mktemp("release") / "release", "affectnet_release", workers=1, **SIZE)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_faces_and_expressions_are_those_of_the_class_folders(release: Path, tmp_path: Path) -> None:
    folders = draw_faces(tmp_path / "folders", "affectnet", workers=1, **SIZE)
    for split, faces in (("train", 48), ("val", 16)):
        paths = list((folders / split).rglob("*.jpg"))
        assert len(paths) == len(list((release / f"{split}_set" / "images").iterdir())) == faces
        for path in paths:
            same = release / f"{split}_set" / "images" / path.name
            assert same.read_bytes() == path.read_bytes()
            label = np.load(release / f"{split}_set" / "annotations" / f"{path.stem}_exp.npy")
            assert label.shape == ()
            assert label.item() == path.parent.name


def test_the_reader_takes_all_annotations(release: Path) -> None:
    data = AffectNetDataModule(str(release), image_size=32, batch_size=8, valence_arousal=True)
    for split, faces in (("train", 48), ("val", 16)):
        frames = data.frames(split)
        assert np.bincount(frames.expression).tolist() == [faces // 8] * 8
        assert np.isfinite(frames.valence_arousal).all()
        state = pq.read_table(release / "state.parquet", filters=[("split", "==", f"{split}_set")])
        assert [name.rpartition("/")[2] for name in state["image"].to_pylist()] == list(frames.image)
        truth = np.stack([state["valence"], state["arousal"]], axis=1)
        noise = frames.valence_arousal - truth
        assert 0.05 < noise.std() < 0.35
        assert np.corrcoef(frames.valence_arousal.ravel(), truth.ravel())[0, 1] > 0.7
        shown = np.array([AFFECTNET_EXPRESSIONS.index(name) for name in state["shown"].to_pylist()])
        assert np.mean(shown == frames.expression) > 0.8


def test_workers_change_nothing(release: Path, tmp_path: Path) -> None:
    again = draw_faces(tmp_path / "again", "affectnet_release", workers=2, **SIZE)
    assert digests(again) == digests(release)


def test_what_a_photograph_shows_is_what_a_frame_of_that_expression_shows() -> None:
    units = np.random.default_rng(0).random((len(EXPRESSIONS), 16))
    whole = valence_arousal(units, np.eye(len(EXPRESSIONS)))
    for row, name in enumerate(EXPRESSIONS):
        truth, written = annotate_portrait(np.random.default_rng(row), units[row], name)
        np.testing.assert_allclose(truth, whole[row])
        assert (np.abs(written) <= 1).all()
    truth, _ = annotate_portrait(np.random.default_rng(0), np.zeros(16), CONTEMPT)
    assert truth[0] < 0


def test_the_noise_is_that_of_a_frame() -> None:
    rng = np.random.default_rng(0)
    noise = [np.subtract(*annotate_portrait(rng, np.zeros(16), EXPRESSIONS[0])[::-1]) for _ in range(2000)]
    assert np.std(noise) == pytest.approx(np.sqrt(0.12**2 + 0.14**2 + 0.07**2), rel=0.05)
