"""Names and order of every label that the framework knows.

Nothing else in the repository spells a class name or an index: expressions, action units and the class
orders in which published weights come are looked up here.

Sources: the ABAW4 annotation files (expressions 0-7 and the twelve action units, in file order) and
AffectNet's own numbering (Mollahosseini et al. 2017, http://mohammadmahoor.com/affectnet/).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

EXPRESSIONS: Final = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
"""The eight ABAW expressions; the index is the number in the annotation files."""

OTHER: Final = EXPRESSIONS.index("other")
"""Index of what is none of the seven before it."""

LSD_EXPRESSIONS: Final = EXPRESSIONS[1:7]
"""The six expressions of the ABAW4 learning-from-synthetic-data challenge, in its order."""

ABAW2_EXPRESSIONS: Final = EXPRESSIONS[:7]
"""The seven expressions of ABAW1 and 2, numbered alike."""

LSD_FOLDERS: Final = (("ANGRER", "ANGER", "ANGERE"), *((name.upper(),) for name in LSD_EXPRESSIONS[1:]))
"""Names of the challenge's class folders, in any case: the official one first, then those that users made of it."""

ACTION_UNITS: Final = (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)
"""FACS numbers of the twelve scored action units, in file order."""

UNIT_NAMES: Final = dict(zip(ACTION_UNITS, (
    "inner brow raiser", "outer brow raiser", "brow lowerer", "cheek raiser", "lid tightener", "upper lip raiser",
    "lip corner puller", "lip corner depressor", "lip tightener", "lip pressor", "lips part", "jaw drop",
), strict=True))  # fmt: skip
"""What FACS calls them."""

ABAW2_ACTION_UNITS: Final = (1, 2, 4, 6, 12, 15, 20, 25)
"""FACS numbers of the eight action units that the label files of ABAW1 and 2 have, in their order; 20 is not scored."""

AU_NAMES: Final = tuple(f"au{unit}" for unit in ACTION_UNITS)
"""Column names of the twelve action units."""

AFFECT: Final = ("valence", "arousal")
"""Names of the two columns of valence and arousal."""

Task = Literal["valence_arousal", "expression", "action_units"]
"""A task by its key in batches and predictions."""

TASKS: Final[tuple[Task, ...]] = get_args(Task)
"""The three tasks, in the order of columns and scores."""

AFFECTNET_EXPRESSIONS: Final = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)  # fmt: skip
"""AffectNet's own numbering: the order of DAN's outputs, of AffectNet's annotations and of its class folders 0-7."""

AFFECTNET_FOLDERS: Final = (
    ("0", "neutral"), ("1", "happiness", "happy"), ("2", "sadness", "sad"), ("3", "surprise", "surprised"),
    ("4", "fear", "fearful"), ("5", "disgust", "disgusted"), ("6", "anger", "angry"), ("7", "contempt"),
)  # fmt: skip
"""Names of the class folders, in any case: AffectNet's own first, then those of copies."""

AFFECTNET_CLASSES: Final = (7, 8)
"""How many of AffectNet's classes are learnt: the first seven (AffectNet-7, without contempt), or all eight."""

EXPRESSION_LISTS: Final = (
    EXPRESSIONS, LSD_EXPRESSIONS, *(AFFECTNET_EXPRESSIONS[:count] for count in AFFECTNET_CLASSES),
)  # fmt: skip
"""Every class list that a model may have. ABAW's comes first: without its last class, it has those of the shortest."""

AFFECTNET_NO_EXPRESSION: Final = ("none", "uncertain", "no face")
"""What the numbers after these classes mean: pictures that show none of the expressions."""

AFFECTNET_ALPHABETICAL: Final = tuple(sorted(AFFECTNET_EXPRESSIONS))
"""AffectNet's eight classes in alphabetical order: the order of EmotiEffNet's outputs."""

MISSING_VALENCE_AROUSAL: Final = -5.0
"""What annotation files write where valence or arousal is not annotated."""

MISSING_AFFECTNET: Final = -2.0
"""What AffectNet writes where valence or arousal is not annotated."""

MISSING_CLASS: Final = -1
"""What annotation files write where an expression or an action unit is not annotated."""

MTL_HEADER: Final = "image,valence,arousal,expression,aus"
"""First line of the multi-task challenge's label files, lists and submissions, above rows of 16 fields."""

LSD_HEADER: Final = "image,expression"
"""First line of the lists and submissions of the challenge on synthetic data."""

LIST_FIELD: Final = "image_location"
"""Name of the image in the first line of the uni-task challenges' lists and submissions, before the names below."""

UniTask = Literal["va", "expr", "au"]
"""A task as the uni-task challenges call it."""

UNI_TASKS: Final[dict[UniTask, Task]] = {"va": "valence_arousal", "expr": "expression", "au": "action_units"}
"""What each of these is called here."""

UNI_HEADERS: Final[dict[UniTask, str]] = {
    "va": "valence,arousal",
    "expr": ",".join(name.capitalize() for name in EXPRESSIONS),
    "au": ",".join(f"AU{unit}" for unit in ACTION_UNITS),
}
"""First line of each task's label files; the expressions' has eight names although rows have one number."""


FEX_EXPRESSIONS: Final = {
    "neutral": "Neutral", "happiness": "Happy", "sadness": "Sad", "surprise": "Surprise", "fear": "Fear",
    "disgust": "Disgust", "anger": "Anger",
}  # fmt: skip
"""What py-feat calls its seven expressions where a table has valence and arousal, in its order."""

FEX_1_EXPRESSIONS: Final = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Its order where a table has not; the names are ours."""

OPENFACE_ACTION_UNITS: Final = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
"""FACS numbers of the action units whose presence OpenFace 2 tells, in its order."""


def label_names(expressions: Sequence[str] = EXPRESSIONS) -> dict[str, tuple[str, ...]]:
    """Return the names of what each task predicts, in the order of its columns.

    Args:
        expressions: the model's classes.
    """
    return {"valence_arousal": AFFECT, "expression": tuple(expressions), "action_units": AU_NAMES}


def affectnet_columns(order: tuple[str, ...] = AFFECTNET_EXPRESSIONS) -> tuple[int | None, ...]:
    """Map ABAW's expressions to positions in ``order``, None where AffectNet has no counterpart.

    Contempt has no place among the ABAW expressions and Other has none in AffectNet: the pair is left
    unmatched here, and rules that equate them say so themselves.

    Args:
        order: class order of an AffectNet network's outputs.

    Returns:
        Eight entries in the order of ``EXPRESSIONS``.
    """
    return tuple(order.index(name) if name in order else None for name in EXPRESSIONS)
