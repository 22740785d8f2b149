"""Write rendered data sets to the disk as a whole or not at all, with one or many processes."""

from __future__ import annotations

import glob
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import cv2
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from rich.progress import track

from affect.files import LOCK, LockedError, OutputError, locked, put_in_place, reached
from affect.labels import EXPRESSIONS
from datamodules.pictures import write_jpeg
from rendering import RENDERER_VERSION, video
from rendering.affect import valence_arousal
from rendering.face import render
from rendering.units import RENDERED_UNITS

Row = dict[str, Any]
Task = TypeVar("Task")
Result = TypeVar("Result")

MANIFEST: Final = "rendering.json"
"""Name of the file with the parameters of a data set; every complete one has it."""

SPLITS: Final = {
    video.TRAIN: "train",
    video.VALIDATION: "validation",
    video.UNI_TRAIN: "train",
    video.UNI_VALIDATION: "validation",
}
"""The split of each stream of videos, as ``state.parquet`` names it."""


def write_state(folder: Path, rows: Sequence[Row]) -> None:
    """Write ``state.parquet``: what was rendered, row by row."""
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / "state.parquet")


class Plan(NamedTuple):
    """What is drawn into the folder of a data set.

    Attributes:
        splits: number of videos or single faces by their stream of random numbers, in the order of their rows.
        job: draws one of them, given the folder and (stream, index), and returns its rows; any process may call it.
        name: of a video, or of the picture of a single face, as the tables of predictions have it, given its stream and
            index.
        folders: folders to make first; these are there even where no face falls into them.
        finish: writes what needs the rows of all, given the folder and these.
    """

    splits: Mapping[int, int]
    job: Callable[[Path, tuple[int, int]], list[Row]]
    name: Callable[[int, int], str]
    folders: Sequence[str] = ()
    finish: Callable[[Path, list[Row]], None] = write_state


def is_complete(root: Path, parameters: Row) -> bool:
    """Return whether ``root`` holds the data set that is asked for.

    Raises:
        OutputError: it holds something else.
    """
    if not root.exists():
        return False
    wanted = {"renderer_version": RENDERER_VERSION, **parameters}
    try:
        found = json.loads((root / MANIFEST).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        found = None
    if found != wanted:
        has = f"was rendered with {found}" if found else f"holds something that was not rendered (no {MANIFEST})"
        raise OutputError(f"{root} {has}, but {wanted} is asked for: delete the folder or choose another one")
    return True


@contextmanager
def writing(root: Path, parameters: Row) -> Iterator[Path]:
    """Yield a temporary sibling of ``root`` that becomes ``root`` when the block ends without an error.

    What a killed process has left of the same data set is removed. Several processes may draw it at once; the first one
    to finish wins.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(root)
    with ExitStack() as stack:
        folder = _temporary(root, stack)
        yield folder
        manifest = {"renderer_version": RENDERER_VERSION, **parameters}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        folder.chmod(0o755)
        if hasattr(os, "sync"):  # all at once: one by one it takes 5 ms a picture
            os.sync()
        reached("drawing.synced", folder)
        try:
            put_in_place(folder, root)
        except OSError:
            if not is_complete(root, parameters):  # else another process was faster
                raise
        else:
            (root / LOCK).unlink(missing_ok=True)


def _temporary(root: Path, stack: ExitStack) -> Path:
    """Make a folder beside ``root``, locked, and removed at the end of the stack."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            stack.enter_context(locked(folder, "drawing"))
        except LockedError:  # another process has just taken it for abandoned
            continue
        return folder


def _remove_abandoned(root: Path) -> None:
    """Remove the temporary folders of killed processes: their locks exist, and are free."""
    for folder in root.parent.glob(f".{glob.escape(root.name)}-*"):
        with suppress(LockedError, OSError):  # it is being drawn into, or somebody else's
            if (folder / LOCK).exists():
                with locked(folder, "drawing"):
                    shutil.rmtree(folder, ignore_errors=True)


def map_tasks(job: Callable[[Task], Result], tasks: Sequence[Task], workers: int, title: str) -> Iterator[Result]:
    """Yield the results of ``job`` in the order of ``tasks``, with a progress bar."""
    if workers <= 1:
        cv2.setNumThreads(0)
        yield from track(map(job, tasks), description=title, total=len(tasks))
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process that runs torch threads may hang
    with ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(0,)) as pool:
        chunk = max(1, min(16, len(tasks) // (4 * workers)))
        yield from track(pool.map(job, tasks, chunksize=chunk), description=title, total=len(tasks))


def state_rows(drawn: video.Video, split: str, images: Sequence[str]) -> list[Row]:
    """Describe what is rendered in each of T frames, as ``state.parquet`` keeps it for the oracle.

    Args:
        drawn: the video.
        split: ``train`` or ``validation``.
        images: image of each frame, below the image folder.
    """
    truth = valence_arousal(drawn.units.max(axis=1), drawn.expression)
    rows: list[Row] = []
    for t, image in enumerate(images):
        row: Row = {"split": split, "image": image, "valence": float(truth[t, 0]), "arousal": float(truth[t, 1])}
        row |= {f"expr_{label}": float(value) for label, value in zip(EXPRESSIONS, drawn.expression[t], strict=True)}
        for side, values in zip(("left", "right"), drawn.units[t], strict=True):
            row |= {f"au{unit}_{side}": float(value) for unit, value in zip(RENDERED_UNITS, values, strict=True)}
        rows.append(row)
    return rows


def write_frame(drawn: video.Video, t: int, path: Path) -> None:
    """Render the frame with index ``t`` of a video and write it as JPEG."""
    write_jpeg(render(drawn.person, drawn.moments[t], drawn.background), drawn.quality, path)
