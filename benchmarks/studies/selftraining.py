"""Self-training on pictures without labels, after Xie et al., "Self-training with Noisy Student", CVPR 2020.

A network that was trained on labelled pictures (the teacher) says what it sees on those without labels. A new network
(the student) learns from what the teacher is sure of together with the labels, all of it augmented. Unlike theirs, the
student is as large as the teacher, and there is one round.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from affect.errors import DataError
from affect.files import put_in_place, write_whole
from affect.labels import ACTION_UNITS, MISSING_CLASS, MISSING_VALENCE_AROUSAL, MTL_HEADER
from benchmarks.studies.running import run
from datamodules.links import Links
from datamodules.listing import list_images
from evaluators.table import read_table

SURE: Final = 0.5
"""Probability from which the expression that the teacher says is learnt."""

SURE_UNIT: Final = 0.6
"""The same for an action unit, or for its absence."""

REPEATS: Final = 2
"""How often a few photographs are listed beside many without labels."""

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


def pseudo_labels(table: Path, labelled: Path, file: Path, *, repeats: int = 1) -> None:
    """Write an annotation file with the labelled rows and what a teacher is sure of.

    Valence and arousal, which have no probability, are taken as they are said.

    Args:
        table: the teacher's predictions of pictures without labels.
        labelled: annotation file of the teacher's training.
        file: what is written.
        repeats: how often each labelled row is listed.
    """
    predictions = read_table(table)
    said, rows = predictions.predictions, len(predictions.image)
    expression, units = np.full(rows, MISSING_CLASS), np.full((rows, len(ACTION_UNITS)), MISSING_CLASS)
    valence_arousal = said.get("valence_arousal", np.full((rows, 2), MISSING_VALENCE_AROUSAL))
    if "expression" in said:
        expression = np.where(said["expression"].max(axis=1) >= SURE, said["expression"].argmax(axis=1), MISSING_CLASS)
    if "action_units" in said:
        units[said["action_units"] > SURE_UNIT] = 1
        units[said["action_units"] < 1 - SURE_UNIT] = 0
    learnt = [
        ",".join([image, *(f"{value:.3g}" for value in va), str(of_expression), *map(str, of_units)])
        for image, va, of_expression, of_units in zip(
            predictions.image, valence_arousal, expression, units, strict=True
        )
        if "valence_arousal" in said or max(of_expression, *of_units) > MISSING_CLASS
    ]
    header, *labels = labelled.read_text().splitlines()
    write_whole(file, "\n".join([header, *labels * repeats, *learnt]) + "\n")


def taught(folder: Path, teacher: Path, labelled: Path, faces: Path, *, repeats: int = 1) -> Path:
    """Let a teacher say what it sees; return the annotation file that its student learns from (``pseudo_labels``).

    Args:
        folder: of what the teacher says, and of the file.
        teacher: its run.
        labelled: annotation file of its training.
        faces: the folder that ``listed`` has made.
        repeats: how often each labelled row is listed.
    """
    unseen = [f"checkpoint={teacher}", "data=affwild2_mtl", f"data.root={faces}", "split=test",
              f"data.test_list={faces / LIST}"]  # fmt: skip
    said = run(folder / "said", "evaluate", unseen)
    pseudo_labels(said / "predictions" / "test.parquet", labelled, folder / "pseudo.txt", repeats=repeats)
    return folder / "pseudo.txt"


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
    both = [
        f"data.root=[{root},{faces}]",
        f"data.train_annotations={taught(folder, teacher, labelled, faces, repeats=REPEATS)}",
    ]
    student = run(folder / "student", "train", [*given, *both, *STUDENT])
    others = [override for override in given if not override.startswith(WEIGHTS)]
    return run(folder / "tuned", "train", [*others, f"{WEIGHTS}{student / 'weights' / 'backbone.pth'}", *own])
