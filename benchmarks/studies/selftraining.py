"""Self-training on pictures without labels, after Xie et al., "Self-training with Noisy Student", CVPR 2020.

A network that was trained on the labelled pictures (the teacher) says what it sees on those without labels. A new
network (the student) learns from what the teacher is sure of together with the labels, which it sees ``REPEATS`` times
as often, all of it augmented; then it is fine-tuned on the labels alone. Unlike theirs, the student is as large as
the teacher, and there is one round.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from affect.errors import DataError
from affect.files import put_in_place, write_whole
from affect.labels import ACTION_UNITS, MISSING_CLASS, MISSING_VALENCE_AROUSAL, MTL_HEADER
from datamodules.links import Links
from datamodules.listing import list_images
from evaluators.table import read_table
from runs.stages import run

SURE: Final = 0.5
"""Probability from which what the teacher says is learnt."""

REPEATS: Final = 2
STUDENT: Final = ("trainer.max_epochs=2", "data.batch_size=32")
LIST: Final = "list.txt"
WEIGHTS: Final = "model.network.weights="


def listed(faces: Path, folder: Path) -> Path:
    """Copy pictures to where the reader of s-Aff-Wild2 looks for them, and list them; unless that was done before.

    Args:
        faces: a folder of pictures, and folders of pictures below it.
        folder: the copy.

    Raises:
        DataError: there are no pictures.
    """
    if folder.is_dir():
        return folder
    images = list_images(faces, None, Links(faces, follow_outside=False), recursive=True)
    if not images:
        raise DataError(f"no picture in {faces} or any folder below it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        made = Path(place) / "pictures"
        (made / "cropped_aligned" / "unlabelled").mkdir(parents=True)
        names = [f"unlabelled/{number:06d}{Path(image).suffix}" for number, image in enumerate(images, start=1)]
        for image, name in zip(images, names, strict=True):
            shutil.copyfile(faces / image, made / "cropped_aligned" / name)
        (made / LIST).write_text("\n".join([MTL_HEADER, *names]) + "\n")
        put_in_place(made, folder)
    return folder


def pseudo_labels(table: Path, labelled: Path, file: Path) -> None:
    """Write an annotation file with the labelled rows and what a teacher is sure of.

    Args:
        table: the teacher's predictions of pictures without labels.
        labelled: annotation file of the teacher's training.
        file: what is written.
    """
    predictions = read_table(table)
    header, *rows = labelled.read_text().splitlines()
    probability = predictions.predictions["expression"]
    others = ",".join([str(MISSING_CLASS)] * len(ACTION_UNITS))
    sure = [
        f"{image},{MISSING_VALENCE_AROUSAL:g},{MISSING_VALENCE_AROUSAL:g},{said},{others}"
        for image, said, p in zip(predictions.image, probability.argmax(axis=1), probability.max(axis=1), strict=True)
        if p >= SURE
    ]
    write_whole(file, "\n".join([header, *rows * REPEATS, *sure]) + "\n")


def self_trained(folder: Path, given: Sequence[str], labelled: Path, root: Path, faces: Path) -> Path:
    """Train teacher, student and the network that is fine-tuned; what is finished is not repeated.

    Args:
        folder: of the three runs.
        given: overrides of the teacher's run but for its data; the student starts from the weights that they name, too.
        labelled: annotation file of its training split.
        root: of the labelled pictures.
        faces: the folder that ``listed`` has made.

    Returns:
        The last run's folder.
    """
    own = [f"data.root={root}", f"data.train_annotations={labelled}"]
    teacher = run(folder / "teacher", "train", [*given, *own])
    unseen = [f"checkpoint={teacher}", f"data.root={faces}", "split=test", f"data.test_list={faces / LIST}"]
    said = run(folder / "said", "evaluate", unseen)
    pseudo_labels(said / "predictions" / "test.parquet", labelled, folder / "pseudo.txt")
    both = [f"data.root=[{root},{faces}]", f"data.train_annotations={folder / 'pseudo.txt'}"]
    student = run(folder / "student", "train", [*given, *both, *STUDENT])
    others = [override for override in given if not override.startswith(WEIGHTS)]
    return run(folder / "tuned", "train", [*others, f"{WEIGHTS}{student / 'weights' / 'backbone.pth'}", *own])
