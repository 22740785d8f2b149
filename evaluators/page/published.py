"""The scores that papers have published on the validation sets of ABAW4, to stand beside those of a run.

Source: Li, Sun, Liu, Han, Shan: Affective Behaviour Analysis Using Pretrained Model with Facial Prior (arXiv
2207.11679), Tables 1, 2, 5 and 6; there in per cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from affect.frames import Frames
from affect.labels import TASKS
from evaluators.names import expression_score
from evaluators.table import Table


@dataclass(frozen=True)
class Published:
    """What was published on a validation set.

    Attributes:
        data: what the set is called.
        rows: rows of its list that have a label of each task, by which it is recognised: valence and arousal,
            expression, action units.
        scores: names of the columns.
        systems: each with its values, per cent; None where the paper has none.
        source: where they stand.
    """

    data: str
    rows: tuple[int, int, int]
    scores: Sequence[str]
    systems: Sequence[tuple[str, Sequence[float | None]]]
    source: str


MTL: Final = Published(
    "s-Aff-Wild2, validation",
    (26_876, 15_440, 26_876),
    ("P_AU", "P_VA", "P_EXPR", "P_MTL"),
    (
        ("Baseline (VGGface, linear evaluation)", (None, None, None, 30.0)),
        ("Clip (RN-50, finetune)", (30.36, 22.60, 18.86, 71.82)),
        ("ResNet50 (ImageNet)", (48.85, 33.55, 22.00, 104.40)),
        ("EmotionNet (ABAW3 SOTA)", (49.53, 35.41, 18.27, 103.21)),
        ("InceptionV3 (ImageNet)", (47.53, 37.85, 18.66, 104.46)),
        ("EfficientNet-b2 (AffectNet)", (50.60, 41.74, 28.19, 120.53)),
        ("ViT-base (MAE, CelebA)", (50.41, 41.21, 31.68, 123.29)),
        ("EMMA (MAE, CelebA)", (50.54, 45.88, 30.28, 126.71)),
        ("EMMA, different epochs ensemble", (51.56, 46.59, 32.29, 130.44)),
        ("EMMA, different parameters ensemble", (52.45, 47.10, 34.17, 133.68)),
    ),
    "arXiv 2207.11679, Tables 1 and 5",
)

LSD: Final = Published(
    "learning from synthetic data, validation",
    (0, 4_670, 0),
    ("MACRO_ACC_EXPR", "P_LSD"),
    (
        ("Baseline (ResNet-50, ImageNet)", (67.58, 59.71)),
        ("EfficientNet-b2 (ImageNet)", (67.71, 63.33)),
        ("EfficientNet-b2 (AffectNet)", (73.06, 63.83)),
        ("Clip (ViT-base)", (70.84, 62.13)),
        ("ViT-base (MAE, CelebA)", (71.95, 64.24)),
        ("CoTEX (mask ratio 0 %, batch size 64)", (72.84, 64.67)),
        ("Masked CoTEX (mask ratio 75 %, batch size 1024)", (75.77, 70.68)),
        ("Masked CoTEX (mask ratio 95 %, batch size 4096)", (83.85, 82.33)),
    ),
    "arXiv 2207.11679, Tables 2 and 6",
)


def published_for(table: Table, frames: Frames) -> Published | None:
    """Return what was published on the list of a table; None where it is another list.

    No copy of the licensed label files is at hand whose hash could tell: a list is taken for one of these where as many
    of its rows have labels of each task, its classes are the same, and its faces were not drawn.

    Args:
        table: the predictions; ``renderer`` in its metadata says whether faces were drawn.
        frames: the labels of its rows.
    """
    if table.metadata.get("renderer"):
        return None
    rows = tuple(int(np.count_nonzero(frames.labelled(task))) for task in TASKS)
    score = expression_score(table.expressions)
    return next((known for known in (MTL, LSD) if known.rows == rows and score in known.scores), None)
