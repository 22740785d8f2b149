"""Heads on stored features, asked about faces themselves: the network that made the store looks at each face first.

What a face gets is what ``extract.py`` would write of its crop, rounded alike, and then what the head says of that: of
the face alone, or of a person's faces through time.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from affect.batch import Batch, Predictions
from affect.frames import IntArray
from datamodules.resizing import Image
from evaluators.postprocess.people import numbered
from features.planning import Grid, Laid, filled, predicted_spans
from heads.module import HeadModule
from heads.temporal.causal import CausalNetwork, State
from heads.temporal.module import TemporalModule, VideoScores
from runs.frozen import Frozen
from videos.watching import Watched

_log = logging.getLogger(__name__)


@torch.inference_mode()
def ask_heads(module: HeadModule, frozen: Frozen, device: torch.device, faces: Sequence[Image]) -> Predictions:
    """Return what frame heads say of B faces."""
    embedding, outputs = frozen(faces, device)
    return module.predict_float32(cast("Batch", {"embedding": embedding, "outputs": outputs}))[""]


@dataclass(frozen=True, eq=False)
class Stretches:
    """The faces of a video as videos of one person each.

    Attributes:
        number: (N,) of each face's stretch.
        position: (N,) in it, from 0.
        last: (S,) position of each stretch's last face.
        length: (S,) of each stretch, positions.
    """

    number: IntArray
    position: IntArray
    last: IntArray
    length: IntArray

    @classmethod
    def of(cls, watched: Watched, max_gap: int, grid: Grid) -> Stretches:
        """Cut each person's faces where the next one is more than ``max_gap`` frames later.

        Args:
            watched: the faces.
            max_gap: frames. A stretch that begins, or ends, no farther from the video's does so with it.
            grid: ``frames``: a position for each frame; ``rows``: for each face.
        """
        frame = watched.frame[watched.picture]
        number = numbered([watched.face_id], frame, max_gap)
        count = int(number.max(initial=-1)) + 1
        first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, dtype=np.int64)
        np.minimum.at(first, number, frame)
        np.maximum.at(last, number, frame)
        if grid == "rows":
            order = np.lexsort((frame, number))
            ends = np.bincount(number, minlength=count)
            position = np.empty(len(frame), dtype=np.int64)
            position[order] = np.arange(len(frame)) - np.repeat(np.cumsum(ends) - ends, ends)
            return cls(number, position, ends - 1, ends)
        end = int(watched.frame[-1]) if len(watched.frame) else 0
        begin = np.where(first - 1 <= max_gap, np.minimum(first, 1), first)
        length = np.where(end - last <= max_gap, end, last) - begin + 1
        return cls(number, frame - begin[number], last - begin, length)


class InTime:
    """Asks a temporal head about each person's faces, as if a stretch of them were a video of its own.

    Of each stretch that goes on it holds the features of a window, or piece, and no picture.

    Args:
        module: the head.
        frozen: the networks that made its features.
        watched: whose faces come, and when; None: each is alone.
        max_gap: frames without a face, after which a stretch ends.
        device: of the networks.
    """

    def __init__(
        self,
        module: TemporalModule,
        frozen: Sequence[Frozen],
        watched: Watched | None,
        max_gap: int,
        device: torch.device,
    ) -> None:
        self._module, self._frozen, self._device = module, frozen, device
        self._laid = cast("Laid", module.laid)
        self._stretches = None if watched is None else Stretches.of(watched, max_gap, self._laid["grid"])
        self._going: dict[int, _Person] = {}
        self._count = 0
        self._rows: list[int] = []
        self._scores: list[Tensor] = []
        longest = 0 if self._stretches is None else int(self._stretches.length.max(initial=0))
        size = self._laid["max_frames"]
        if size is not None and longest > size and not module.network.causal:
            _log.warning("somebody is seen for %d frames: the head sees them in pieces of %d", longest, size)

    @torch.inference_mode()
    def add(self, faces: Sequence[Image]) -> None:
        """Ask about the next ones."""
        for features in torch.cat([one(faces, self._device)[0] for one in self._frozen], dim=1):
            self._add(features)

    def _add(self, features: Tensor) -> None:
        row, number, position, last, length = self._count, self._count, 0, 0, 1
        self._count += 1
        if (known := self._stretches) is not None:
            number, position = int(known.number[row]), int(known.position[row])
            last, length = int(known.last[number]), int(known.length[number])
        if number not in self._going:
            self._going[number] = _Person(VideoScores(self._module.network), length, last, self._laid)
        rows, scores = self._going[number].add(row, position, features.clone())  # a view would keep all of the batch
        self._rows += rows
        self._scores += [one.cpu() for one in scores]
        if position == last:
            del self._going[number]

    @torch.inference_mode()
    def said(self) -> Mapping[str, Tensor]:
        """Return what was said, in the order of the faces."""
        if not self._count:
            return {}
        order = torch.empty(self._count, dtype=torch.int64)
        order[torch.tensor(self._rows)] = torch.arange(self._count)
        said = self._module.predictions_of_columns(torch.cat(self._scores)[order])
        return cast("Mapping[str, Tensor]", said)


class _Person:
    """One stretch of a person's faces, whose windows are looked at as soon as they are whole.

    Args:
        scores: of the stretch.
        length: positions.
        last: position of the last face.
        laid: how windows lie.
    """

    def __init__(self, scores: VideoScores, length: int, last: int, laid: Laid) -> None:
        self._scores, self._length, self._last, self._fill = scores, length, last, laid["fill"]
        self._spans = predicted_spans(length, laid)
        self._next = 0  # window
        self._begin = 0  # position of the first of ``_held``
        self._held: list[Tensor] = []  # (D,) features of positions, one behind the other
        self._latest: Tensor | None = None  # features of the face before
        self._waiting: deque[tuple[int, int]] = deque()  # rows, and their positions

    def add(self, row: int, position: int, features: Tensor) -> tuple[list[int], list[Tensor]]:
        """Add the next face, (D,), and return the rows that no later window covers, and their raw scores, (K, C)."""
        count = self._begin + len(self._held)
        # the last position so far has the face before this one
        known, faces = ([position], [features]) if self._latest is None else (
            [count - 1, position], [self._latest, features])  # fmt: skip
        between = filled(np.arange(count, position + 1), np.array(known), self._fill)
        faces.append(torch.zeros_like(features))  # −1: before the first one
        self._held += [faces[one] for one in between.tolist()]
        self._latest = features
        if position == self._last:
            self._held += [features] * (self._length - position - 1)
        self._waiting.append((row, position))
        return self._look()

    def _look(self) -> tuple[list[int], list[Tensor]]:
        rows, scores, spans = list[int](), list[Tensor](), self._spans
        while self._next < len(spans.start) and spans.stop[self._next] <= self._begin + len(self._held):
            start, stop, done = (int(column[self._next]) for column in spans)
            window = torch.stack(self._held[start - self._begin : stop - self._begin])[None]
            given = self._scores.given
            means = self._scores.add(window, window.new_ones(1, stop - start, dtype=torch.bool), [start], [done])
            faces = []
            while self._waiting and self._waiting[0][1] < done:
                faces.append(self._waiting.popleft())
            rows += [row for row, _ in faces]
            scores.append(means[[position - given for _, position in faces]])
            self._next += 1
            begin = int(spans.start[self._next]) if self._next < len(spans.start) else done
            del self._held[: begin - self._begin]
            self._begin = begin
        return rows, scores


@dataclass
class _Before:
    """What is known of a person: the last frame with the face, its features, and the head's state after it."""

    number: int
    features: Tensor
    state: State


class CausalPeople:
    """Asks a causal head about each person's faces as they come, and remembers a state for each person.

    It says what ``InTime`` says of the same faces in a whole video.

    Args:
        module: the head.
        frozen: the networks that made its features.
        max_gap: frames without a person's face, after which the person is new to the head.
        device: of the networks.
    """

    def __init__(self, module: TemporalModule, frozen: Sequence[Frozen], max_gap: int, device: torch.device) -> None:
        self._module, self._frozen, self._device, self._max_gap = module, frozen, device, max_gap
        self._every_frame = cast("Laid", module.laid)["grid"] == "frames"
        self._known: dict[int, _Before] = {}

    @torch.inference_mode()
    def ask(self, faces: Sequence[Image], ids: Sequence[int], number: int) -> Mapping[str, Tensor]:
        """Return what is said of the faces of a frame."""
        features = torch.cat([one(faces, self._device)[0] for one in self._frozen], dim=1)
        scores = [self._next(face_id, number, one) for face_id, one in zip(ids, features, strict=True)]
        self._known = {one: known for one, known in self._known.items() if number - known.number <= self._max_gap}
        said = self._module.predictions_of_columns(torch.cat(scores))
        return cast("Mapping[str, Tensor]", said)

    def _next(self, face_id: int, number: int, features: Tensor) -> Tensor:
        """Return the raw scores (1, C) of a person's next face, of (D,) features."""
        network = cast("CausalNetwork", self._module.network)
        before = self._known.get(face_id)
        if before is None or number - before.number > self._max_gap:
            # who is there nearly from the beginning begins with the stream, as a video's first person does
            gap = number - 1 if number - 1 <= self._max_gap else 0
            missing, state = torch.zeros_like(features), network.initial(1)
        else:
            gap, missing, state = number - before.number - 1, before.features, before.state
        filled = missing.expand(gap if self._every_frame else 0, -1)
        output, state = network.advance(torch.cat([filled, features[None]])[None], state)
        self._known[face_id] = _Before(number, features.clone(), state)
        return torch.cat([getattr(output, task)[0, -1:].float() for task in network.tasks], dim=1)
