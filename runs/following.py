"""What networks say of the faces of a stream, frame by frame, from nothing but what was seen before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np

from affect.errors import UserError
from datamodules.resizing import Image
from evaluators.postprocess.chain import process_people
from evaluators.postprocess.exponential import AsTheyCome
from evaluators.postprocess.options import EXPONENTIAL, PostProcess
from evaluators.table import Table
from runs.detectors import make_detector
from runs.exported import Exported
from runs.networks import Network, with_torch
from runs.predictor import Predictor, rows_of
from videos.faces import cut
from videos.people import People
from videos.tracks import SIGMA, Array, smooth, to_squares
from videos.watching import Watched

_REACH: Final = int(3 * SIGMA)  # frames that a steady square looks back


class _Asked(Protocol):
    def ask(self, faces: Sequence[Image], ids: Sequence[int], number: int) -> Mapping[str, Any]:
        """Return what is said of the faces of a frame, (N, …) by task; they are of people with these ids."""


class Following:
    """Looks at a stream's frames one after the other.

    A frame's number counts the frames that were sent, so that one that was dropped is a gap, as in a damaged file:
    causal heads get there the face before, as they do where a face is hidden, and smoothing knows how long ago it was.

    Args:
        predictor: the networks.
        name: of the video in the tables.

    Raises:
        UserError: a head or a setting that looks at later frames.
        DataError: the detector is not installed.
    """

    def __init__(self, predictor: Predictor, name: str) -> None:
        if wrong := _unfit(predictor.postprocess):
            raise UserError("; ".join(wrong))
        self._predictor, self._name = predictor, name
        self._detector = make_detector(predictor.faces)
        self._people, self._steady = People(), Steady()
        given = predictor.postprocess
        self._asked = [_asked(predictor, one) for one in predictor.networks]
        usual = PostProcess()
        # the chain in its two halves, between which there is the smoothing: each looks at one row at a time
        self._first = replace(usual, weights=given.weights, blend=given.blend, gate=given.gate,
                              confidence=given.confidence)  # fmt: skip
        self._then = replace(usual, temperature=given.temperature, coverage=given.coverage,
                             expression_biases=given.expression_biases)  # fmt: skip
        self._smoothed = AsTheyCome(given.alpha, given.max_gap) if given.smoothing == EXPONENTIAL else None
        self._now = 0.0

    def warm(self) -> None:
        """Look at nothing, for the first use of a network takes far longer than the next ones."""
        self._detector(np.zeros((480, 640, 3), np.uint8))
        for nobody in (0, -1):  # people are counted from 1
            face = [np.zeros((self._predictor.faces.size, self._predictor.faces.size, 3), np.uint8)]
            for one in self._asked:
                one.ask(face, [nobody], 1)

    def look(self, number: int, time: float, image: Image, /) -> Table:
        """Find and follow the faces of the next frame, and return its rows of a table.

        Args:
            number: of the frame, from 1, larger than that before.
            time: s after the beginning.
            image: (H, W, 3) uint8 BGR.

        Returns:
            A row for each face, by id; one of nulls where there is none.
        """
        self._now = max(self._now + 1e-3, time)  # a damaged stream may tell times that do not increase
        boxes = self._detector(image)
        boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
        ids = self._people.follow(image, self._now, boxes)
        squares = self._steady.add(number, ids, to_squares(boxes))
        faces = [np.ascontiguousarray(cut(image, one, self._predictor.faces)[..., ::-1]) for one in squares]
        none = np.zeros(len(ids), np.int64)
        watched = Watched(
            np.array([number]), np.array([time]), none, np.array(ids, np.int64), boxes, squares, by_time=True
        )
        said = [one.ask(faces, ids, number) if faces else {} for one in self._asked]
        columns = self._predictor.columns
        by_network = [{task: rows_of(one.get(task), len(names)) for task, names in columns.items()} for one in said]
        tables = self._predictor.tables_of(by_network, watched, [self._name], [self._name], {})
        table = process_people(tables, self._first)
        if self._smoothed is not None:
            table = self._smoothed.add(table)
        return process_people([table], self._then)


def _asked(predictor: Predictor, network: Network) -> _Asked:
    if isinstance(network.module, Exported):
        return _Alone(predictor.asking(network))
    people: _Asked | None = with_torch(network.path).people_of(network, predictor.postprocess.max_gap, predictor.device)
    return people or _Alone(predictor.asking(network))


class _Alone:
    """Asks about each face alone."""

    def __init__(self, ask: Callable[[Sequence[Image]], Mapping[str, Any]]) -> None:
        self._ask = ask

    def ask(self, faces: Sequence[Image], ids: Sequence[int], number: int) -> Mapping[str, Any]:
        """Return what is said of the faces."""
        return self._ask(faces)


class Steady:
    """Averages each person's squares over the last frames: ``videos.people.steady`` without the frames to come."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[tuple[int, Array]]] = {}

    def add(self, number: int, ids: Sequence[int], squares: Array) -> Array:
        """Return what is cut out of a frame.

        Args:
            number: of the frame.
            ids: of the N people in it.
            squares: (N, 3) their squares.

        Returns:
            (N, 3).
        """
        steady = squares.copy()
        for row, face_id in enumerate(ids):
            seen = self._seen.setdefault(face_id, deque())
            seen.append((number, squares[row]))
            while number - seen[0][0] > _REACH:
                seen.popleft()
            line = np.full((number - seen[0][0] + 1, 3), np.nan)
            for frame, square in seen:
                line[frame - seen[0][0]] = square
            steady[row] = smooth(line)[-1]
        self._seen = {one: seen for one, seen in self._seen.items() if number - seen[-1][0] <= _REACH}
        return steady


def _unfit(given: PostProcess) -> list[str]:
    """List what of the post-processing needs frames that are still to come."""
    wrong = []
    if given.smoothing not in (None, EXPONENTIAL):
        wrong.append(f"postprocess.smoothing={given.smoothing} looks at later frames: live, give exponential")
    if given.missing is not None:
        wrong.append(f"postprocess.missing={given.missing} looks at later frames: live, leave it out")
    if given.blend == "raw":
        wrong.append("postprocess.blend=raw scales a whole table: live, give probabilities or logits")
    if given.gate == "confidence" and given.smoothing is not None:
        wrong.append("postprocess.gate=confidence is applied to whole smoothed tables: live, leave one of the two out")
    return wrong
