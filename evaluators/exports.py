"""Write the table of somebody's video in the forms that other tools of this field read.

* ``fex``: CSV of py-feat (https://github.com/cosanlab/py-feat, ``read_feat`` in feat/utils/io.py). Every column whose
  name contains "AU" is an action unit, and no other does; with valence and arousal, emotions have the names of its
  second version.
* ``openface``: CSV of OpenFace 2 (https://github.com/TadasBaltrusaitis/OpenFace/wiki/Output-Format). A probability is
  no intensity, so ``AU01_r`` and so on are left out; AU24, which OpenFace does not know, stands at the end.
* ``elan``: tab-delimited text that ELAN imports (https://archive.mpi.nl/tla/elan): tier, begin, end, value.
* ``bids``: events and continuous signals of the Brain Imaging Data Structure (``evaluators.bids``).

All take a table of one video, sorted by frame and face, except ``fex``, which has a column for the video.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from affect.errors import UserError
from affect.hints import suggest
from affect.labels import (
    ACTION_UNITS,
    AFFECT,
    FEX_1_EXPRESSIONS,
    FEX_EXPRESSIONS,
    OPENFACE_ACTION_UNITS,
    Task,
)
from evaluators.bids import bids_files
from evaluators.episodes import check_times, episodes
from evaluators.found import Found
from evaluators.postprocess.thresholds import Thresholds, resolve_thresholds
from evaluators.table import Table

_NEEDED: Final[Mapping[str, tuple[Task, ...]]] = {
    "fex": ("action_units", "expression"),
    "openface": ("action_units",),
    "elan": ("action_units", "expression"),
    "bids": ("valence_arousal", "action_units", "expression"),
}
"""The forms, and of which tasks each needs one."""


def check_exports(
    exports: Sequence[str], tasks: Sequence[str], expressions: Sequence[str], pictures: Sequence[str] = ()
) -> None:
    """Check before anything is predicted that a model can fill the forms that are asked for.

    Args:
        exports: names of forms.
        tasks: the model's tasks.
        expressions: its class names.
        pictures: names of the sources that have no times.

    Raises:
        UserError: a form is not known, the model does not say what it holds, or it needs times. All such are told.
    """
    problems = []
    for name in exports:
        if name not in _NEEDED:
            problems.append(f"export={name}: no such form; {suggest(name, list(_NEEDED))}")
        elif not set(_NEEDED[name]) & set(tasks):
            needed = " or ".join(task.replace("_", " ") for task in _NEEDED[name])
            problems.append(f"export={name} needs {needed}, of which this model predicts none: leave it out")
        elif name != "fex" and pictures:
            problems.append(f"export={name} is for videos, and {pictures[0]} has pictures: only fex takes these")
        elif name == "fex" and "expression" in tasks and (lacking := set(FEX_EXPRESSIONS) - set(expressions)):
            problems.append(
                f"export=fex has seven expressions, of which this model does not know {_listed(lacking)}: leave it out"
            )
    if problems:
        raise UserError("; ".join(problems))


def export_files(
    exports: Sequence[str],
    table: Table,
    name: str,
    *,
    thresholds: Thresholds = 0.5,
    shortest: float = 0.2,
) -> dict[str, bytes]:
    """Return the content of all files of the forms that are asked for, by their names.

    Args:
        exports: names of forms.
        table: predictions of one video; or of several sources, which only ``fex`` takes.
        name: of the source, without suffix; files are named after it.
        thresholds: of the action units; a unit counts as present from its threshold on.
        shortest: episodes of ELAN and BIDS that are shorter, s, are left out.

    Raises:
        UserError: as for ``check_exports``; or the table is not one of faces that were found, is of several videos, or
            has no times, and a form needs them.
    """
    check_exports(exports, table.tasks, table.expressions)
    found = table.found
    if found is None:
        raise UserError(f"{table.source} does not say when and where its faces are: predict again with predict.py")
    files = {}
    if "fex" in exports:
        files[f"{name}_fex.csv"] = fex(table, found).encode()
    if "openface" in exports:
        files[f"{name}_openface.csv"] = openface(table, found, thresholds=thresholds).encode()
    if "elan" in exports:
        files[f"{name}_elan.txt"] = elan(table, found, thresholds=thresholds, shortest=shortest).encode()
    if "bids" in exports:
        files |= bids_files(table, found, name, thresholds=thresholds, shortest=shortest)
    return files


def fex(table: Table, found: Found) -> str:
    """Return a table as CSV of py-feat.

    Frames count from 0, as they do there; ``approx_time`` is MM:SS; ``Identity`` is ``Person_<face_id>``, and
    empty in pictures, where nobody is followed from one to the next. The seven expressions of py-feat are divided by
    their sum; what else the model knows (other, contempt) stays as it is, in a column of its own. A frame without a
    face is a row without values.
    """
    values: dict[str, NDArray[Any]] = dict(
        zip(("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight"), found.box.T, strict=True)
    )
    values["FaceScore"] = found.detection_score
    if "action_units" in table.tasks:
        columns = table.predictions["action_units"].T
        values |= {f"AU{unit:02d}": column for unit, column in zip(ACTION_UNITS, columns, strict=True)}
    affect = "valence_arousal" in table.tasks
    if "expression" in table.tasks:
        said = dict(zip(table.expressions, table.predictions["expression"].T, strict=True))
        seven = {name: said.pop(name) for name in (FEX_EXPRESSIONS if affect else FEX_1_EXPRESSIONS)}
        total = np.sum(list(seven.values()), axis=0, dtype=np.float64)
        for name, column in seven.items():
            share = np.divide(column, total, out=np.full(len(table), np.nan), where=total > 0)
            values[FEX_EXPRESSIONS[name] if affect else name] = share.astype(np.float32)
        values |= said
    if affect:
        values |= dict(zip(AFFECT, table.predictions["valence_arousal"].T, strict=True))
    followed = bool((table.frame > 1).any())
    text = {
        "input": [image or video for image, video in zip(table.image, table.video, strict=True)],
        "frame": [str(frame - 1) for frame in table.frame.tolist()],
        "approx_time": [_clock(time) for time in found.timestamp.tolist()],
        "Identity": [f"Person_{number}" if number and followed else "" for number in found.face_id.tolist()],
    }
    numbers = {name: [_number(value) for value in column] for name, column in values.items()}
    return _csv(numbers | text)


def openface(table: Table, found: Found, *, thresholds: Thresholds = 0.5) -> str:
    """Return the table of a video as CSV of OpenFace 2.

    ``face_id`` is ours, from 1; ``confidence`` the detector's. A frame without a face has ``success`` 0 and, as there,
    0 in all that follows.

    Args:
        table: with action units.
        found: times, boxes and people of its rows.
        thresholds: of the action units; ``AU…_c`` is 1 from its threshold on.

    Raises:
        UserError: the table is of several videos, or has no times.
    """
    check_times(table, found, "openface")
    seen = (found.face_id > 0) & ~table.null
    units = table.predictions["action_units"] >= np.array(resolve_thresholds(thresholds), dtype=np.float32)
    order = sorted(ACTION_UNITS, key=lambda unit: (unit not in OPENFACE_ACTION_UNITS, unit))
    columns: dict[str, list[str]] = {
        "frame": [str(frame) for frame in table.frame.tolist()],
        "face_id": [str(number) for number in found.face_id.tolist()],
        "timestamp": [_number(time) for time in found.timestamp],
        "confidence": [_number(score) for score in np.nan_to_num(found.detection_score)],
        "success": [str(int(one)) for one in seen],
    }
    for unit in order:
        present = units[:, ACTION_UNITS.index(unit)] & seen
        columns[f"AU{unit:02d}_c"] = [str(int(one)) for one in present]
    header, _, rows = _csv(columns).partition("\n")
    return f"{header.replace(',', ', ')}\n{rows}"


def elan(table: Table, found: Found, *, thresholds: Thresholds = 0.5, shortest: float = 0.2) -> str:
    r"""Return the table of a video as tab-delimited text for ELAN: tier, begin and end in s, value; no header.

    A tier for each action unit (``AU12``), whose value is the mean probability, and one for the expression, whose value
    is its name. With several people, a tier is one person's: ``AU12@person1``, as ELAN names tiers of participants.

    Args:
        table: with action units or expressions.
        found: times, boxes and people of its rows.
        thresholds: of the action units; a unit is present from its threshold on.
        shortest: what is shorter, s, is left out.

    Raises:
        UserError: the table is of several videos, or has no times.
    """
    check_times(table, found, "elan")
    several = len(set(found.face_id[found.face_id > 0].tolist())) > 1
    lines = []
    for one in episodes(table, found, thresholds=thresholds, shortest=shortest):
        tier = (one.unit or "expression") + (f"@person{one.face_id}" if several else "")
        value = f"{one.mean:.2f}" if one.unit else one.name
        lines.append((tier, one.begin, f"{tier}\t{one.begin:.3f}\t{one.end:.3f}\t{value}\n"))
    return "".join(line for *_, line in sorted(lines))


def _csv(columns: Mapping[str, Sequence[str]]) -> str:
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return made.getvalue()


def _number(value: Any) -> str:
    """Write a float32 or float64 with the digits that give it back; NaN as nothing."""
    return "" if np.isnan(value) else str(value)


def _clock(time: float) -> str:
    """Write seconds as MM:SS; NaN as nothing."""
    return "" if np.isnan(time) else f"{int(time) // 60:02d}:{int(time) % 60:02d}"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
