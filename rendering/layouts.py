"""The layouts that faces are drawn into, as ``draws=…`` names them, and how much is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

LayoutName = Literal["mtl", "uni", "joint", "affectnet", "affectnet_release", "lsd", "faces"]


class Layout(NamedTuple):
    """Folders and files of a data set that faces can be drawn into.

    Attributes:
        what: is drawn, in half a line.
        data: the option of conf/data/ that reads them.
        sizes: how much is drawn unless the command line says otherwise (``render.…``).
        reading: further keys of ``data``.
        looks: people can be drawn in harder ways (``rendering.look``).
    """

    what: str
    data: str
    sizes: Mapping[str, int]
    reading: Mapping[str, bool] = {}
    looks: bool = False


LAYOUTS: Final[Mapping[LayoutName, Layout]] = {
    "mtl": Layout(
        "frames of videos with all labels (s-Aff-Wild2)",
        "affwild2_mtl",
        {"train_videos": 1600, "val_videos": 160, "frames_per_video": 12},
        looks=True,
    ),
    "uni": Layout(
        "every frame of videos, labels of one task (data.task)",
        "affwild2_uni",
        {"train_videos": 120, "val_videos": 30, "frames_per_video": 80},
    ),
    "joint": Layout(
        "the same, labels of all tasks, half of the videos without one of them",
        "affwild2_joint",
        {"train_videos": 800, "val_videos": 120, "frames_per_video": 16},
    ),
    "affectnet": Layout(
        "single faces in class folders 0-7", "affectnet", {"train_faces": 10000, "val_faces": 800}, looks=True
    ),
    "affectnet_release": Layout(
        "the same as AffectNet is given out, with valence, arousal",
        "affectnet",
        {"train_faces": 10000, "val_faces": 800},
        {"valence_arousal": True},
    ),
    "lsd": Layout(
        "single faces in folders of six expressions (ABAW4)", "lsd", {"train_faces": 12000, "val_faces": 900}
    ),
    "faces": Layout(
        "single faces without labels (CelebA's folders)", "faces", {"train_faces": 12000, "val_faces": 500}
    ),
}
