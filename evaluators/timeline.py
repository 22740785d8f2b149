"""Draw the table of somebody's video over time: as a page, ``timeline.html``, and as a picture.

Each person has a lane: curves of valence and arousal, a strip of the expressions and a heat map of the action units.
What the model does not say is left out, and where a face is not seen, there is a gap. The page needs nothing but
itself, no network and no other file. timeline.html, beside this file, is the page without its data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from affect.frames import FloatArray
from affect.labels import ACTION_UNITS, AFFECT, TASKS, UNIT_NAMES
from evaluators.figures import BLUE, GREY, ORANGE, drawing, expression_colours, person_colour
from evaluators.lanes import Lane, Lanes, to_lanes
from evaluators.page.markup import as_base64, as_bytes, as_json, filled, script_hash
from evaluators.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST: Final = 10_000_000
"""Bytes that a page has at most."""

CELLS: Final = 150_000
"""Cells of all people that a page has at most; where there are more frames, some share one."""

COLUMNS, ROWS = 1200, 6  # cells and people that the picture shows at most
_TEMPLATE: Final = Path(__file__).with_suffix(".html")


def page(table: Table, name: str, models: Sequence[str], thumbnails: Mapping[int, bytes], made: str = "") -> str:
    """Return the page, of at most ``LARGEST`` bytes: the longer a video, the more frames share a cell.

    Args:
        table: of one video, or of pictures, as predict.py makes it.
        name: of the video or the folder of pictures.
        models: which networks said it, and what they have learnt from.
        thumbnails: small pictures of faces, as JPEG, by row (``choose_faces``).
        made: what it is made of, a word for ``is_made``.

    Raises:
        UserError: as for ``to_lanes``.
    """
    width = max(1, -(-len(table) // CELLS))
    while True:
        lanes = to_lanes(table, width)
        if sum(len(lane.cell) for lane in lanes.lanes) <= CELLS:
            text = _page(table, lanes, name, models, thumbnails, made)
            if len(text.encode()) <= LARGEST:
                return text
        width *= 2


def is_made(path: Path, made: str) -> bool:
    """Tell whether a page is there that was made of the same."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'<meta name="made" content="{escape(made)}">'.encode() in file.read(1000)


def picture(table: Table, name: str) -> bytes:
    """Draw what the page shows of the people who are seen longest, as PNG.

    Args:
        table: of one video, or of pictures, as predict.py makes it.
        name: of the video or the folder of pictures.

    Raises:
        UserError: as for ``to_lanes``.
    """
    from matplotlib.patches import Patch

    whole = to_lanes(table, most=ROWS)
    lanes = to_lanes(table, -(-(len(whole.edges) - 1) // COLUMNS), most=ROWS)
    left_out = f" (of {len(lanes.lanes) + lanes.left_out} people, those seen longest)" if lanes.left_out else ""
    heights = [height for task, height in zip(TASKS, (1.2, 0.3, 1.6), strict=True) if task in table.tasks]
    count = max(1, len(lanes.lanes))
    with drawing(11, 0.6 + count * (0.35 + sum(heights)), heights=heights * count, kind="png") as (panels, png):
        for number, lane in enumerate(lanes.lanes):
            of_lane = panels[number * len(heights) : (number + 1) * len(heights)]
            of_lane[0].set_title(f"{title(lanes, lane.face_id)}, {len(lane.rows)} faces",
                                 color=person_colour(lane.face_id), fontsize=9)  # fmt: skip
            for axes, task in zip(of_lane, table.tasks, strict=True):
                _DRAWN[task](axes, lanes, lane, table)
        for axes in panels:
            axes.set_xlim(lanes.edges[0], lanes.edges[-1])
            axes.tick_params(labelbottom=axes is panels[-1])
        if not lanes.lanes:
            panels[0].set_title("no face", fontsize=9)
        panels[-1].set_xlabel(lanes.unit)
        figure = panels[0].figure
        if "expression" in table.tasks:
            patches = [Patch(color=colour, label=one) for one, colour in expression_colours(table.expressions).items()]
            figure.legend(handles=patches, loc="outside lower center", ncols=8, frameon=False, fontsize=7)
        # a name may hold what matplotlib takes for mathematics
        figure.suptitle(f"{name}{left_out}", parse_math=False)
    return png.content


def title(lanes: Lanes, face_id: int) -> str:
    """Say whose a lane is: in pictures, faces are counted from left to right, and are anybody's."""
    return f"face {face_id} from the left" if lanes.unit == "picture" else f"person {face_id}"


def _page(
    table: Table, lanes: Lanes, name: str, models: Sequence[str], thumbnails: Mapping[int, bytes], made: str
) -> str:
    script = re.search(r"<script>(.*?)</script>", _TEMPLATE.read_text(encoding="utf-8"), re.DOTALL)
    assert script is not None
    small = [
        [number, at, as_base64(thumbnails[row])]
        for number, lane in enumerate(lanes.lanes)
        for row, at in _chosen(lane, thumbnails)
    ]
    colours = expression_colours(table.expressions) if "expression" in table.tasks else {}
    data = {
        "unit": lanes.unit,
        "width": lanes.width,
        "first": lanes.first,
        "edges": as_base64(lanes.edges.astype("<f4")),
        "names": [one[:80] for one in lanes.names],
        "affect": list(AFFECT) if "valence_arousal" in table.tasks else [],
        "expressions": list(colours.items()),
        "units": [[f"AU{unit}", UNIT_NAMES[unit]] for unit in ACTION_UNITS if "action_units" in table.tasks],
        "lanes": [_lane(lanes, lane) for lane in lanes.lanes],
        "thumbnails": small,
    }
    people = len(lanes.lanes) + lanes.left_out
    if lanes.names:
        what, facts = "pictures", [f"{len(set(table.video))} pictures", f"at most {people} faces in one"]
    else:
        facts = [
            f"{1 + np.count_nonzero(np.diff(table.frame))} frames",
            "1 person" if people == 1 else f"{people} people",
        ]
        what = "frames"
    if lanes.width > 1:
        facts.append(f"{lanes.width} {what} are drawn as one: the least, the mean and the greatest value")
    if lanes.left_out:
        facts.append(f"{lanes.left_out} who were seen for shorter are left out")
    parts = {
        "title": escape(name),
        "made": escape(made),
        "facts": escape(" · ".join(facts)),
        "models": "".join(f"<li>{escape(model)}</li>" for model in models),
        "hash": script_hash(script[1]),
        "data": as_json(data),
    }
    return filled(_TEMPLATE, **parts)


def _lane(lanes: Lanes, lane: Lane) -> dict[str, Any]:
    """Return a lane for the page: a row of bytes for each curve and each line of the strips."""
    values: dict[str, NDArray[Any]] = {"cell": lane.cell.astype("<u4")}
    for task, of_task in lane.values.items():
        of_columns = of_task.transpose(2, 0, 1)  # (columns, 3, C)
        values[task] = as_bytes((of_columns + 1) / 2 if task == "valence_arousal" else of_columns[:, 1])
    return {
        "title": title(lanes, lane.face_id),
        "colour": person_colour(lane.face_id),
        "faces": len(lane.rows),
        **{name: as_base64(array) for name, array in values.items()},
    }


def _chosen(lane: Lane, thumbnails: Mapping[int, bytes]) -> list[tuple[int, int]]:
    """Return the rows of a lane that have a small picture, each with its cell."""
    chosen = np.isin(lane.rows, list(thumbnails))
    return list(zip(lane.rows[chosen].tolist(), lane.cell_of_row[chosen].tolist(), strict=True))


def _grid(lanes: Lanes, lane: Lane, values: FloatArray) -> FloatArray:
    """Return (columns, E) of (C, columns), NaN where the face is not seen."""
    grid = np.full((values.shape[1], len(lanes.edges) - 1), np.nan, dtype=np.float32)
    grid[:, lane.cell] = values.T
    return grid


def _draw_affect(axes: Axes, lanes: Lanes, lane: Lane, table: Table) -> None:
    least, mean, most = (_grid(lanes, lane, values) for values in lane.values["valence_arousal"])
    middle = (lanes.edges[:-1] + lanes.edges[1:]) / 2
    for name, colour, low, line, high in zip(AFFECT, (BLUE, ORANGE), least, mean, most, strict=True):
        axes.fill_between(middle, low, high, color=colour, alpha=0.25, linewidth=0)
        style: dict[str, Any] = (
            {"linestyle": "", "marker": "."} if lanes.names else {}
        )  # pictures have no order in time
        axes.plot(middle, line, color=colour, linewidth=1, label=name, **style)
        alone = np.isnan(np.pad(line, 1, constant_values=np.nan))
        axes.plot(middle[alone[:-2] & alone[2:]], line[alone[:-2] & alone[2:]], ".", color=colour, markersize=3)
    axes.axhline(0, color=GREY, linewidth=0.6)
    axes.set(ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
    axes.legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)


def _draw_expression(axes: Axes, lanes: Lanes, lane: Lane, table: Table) -> None:
    from matplotlib.colors import ListedColormap

    colours = expression_colours(table.expressions)
    said = _grid(lanes, lane, lane.values["expression"][1].argmax(axis=1)[:, None].astype(np.float32))
    axes.pcolormesh(lanes.edges, [0, 1], np.ma.masked_invalid(said), cmap=ListedColormap(list(colours.values())),
                    vmin=-0.5, vmax=len(colours) - 0.5, rasterized=True)  # fmt: skip
    axes.set(yticks=[])


def _draw_units(axes: Axes, lanes: Lanes, lane: Lane, table: Table) -> None:
    grid = _grid(lanes, lane, lane.values["action_units"][1])
    drawn = axes.pcolormesh(lanes.edges, np.arange(len(grid) + 1), np.ma.masked_invalid(grid), cmap="Blues", vmin=0,
                            vmax=1, rasterized=True)  # fmt: skip
    axes.set(ylim=(len(grid), 0))
    axes.set_yticks(np.arange(len(grid)) + 0.5, [f"AU{unit}" for unit in ACTION_UNITS], fontsize=6)
    axes.figure.colorbar(drawn, ax=axes, pad=0.01, aspect=12, ticks=(0, 1))


_DRAWN: Final[dict[str, Callable[[Axes, Lanes, Lane, Table], None]]] = dict(
    zip(TASKS, (_draw_affect, _draw_expression, _draw_units), strict=True)
)
