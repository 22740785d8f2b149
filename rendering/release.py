"""Write drawn faces in AffectNet's layout: single faces with annotations of expression, valence and arousal."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from affect.labels import AFFECTNET_EXPRESSIONS
from datamodules.pictures import write_jpeg
from rendering import video
from rendering.affect import annotate_portrait
from rendering.dataset import draw_listed
from rendering.face import render
from rendering.writing import Row, is_complete, map_tasks, writing

_SPLITS: Final = {video.AFFECTNET_TRAIN: "train_set", video.AFFECTNET_VALIDATION: "val_set"}


def render_affectnet_release(root: Path, *, seed: int, train_faces: int, val_faces: int, workers: int) -> Path:
    """Render ``{train,val}_set/images/<id>.jpg`` and ``{train,val}_set/annotations/<id>_{exp,val,aro}.npy``.

    The faces and their expressions are those that ``render_affectnet`` writes with the same seed; valence and arousal
    follow from what is shown, with an annotator's noise. Numbers are strings, as in the real files; there are no
    landmarks.

    Args:
        root: where it goes; if it is there already, rendered with the same parameters, nothing is done.
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
        workers: number of processes, which changes the time only.

    Returns:
        ``root``, which also holds ``state.parquet``: what each picture shows, and valence and arousal without noise.

    Raises:
        ValueError: ``root`` is there, but not with these parameters.
    """
    parameters: Row = {"layout": "affectnet_release", "seed": seed, "train_faces": train_faces, "val_faces": val_faces}
    if is_complete(root, parameters):
        return root
    faces = {video.AFFECTNET_TRAIN: train_faces, video.AFFECTNET_VALIDATION: val_faces}
    tasks = [(stream, index) for stream, count in faces.items() for index in range(count)]
    with writing(root, parameters) as folder:
        for split in _SPLITS.values():
            for name in ("images", "annotations"):
                (folder / split / name).mkdir(parents=True)
        job = partial(_write_face, folder, seed)
        rows = list(map_tasks(job, tasks, workers, f"rendering {root.name}"))
        pq.write_table(pa.Table.from_pylist(rows), folder / "state.parquet")
    return root


def _write_face(root: Path, seed: int, task: tuple[int, int]) -> Row:
    """Render, annotate and write one face."""
    stream, index = task
    label, shown, drawn = draw_listed(seed, stream, index, AFFECTNET_EXPRESSIONS)
    split, name = _SPLITS[stream], f"{index:06d}"
    image = f"{split}/images/{name}.jpg"
    write_jpeg(render(drawn.person, drawn.moments[0], drawn.background), drawn.quality, root / image)
    annotators = video.generator(seed, stream, index, video.ANNOTATORS)
    truth, written = annotate_portrait(annotators, drawn.units[0].max(axis=0), shown)
    texts = {"exp": str(label), "val": f"{written[0]:.4f}", "aro": f"{written[1]:.4f}"}
    for kind, text in texts.items():
        np.save(root / split / "annotations" / f"{name}_{kind}.npy", np.array(text))
    return {"split": split, "image": image, "shown": shown, "valence": float(truth[0]), "arousal": float(truth[1])}
