"""Plan drawn faces in real layouts: s-Aff-Wild2 MTL, the class folders of AffectNet and ABAW4 LSD, and CelebA.

``rendering.cache.draw`` writes what is planned here. ``state.parquet`` keeps what was rendered, row by row, for the
oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from affect.labels import (
    AFFECTNET_EXPRESSIONS,
    EXPRESSIONS,
    LSD_EXPRESSIONS,
    LSD_FOLDERS,
    MISSING_CLASS,
    MISSING_VALENCE_AROUSAL,
    MTL_HEADER,
)
from rendering import video
from rendering.affect import annotate
from rendering.look import USUAL, Look
from rendering.writing import SPLITS, Plan, Row, state_rows, write_frame, write_state

_FILES: Final = {video.TRAIN: "training_set_annotations.txt", video.VALIDATION: "validation_set_annotations.txt"}
_PORTRAITS: Final = {
    video.AFFECTNET_TRAIN: "train",
    video.AFFECTNET_VALIDATION: "val",
    video.LSD_TRAIN: "training_set_synthetic_images",
    video.LSD_VALIDATION: "validation_set_real_images",
}
_VALENCE_AROUSAL: Final = {video.TRAIN: 103_917 / 142_333, video.VALIDATION: 1.0}
_ACTION_UNITS: Final = {video.TRAIN: 103_316 / 142_333, video.VALIDATION: 1.0}
_EXPRESSION: Final = {video.TRAIN: 90_645 / 142_333, video.VALIDATION: 15_440 / 26_876}
_DUPLICATES: Final = 1_112 / 169_209
_NO_CROP: Final = 0.003
_NOISY_FOLDER: Final = 0.05  # faces that show another expression than their class folder says


def plan_mtl(*, seed: int, train_videos: int, val_videos: int, frames_per_video: int, **look: int) -> Plan:
    """Plan an s-Aff-Wild2 MTL data set: one person per video, none in both splits.

    Its folder holds ``cropped_aligned/<video>/%05d.jpg``, the two annotation files and ``state.parquet``.

    Args:
        seed: seed of every random draw.
        train_videos: number of training videos.
        val_videos: number of validation videos.
        frames_per_video: listed frames per video, before duplicates.
        look: see ``rendering.look.Look``.
    """
    splits = {video.TRAIN: train_videos, video.VALIDATION: val_videos}
    return Plan(splits, partial(_write_video, seed, frames_per_video, Look(**look)), _video, finish=_write_annotations)


def plan_affectnet(*, seed: int, train_faces: int, val_faces: int, **look: int) -> Plan:
    """Plan AffectNet's class folders ``train/<0-7>/*.jpg`` and ``val/<0-7>/*.jpg``, one face per person.

    No person of any ``plan_mtl``, whatever its seed, is among them. The classes are balanced.

    Args:
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
        look: see ``rendering.look.Look``.
    """
    classes = {str(number): name for number, name in enumerate(AFFECTNET_EXPRESSIONS)}
    splits = {video.AFFECTNET_TRAIN: train_faces, video.AFFECTNET_VALIDATION: val_faces}
    return _plan_portraits(seed, splits, classes, Look(**look))


def plan_lsd(*, seed: int, train_faces: int, val_faces: int) -> Plan:
    """Plan the ABAW4 LSD layout: ``training_set_synthetic_images/<CLASS>/*.jpg``, ``validation_set_real_images/…``.

    One face per person, none of them in another data set, whatever its seed. The classes are balanced, unlike those of
    the official training set, more than half of which is surprise.

    Args:
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
    """
    classes = {names[0]: expression for expression, names in zip(LSD_EXPRESSIONS, LSD_FOLDERS, strict=True)}
    return _plan_portraits(seed, {video.LSD_TRAIN: train_faces, video.LSD_VALIDATION: val_faces}, classes)


def plan_faces(*, seed: int, train_faces: int, val_faces: int) -> Plan:
    """Plan unlabelled faces in CelebA's layout: ``img_align_celeba/*.jpg`` and ``Eval/list_eval_partition.txt``.

    One face per person, none of them in another data set, whatever its seed; the seven expressions are equally many.

    Args:
        seed: seed of every random draw.
        train_faces: number of training faces.
        val_faces: number of validation faces.
    """
    splits = {video.FACES_TRAIN: train_faces, video.FACES_VALIDATION: val_faces}
    name = partial(_face, {video.FACES_TRAIN: 1, video.FACES_VALIDATION: 1 + train_faces})
    return Plan(splits, partial(_write_face, seed, name), name, ("img_align_celeba", "Eval"), _write_partition)


def _plan_portraits(seed: int, splits: Mapping[int, int], classes: dict[str, str], look: Look = USUAL) -> Plan:
    """Plan class folders, given the number of faces of each stream and the expression in each folder."""
    folders = [f"{_PORTRAITS[stream]}/{name}" for stream in splits for name in classes]
    name = partial(_portrait, list(classes))
    return Plan(splits, partial(_write_portrait, seed, classes, look), name, folders)


def _video(stream: int, index: int) -> str:
    """Name a video."""
    return f"{SPLITS[stream]}-{index:04d}"


def _portrait(folders: Sequence[str], stream: int, index: int) -> str:
    """Name the picture of a labelled face, below the folder of its split; its label follows from its number."""
    return f"{folders[index % len(folders)]}/{index:06d}.jpg"


def _face(first: Mapping[int, int], stream: int, index: int) -> str:
    """Name the picture of an unlabelled face; ``first`` is the number of the first face of each stream."""
    return f"img_align_celeba/{first[stream] + index:06d}.jpg"


def _write_video(seed: int, frames: int, look: Look, root: Path, task: tuple[int, int]) -> list[Row]:
    """Render, annotate and write one video.

    Returns:
        One row per line of the annotation file, with the line itself and the rendered state.
    """
    stream, index = task
    drawn = video.draw_video(seed, stream, index, frames, look)
    name = _video(stream, index)
    folder = root / "cropped_aligned" / name
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
            write_frame(drawn, t, folder / names[t])
        numbers = [f"{value:.4f}" if has_affect else f"{MISSING_VALENCE_AROUSAL:.1f}" for value in affect[t]]
        numbers.append(str(expression[t] if draws[1] < share else MISSING_CLASS))
        numbers += [str(value if has_units else MISSING_CLASS) for value in present[t]]
        row["line"] = ",".join([row["image"], *numbers])
        rows += [row] * (2 if draws[2] < _DUPLICATES else 1)
    return rows


def _write_annotations(folder: Path, rows: list[Row]) -> None:
    """Write the two annotation files and the rendered state."""
    for stream, name in _FILES.items():
        lines = [row["line"] for row in rows if row["split"] == SPLITS[stream]]
        (folder / name).write_text("\n".join([MTL_HEADER, *lines]) + "\n")
    write_state(folder, [{key: value for key, value in row.items() if key != "line"} for row in rows])


def draw_listed(
    seed: int, stream: int, index: int, expressions: Sequence[str], look: Look = USUAL
) -> tuple[int, str, video.Video]:
    """Draw one labelled face; a few show another expression than their label says.

    Args:
        seed: seed of the data set.
        stream: stream of random numbers of its split.
        index: number of the face in its split, which decides the label.
        expressions: classes of the data set.
        look: harder ways to draw it.

    Returns:
        The label, an index into ``expressions``; the expression that is shown; the face.
    """
    rng = video.generator(seed, stream, index, video.LISTING)
    label = index % len(expressions)
    shown = expressions[int(rng.integers(len(expressions))) if rng.random() < _NOISY_FOLDER else label]
    return label, shown, video.draw_portrait(seed, stream, index, shown, look)


def _write_portrait(seed: int, classes: dict[str, str], look: Look, root: Path, task: tuple[int, int]) -> list[Row]:
    """Render and write one face into its class folder."""
    stream, index = task
    _, shown, drawn = draw_listed(seed, stream, index, list(classes.values()), look)
    split = _PORTRAITS[stream]
    image = f"{split}/{_portrait(list(classes), stream, index)}"
    write_frame(drawn, 0, root / image)
    return [{"split": split, "image": image, "shown": shown}]


def _write_face(seed: int, name: Callable[[int, int], str], root: Path, task: tuple[int, int]) -> list[Row]:
    """Render and write one unlabelled face."""
    stream, index = task
    image = name(stream, index)
    drawn = video.draw_portrait(seed, stream, index, EXPRESSIONS[index % (len(EXPRESSIONS) - 1)])
    write_frame(drawn, 0, root / image)
    return [{"line": f"{Path(image).name} {int(stream == video.FACES_VALIDATION)}"}]


def _write_partition(folder: Path, rows: list[Row]) -> None:
    """Write the list that says which faces are validation faces."""
    (folder / "Eval" / "list_eval_partition.txt").write_text("\n".join(row["line"] for row in rows) + "\n")
