"""Draw each rendered data set once, and keep it.

A data set is written into a temporary folder beside its place and renamed when complete; ``rendering.json`` then holds
the parameters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from affect.errors import DataError
from affect.files import OutputError, read_file
from affect.settings import Count, Whole, buildable
from rendering import RENDERER_VERSION
from rendering.attributes import write_attributes
from rendering.dataset import plan_affectnet, plan_faces, plan_lsd, plan_mtl
from rendering.layouts import LAYOUTS, LayoutName
from rendering.look import Look
from rendering.release import plan_affectnet_release
from rendering.uni import plan_joint, plan_uni
from rendering.writing import MANIFEST, Plan, is_complete, map_tasks, writing

_PLANS: Final[Mapping[LayoutName, Callable[..., Plan]]] = {
    "mtl": plan_mtl,
    "uni": plan_uni,
    "joint": plan_joint,
    "affectnet": plan_affectnet,
    "affectnet_release": plan_affectnet_release,
    "lsd": plan_lsd,
    "faces": plan_faces,
}
"""What is drawn into a layout, given the seed and the sizes."""

_LARGEST: Final = 10_000  # bytes of a manifest


def draw(root: Path, layout: LayoutName, *, workers: int, **parameters: int) -> Path:
    """Draw a data set, with a progress bar.

    Args:
        root: where it goes; if it is there already, rendered with the same parameters, nothing is done.
        layout: what is drawn.
        workers: number of processes, which changes the time only.
        parameters: ``seed``, and the sizes that the layout has.

    Returns:
        ``root``.

    Raises:
        OutputError: ``root`` is there, but not with these parameters.
    """
    plan, made = _plan(layout, parameters), {"layout": layout, **parameters}
    if not is_complete(root, made):
        tasks = [(stream, index) for stream, count in plan.splits.items() for index in range(count)]
        with writing(root, made) as folder:
            for name in plan.folders:
                (folder / name).mkdir(parents=True)
            parts = map_tasks(partial(plan.job, folder), tasks, workers, f"rendering {root.name}")
            plan.finish(folder, [row for part in parts for row in part])
            write_attributes(folder, plan, parameters["seed"])
    return root


def describe(root: Path) -> list[Path]:
    """Write the attributes of a data set that was drawn before there were such files.

    Args:
        root: its folder.

    Returns:
        The files; see ``rendering.attributes.write_attributes``.

    Raises:
        DataError: it holds no faces that this version draws.
        OutputError: nothing can be written there.
    """
    try:
        made = json.loads(read_file(root / MANIFEST, _LARGEST))
        version, layout = made.pop("renderer_version"), made.pop("layout")
        if version != RENDERER_VERSION or any(type(value) is not int or value < 0 for value in made.values()):
            raise ValueError
        plan = _plan(layout, made)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{root}: no {MANIFEST} in it says that this version of the renderer has drawn it. Give the folder of one "
            "data set below .cache/faces; one of another version is drawn anew by data=synthetic"
        ) from error
    try:
        return write_attributes(root, plan, made["seed"])
    except OSError as error:
        raise OutputError(f"{root}: {error.strerror or error}; make room or give the right to write there") from error


def _plan(layout: LayoutName, parameters: Mapping[str, int]) -> Plan:
    """Plan a layout, if the parameters are its own.

    Raises:
        OutputError: they are those of another one, or more than 100 of 100 people.
    """
    looks = Look._fields if LAYOUTS[layout].looks else ()
    wanted = {"seed", *LAYOUTS[layout].sizes}
    if wrong := wanted.symmetric_difference(parameters.keys() - {*looks}):
        raise OutputError(
            f"render.layout={layout} is drawn by {', '.join([*sorted(wanted), *looks])}, so {', '.join(sorted(wrong))} "
            f"is wrong: choose the layout with draws={layout}"
        )
    for name in looks:
        if parameters.get(name, 0) > 100:
            raise OutputError(f"render.{name}={parameters[name]}: it is a number of 100 people, so at most 100")
    return _PLANS[layout](**parameters)


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
        parameters: ``seed``, the sizes that the layout has, and where it has them, ways of ``rendering.look.Look``.

    Raises:
        OutputError: sizes of another layout; more than 100 of 100 people; the faces cannot be written there, or
            something else is there.
    """
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{layout}-v{RENDERER_VERSION}-{digest}"
    if elsewhere is not None and (Path(elsewhere) / name / MANIFEST).is_file():
        cache = Path(elsewhere)
    try:
        return draw(cache / name, layout, workers=workers, **parameters)
    except OSError as error:
        raise OutputError(
            f"faces cannot be drawn: {error.strerror or error} ({error.filename or cache}). They go to {cache}: make "
            "room or give the right to write there, or give another place: paths.cache_dir=<folder>"
        ) from error
