"""Draw each rendered data set once, and keep it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from affect.buildable import buildable
from affect.files import OutputError
from affect.ranges import Count, Whole
from rendering import RENDERER_VERSION
from rendering.dataset import render_affectnet, render_faces, render_lsd, render_mtl
from rendering.release import render_affectnet_release
from rendering.uni import render_uni
from rendering.writing import MANIFEST

LayoutName = Literal["mtl", "uni", "affectnet", "affectnet_release", "lsd", "faces"]


class Layout(NamedTuple):
    """Folders and files of a data set that faces can be drawn into.

    Attributes:
        draw: writes them.
        data: the option of conf/data/ that reads them.
        sizes: how much is drawn unless the command line says otherwise (``render.…``).
        reading: further keys of ``data``.
    """

    draw: Callable[..., Path]
    data: str
    sizes: Mapping[str, int]
    reading: Mapping[str, bool] = {}


LAYOUTS: Final[Mapping[LayoutName, Layout]] = {
    # frames of videos with expression, action units, valence and arousal (s-Aff-Wild2)
    "mtl": Layout(render_mtl, "affwild2_mtl", {"train_videos": 1600, "val_videos": 160, "frames_per_video": 12}),
    # every frame of videos, some 80 of each, with label files of the three uni-task challenges; data.task chooses one
    "uni": Layout(render_uni, "affwild2_uni", {"train_videos": 120, "val_videos": 30, "frames_per_video": 80}),
    # single faces in class folders 0-7
    "affectnet": Layout(render_affectnet, "affectnet", {"train_faces": 10000, "val_faces": 800}),
    # the same faces as AffectNet is given out, with valence and arousal
    "affectnet_release": Layout(
        render_affectnet_release, "affectnet", {"train_faces": 10000, "val_faces": 800}, {"valence_arousal": True}
    ),
    # single faces in folders of six expressions (ABAW4 learning from synthetic data)
    "lsd": Layout(render_lsd, "lsd", {"train_faces": 12000, "val_faces": 900}),
    # single faces without labels (CelebA's folders)
    "faces": Layout(render_faces, "faces", {"train_faces": 12000, "val_faces": 500}),
}


@buildable("render")
def rendered(
    cache: Path, *, layout: LayoutName, workers: Count, elsewhere: str | None = None, **parameters: Whole
) -> Path:
    """Return the folder of a rendered data set, and draw it first unless it is there already.

    Args:
        cache: folder of the rendered data sets; the name of each holds the renderer's version and its parameters.
        layout: what is drawn.
        workers: number of processes, which changes the time only.
        elsewhere: another such folder, which is read and never written to.
        parameters: ``seed``, and the sizes that the layout has.

    Raises:
        OutputError: sizes of another layout; the faces cannot be written there, or something else is there.
    """
    wanted = {"seed", *LAYOUTS[layout].sizes}
    if wrong := wanted.symmetric_difference(parameters):
        raise OutputError(
            f"render.layout={layout} is drawn by {', '.join(sorted(wanted))}, so {', '.join(sorted(wrong))} is wrong: "
            f"choose the layout with draws={layout}"
        )
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{layout}-v{RENDERER_VERSION}-{digest}"
    if elsewhere is not None and (Path(elsewhere) / name / MANIFEST).is_file():
        cache = Path(elsewhere)
    try:
        return LAYOUTS[layout].draw(cache / name, workers=workers, **parameters)
    except OSError as error:
        raise OutputError(
            f"faces cannot be drawn: {error.strerror or error} ({error.filename or cache}). They go to {cache}: make "
            "room or give the right to write there, or give another place: paths.cache_dir=<folder>"
        ) from error
