"""Draw each rendered data set once, and keep it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from affect.buildable import buildable
from affect.files import OutputError
from affect.ranges import Count, Whole
from rendering import RENDERER_VERSION
from rendering.dataset import render_affectnet, render_faces, render_lsd, render_mtl
from rendering.release import render_affectnet_release
from rendering.uni import render_uni
from rendering.writing import MANIFEST

LAYOUTS: Final[dict[str, Callable[..., Path]]] = {
    "mtl": render_mtl,
    "affectnet": render_affectnet,
    "affectnet_release": render_affectnet_release,
    "lsd": render_lsd,
    "faces": render_faces,
    "uni": render_uni,
}


@buildable("render")
def rendered(cache: Path, *, layout: str, workers: Count, elsewhere: str | None = None, **parameters: Whole) -> Path:
    """Return the folder of a rendered data set, and draw it first unless it is there already.

    Args:
        cache: folder of the rendered data sets; the name of each holds the renderer's version and its parameters.
        layout: one of ``LAYOUTS``.
        workers: number of processes, which changes the time only.
        elsewhere: another such folder, which is read and never written to.
        parameters: arguments of the layout's writer.

    Raises:
        OutputError: the faces cannot be written there, or something else is there.
    """
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{layout}-v{RENDERER_VERSION}-{digest}"
    if elsewhere is not None and (Path(elsewhere) / name / MANIFEST).is_file():
        cache = Path(elsewhere)
    try:
        return LAYOUTS[layout](cache / name, workers=workers, **parameters)
    except OSError as error:
        raise OutputError(
            f"faces cannot be drawn: {error.strerror or error} ({error.filename or cache}). They go to {cache}: make "
            "room or give the right to write there, or give another place: paths.cache_dir=<folder>"
        ) from error
