"""Write drawn faces in real layouts: s-Aff-Wild2 MTL, the class folders of AffectNet and ABAW4 LSD, and CelebA.

A data set is written into a temporary folder beside its place and renamed when complete; ``rendering.json`` then holds
the parameters. ``state.parquet`` keeps what was rendered, row by row, for the oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from affect.labels import (
    AFFECTNET_EXPRESSIONS,
    EXPRESSIONS,
    LSD_EXPRESSIONS,
    LSD_FOLDERS,
    MISSING_CLASS,
    MISSING_VALENCE_AROUSAL,
    MTL_HEADER,
)
from datamodules.pictures import write_jpeg
from rendering import video
from rendering.affect import annotate
from rendering.face import render
from rendering.writing import SPLITS, Row, is_complete, map_tasks, state_rows, writing

_FILES: Final = {video.TRAIN: "training_set_annotations.txt", video.VALIDATION: "validation_set_annotations.txt"}
_VALENCE_AROUSAL: Final = {video.TRAIN: 103_917 / 142_333, video.VALIDATION: 1.0}
_ACTION_UNITS: Final = {video.TRAIN: 103_316 / 142_333, video.VALIDATION: 1.0}
_EXPRESSION: Final = {video.TRAIN: 90_645 / 142_333, video.VALIDATION: 15_440 / 26_876}
_DUPLICATES: Final = 1_112 / 169_209
_NO_CROP: Final = 0.003
_NOISY_FOLDER: Final = 0.05  # faces that show another expression than their class folder says


def render_mtl(
    root: Path, *, seed: int, train_videos: int, val_videos: int, frames_per_video: int, workers: int
) -> Path:
    """Render an s-Aff-Wild2 MTL data set: one person per video, none in both splits.

    Args:
        root: where it goes; if it is there already, rendered with the same parameters, nothing is done.
        seed: seed of every random draw.
        train_videos: number of training videos.
        val_videos: number of validation videos.
        frames_per_video: listed frames per video, before duplicates.
        workers: number of processes, which changes the time only.

    Returns:
        ``root``, holding ``cropped_aligned/<video>/%05d.jpg``, the two annotation files and ``state.parquet``.

    Raises:
        ValueError: ``root`` is there, but not with these parameters.
    """
    parameters: Row = {
        "layout": "mtl",
        "seed": seed,
        "train_videos": train_videos,
        "val_videos": val_videos,
        "frames_per_video": frames_per_video,
    }
    if is_complete(root, parameters):
        return root
    tasks = [(video.TRAIN, index) for index in range(train_videos)]
    tasks += [(video.VALIDATION, index) for index in range(val_videos)]
    with writing(root, parameters) as folder:
        job = partial(_write_video, folder / "cropped_aligned", seed, frames_per_video)
        rows = [row for part in map_tasks(job, tasks, workers, f"rendering {root.name}") for row in part]
        for stream, name in _FILES.items():
            lines = [row["line"] for row in rows if row["split"] == SPLITS[stream]]
            (folder / name).write_text("\n".join([MTL_HEADER, *lines]) + "\n")
        pq.write_table(pa.Table.from_pylist(rows).drop_columns(["line"]), folder / "state.parquet")
    return root


def render_affectnet(root: Path, *, seed: int, train_faces: int, val_faces: int, workers: int) -> Path:
    """Render AffectNet's class folders ``train/<0-7>/*.jpg`` and ``val/<0-7>/*.jpg``, one face per person.

    No person of any ``render_mtl`` data set, whatever its seed, is among them. The classes are balanced.

    Args:
        root: where it goes; if it is there already, rendered with the same parameters, nothing is done.
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
        workers: number of processes, which changes the time only.

    Returns:
        ``root``.

    Raises:
        ValueError: ``root`` is there, but not with these parameters.
    """
    parameters: Row = {"layout": "affectnet", "seed": seed, "train_faces": train_faces, "val_faces": val_faces}
    classes = {str(number): name for number, name in enumerate(AFFECTNET_EXPRESSIONS)}
    splits = {video.AFFECTNET_TRAIN: ("train", train_faces), video.AFFECTNET_VALIDATION: ("val", val_faces)}
    return _render_portraits(root, parameters, classes, splits, workers)


def render_lsd(root: Path, *, seed: int, train_faces: int, val_faces: int, workers: int) -> Path:
    """Render the ABAW4 LSD layout: ``training_set_synthetic_images/<CLASS>/*.jpg``, ``validation_set_real_images/…``.

    One face per person, none of them in another data set, whatever its seed. The classes are balanced, unlike those of
    the official training set, more than half of which is surprise.

    Args:
        root: where it goes; if it is there already, rendered with the same parameters, nothing is done.
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
        workers: number of processes, which changes the time only.

    Returns:
        ``root``.

    Raises:
        ValueError: ``root`` is there, but not with these parameters.
    """
    parameters: Row = {"layout": "lsd", "seed": seed, "train_faces": train_faces, "val_faces": val_faces}
    classes = {names[0]: expression for expression, names in zip(LSD_EXPRESSIONS, LSD_FOLDERS, strict=True)}
    splits = {
        video.LSD_TRAIN: ("training_set_synthetic_images", train_faces),
        video.LSD_VALIDATION: ("validation_set_real_images", val_faces),
    }
    return _render_portraits(root, parameters, classes, splits, workers)


def render_faces(root: Path, *, seed: int, train_faces: int, val_faces: int, workers: int) -> Path:
    """Render unlabelled faces in CelebA's layout: ``img_align_celeba/*.jpg`` and ``Eval/list_eval_partition.txt``.

    One face per person, none of them in another data set, whatever its seed; the seven expressions are equally many.

    Args:
        root: where it goes; if it is there already, rendered with the same parameters, nothing is done.
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
        workers: number of processes, which changes the time only.

    Returns:
        ``root``.

    Raises:
        ValueError: ``root`` is there, but not with these parameters.
    """
    parameters: Row = {"layout": "faces", "seed": seed, "train_faces": train_faces, "val_faces": val_faces}
    if is_complete(root, parameters):
        return root
    tasks = [(video.FACES_TRAIN, index) for index in range(train_faces)]
    tasks += [(video.FACES_VALIDATION, index) for index in range(val_faces)]
    with writing(root, parameters) as folder:
        for name in ("img_align_celeba", "Eval"):
            (folder / name).mkdir()
        job = partial(_write_face, folder / "img_align_celeba", seed)
        names = list(map_tasks(job, list(enumerate(tasks, start=1)), workers, f"rendering {root.name}"))
        lines = [
            f"{name} {int(stream == video.FACES_VALIDATION)}" for name, (stream, _) in zip(names, tasks, strict=True)
        ]
        (folder / "Eval" / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return root


def _render_portraits(
    root: Path, parameters: Row, classes: dict[str, str], splits: dict[int, tuple[str, int]], workers: int
) -> Path:
    """Render class folders.

    Args:
        root: where they go.
        parameters: what identifies the data set.
        classes: folder name of each expression.
        splits: folder and number of faces of each stream of random numbers.
        workers: number of processes.
    """
    if is_complete(root, parameters):
        return root
    tasks = [(stream, index) for stream, (_, faces) in splits.items() for index in range(faces)]
    with writing(root, parameters) as folder:
        for split, _ in splits.values():
            for name in classes:
                (folder / split / name).mkdir(parents=True)
        names = {stream: split for stream, (split, _) in splits.items()}
        job = partial(_write_portrait, folder, parameters["seed"], names, classes)
        pq.write_table(
            pa.Table.from_pylist(list(map_tasks(job, tasks, workers, f"rendering {root.name}"))),
            folder / "state.parquet",
        )
    return root


def _write_video(images: Path, seed: int, frames: int, task: tuple[int, int]) -> list[Row]:
    """Render, annotate and write one video.

    Returns:
        One row per line of the annotation file, with the line itself and the rendered state.
    """
    stream, index = task
    drawn = video.draw_video(seed, stream, index, frames)
    name = f"{SPLITS[stream]}-{index:04d}"
    folder = images / name
    folder.mkdir(parents=True)
    rng = video.generator(seed, stream, index, video.LISTING)
    annotators = video.generator(seed, stream, index, video.ANNOTATORS)
    stronger = drawn.units.max(axis=1)
    affect, expression, present = annotate(annotators, stronger, drawn.expression, drawn.frames)
    spread = video.spread(seed, stream, index)[-2:]
    has_affect, has_units = spread[0] < _VALENCE_AROUSAL[stream], spread[1] < _ACTION_UNITS[stream]
    # a row without any label is not listed: videos that miss both others have their expression annotated
    neither = (1 - _VALENCE_AROUSAL[stream]) * (1 - _ACTION_UNITS[stream])
    share = (_EXPRESSION[stream] - neither) / (1 - neither) if has_affect or has_units else 1.0
    names = [f"{frame:05d}.jpg" for frame in drawn.frames.tolist()]
    rows: list[Row] = []
    for t, row in enumerate(state_rows(drawn, SPLITS[stream], [f"{name}/{file}" for file in names])):
        draws = rng.random(3)
        if draws[0] >= _NO_CROP:
            write_jpeg(render(drawn.person, drawn.moments[t], drawn.background), drawn.quality, folder / names[t])
        numbers = [f"{value:.4f}" if has_affect else f"{MISSING_VALENCE_AROUSAL:.1f}" for value in affect[t]]
        numbers.append(str(expression[t] if draws[1] < share else MISSING_CLASS))
        numbers += [str(value if has_units else MISSING_CLASS) for value in present[t]]
        row["line"] = ",".join([row["image"], *numbers])
        rows += [row] * (2 if draws[2] < _DUPLICATES else 1)
    return rows


def draw_listed(seed: int, stream: int, index: int, expressions: Sequence[str]) -> tuple[int, str, video.Video]:
    """Draw one labelled face; a few show another expression than their label says.

    Args:
        seed: seed of the data set.
        stream: stream of random numbers of its split.
        index: number of the face in its split, which decides the label.
        expressions: classes of the data set.

    Returns:
        The label, an index into ``expressions``; the expression that is shown; the face.
    """
    rng = video.generator(seed, stream, index, video.LISTING)
    label = index % len(expressions)
    shown = expressions[int(rng.integers(len(expressions))) if rng.random() < _NOISY_FOLDER else label]
    return label, shown, video.draw_portrait(seed, stream, index, shown)


def _write_portrait(
    root: Path, seed: int, splits: dict[int, str], classes: dict[str, str], task: tuple[int, int]
) -> Row:
    """Render and write one face into its class folder."""
    stream, index = task
    folders = list(classes)
    number, shown, drawn = draw_listed(seed, stream, index, list(classes.values()))
    image = f"{splits[stream]}/{folders[number]}/{index:06d}.jpg"
    write_jpeg(render(drawn.person, drawn.moments[0], drawn.background), drawn.quality, root / image)
    return {"split": splits[stream], "image": image, "shown": shown}


def _write_face(folder: Path, seed: int, task: tuple[int, tuple[int, int]]) -> str:
    """Render and write one unlabelled face; return its file name."""
    number, (stream, index) = task
    drawn = video.draw_portrait(seed, stream, index, EXPRESSIONS[index % (len(EXPRESSIONS) - 1)])
    name = f"{number:06d}.jpg"
    write_jpeg(render(drawn.person, drawn.moments[0], drawn.background), drawn.quality, folder / name)
    return name
