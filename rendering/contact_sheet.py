"""Draw the picture of rendering/README.md: identities, action units, expressions and one trajectory.

``python -m rendering.contact_sheet contact_sheet.png``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from affect.files import whole_file
from affect.labels import AFFECTNET_EXPRESSIONS, EXPRESSIONS
from rendering import video
from rendering.affect import CONTEMPT, TAKES_PART
from rendering.face import Moment, draw_background, render
from rendering.identity import Identity
from rendering.sketch import Image
from rendering.units import COLUMN, RENDERED_UNITS

_COLUMNS: Final = 8
_SEED: Final = 0


def _row(faces: list[Image], captions: list[str]) -> Image:
    """Put faces side by side, each above its caption."""
    tiles = []
    for face, caption in zip(faces, captions, strict=True):
        tile = cv2.copyMakeBorder(face, 2, 16, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        cv2.putText(tile, caption, (4, tile.shape[0] - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (40, 40, 40), 1, cv2.LINE_AA)
        tiles.append(np.asarray(tile, np.uint8))
    return np.hstack(tiles)


def _plain(person: Identity, units: NDArray[np.float64]) -> Image:
    """Draw a frontal, evenly lit face."""
    return render(person, Moment(units=units), np.full_like(draw_background(np.random.default_rng(0)), 165))


def _identities() -> list[Image]:
    rows = []
    for first in (0, _COLUMNS):
        videos = [video.draw_video(_SEED, video.TRAIN, first + index, 1) for index in range(_COLUMNS)]
        faces = [render(seen.person, seen.moments[0], seen.background) for seen in videos]
        names = [EXPRESSIONS[int(seen.expression[0].argmax())] for seen in videos]
        rows.append(_row(faces, names))
    return rows


def _units(person: Identity) -> list[Image]:
    order = sorted(RENDERED_UNITS)
    faces = []
    for unit in order:
        units = np.zeros((2, len(RENDERED_UNITS)))
        units[:, COLUMN[unit]] = 1.0
        if unit == 26:
            units[:, COLUMN[25]] = 0.6  # as in the data: a dropped jaw parts the lips
        faces.append(_plain(person, units))
    captions = [f"AU{unit}" for unit in order]
    return [_row(faces[i : i + _COLUMNS], captions[i : i + _COLUMNS]) for i in range(0, len(order), _COLUMNS)]


def _expressions(person: Identity) -> Image:
    faces = []
    for name in AFFECTNET_EXPRESSIONS:
        units = np.tile(0.85 * (np.array(TAKES_PART[name]) > 0.5), (2, 1))
        if name == CONTEMPT:
            units[0, [COLUMN[12], COLUMN[14]]] = 0.0
        faces.append(_plain(person, units))
    return _row(faces, list(AFFECTNET_EXPRESSIONS))


def _changes(index: int) -> int:
    """Count the different expressions in the frames that ``_trajectory`` shows."""
    return len(set(video.draw_video(_SEED, video.VALIDATION, index, 24).expression[::3].argmax(axis=1).tolist()))


def _trajectory(index: int) -> Image:
    seen = video.draw_video(_SEED, video.VALIDATION, index, 24)
    shown = range(0, 24, 3)
    faces = [render(seen.person, seen.moments[t], seen.background) for t in shown]
    captions = [f"{seen.frames[t]:05d} {EXPRESSIONS[int(seen.expression[t].argmax())]}" for t in shown]
    return _row(faces, captions)


def contact_sheet() -> Image:
    """Draw the sheet.

    Returns:
        (height, width, 3) uint8 BGR: two rows of people, the sixteen units at full intensity on two people, the
        expressions, and every third frame of two videos.
    """
    everyone = (video.draw_person(_SEED, video.VALIDATION, index) for index in range(100))
    bare = [person for person in everyone if person.glasses + person.moustache + person.hair.fringe == 0]
    people = [min(bare, key=lambda person: person.skin.sum()), max(bare, key=lambda person: person.age)]
    rows = _identities()
    for person in people:
        rows += _units(person)
        rows.append(_expressions(person))
    lively = sorted(range(60), key=_changes, reverse=True)
    rows += [_trajectory(index) for index in lively[:2]]
    return np.vstack(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet to the one path given."""
    parser = argparse.ArgumentParser(prog="python -m rendering.contact_sheet", description=main.__doc__)
    parser.add_argument("output", type=Path, help="a PNG file")
    output: Path = parser.parse_args(arguments).output
    with whole_file(output) as beside:
        beside.write_bytes(cv2.imencode(".png", contact_sheet())[1].tobytes())


if __name__ == "__main__":
    main()
