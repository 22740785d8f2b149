"""Plan drawn faces in AffectNet's layout: single faces with annotations of expression, valence and arousal."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from affect.labels import AFFECTNET_EXPRESSIONS
from rendering import video
from rendering.affect import annotate_portrait
from rendering.dataset import draw_listed
from rendering.writing import Plan, Row, write_frame

_SPLITS: Final = {video.AFFECTNET_TRAIN: "train_set", video.AFFECTNET_VALIDATION: "val_set"}


def plan_affectnet_release(*, seed: int, train_faces: int, val_faces: int) -> Plan:
    """Plan ``{train,val}_set/images/<id>.jpg`` and ``{train,val}_set/annotations/<id>_{exp,val,aro}.npy``.

    The faces and their expressions are those of ``plan_affectnet`` with the same seed; valence and arousal follow from
    what is shown, with an annotator's noise. Numbers are strings, as in the real files; there are no landmarks. The
    folder also holds ``state.parquet``: what each picture shows, and valence and arousal without noise.

    Args:
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
    """
    splits = {video.AFFECTNET_TRAIN: train_faces, video.AFFECTNET_VALIDATION: val_faces}
    folders = [f"{split}/{name}" for split in _SPLITS.values() for name in ("images", "annotations")]
    return Plan(splits, partial(_write_face, seed), lambda stream, index: f"{index:06d}.jpg", folders)


def _write_face(seed: int, root: Path, task: tuple[int, int]) -> list[Row]:
    """Render, annotate and write one face."""
    stream, index = task
    label, shown, drawn = draw_listed(seed, stream, index, AFFECTNET_EXPRESSIONS)
    split, name = _SPLITS[stream], f"{index:06d}"
    image = f"{split}/images/{name}.jpg"
    write_frame(drawn, 0, root / image)
    annotators = video.generator(seed, stream, index, video.ANNOTATORS)
    truth, written = annotate_portrait(annotators, drawn.units[0].max(axis=0), shown)
    texts = {"exp": str(label), "val": f"{written[0]:.4f}", "aro": f"{written[1]:.4f}"}
    for kind, text in texts.items():
        np.save(root / split / "annotations" / f"{name}_{kind}.npy", np.array(text))
    return [{"split": split, "image": image, "shown": shown, "valence": float(truth[0]), "arousal": float(truth[1])}]
