"""What predict.py does with a camera or an address: a table that grows frame by frame, and a page with the latest one.

Three threads: one reads pictures; one finds faces, asks the networks, writes rows and draws; the main one waits for the
end, or for Ctrl-C. Between the first two wait two frames at most (``videos.live.Waiting``).
"""

from __future__ import annotations

import json
import signal
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, NamedTuple, Protocol

import cv2
import numpy as np

from affect.errors import DataError, UserError
from affect.files import locked
from affect.labels import UNIT_NAMES
from affect.names import below
from evaluators.page.markup import as_base64
from evaluators.recording import SUFFIX, Recording
from evaluators.table import Table
from runs.drawing import marks_of
from runs.ending import Stopped
from runs.following import Following
from runs.live_page import Page
from runs.networks import origin
from runs.predictor import Predictor
from videos.decoding import Image, Picture
from videos.detector import scaled_down
from videos.live import LiveSource, Waiting
from videos.overlay import Mark, Pen

WIDEST: Final = 960
"""Longer side of the page's picture, px."""

_QUALITY: Final = 80  # of the page's pictures, as JPEG
_RATE_S: Final = 2.0  # over which the page's frames/s are counted
_HEARING_S: Final = 0.2  # in which a signal is heard


class Frame(NamedTuple):
    """A picture that was sent.

    Attributes:
        number: from 1, of those that were sent.
        time: s after the first.
        came: when it came, on the clock.
        image: (H, W, 3) uint8 BGR.
    """

    number: int
    time: float
    came: float
    image: Image


@dataclass
class Course:
    """How a stream went.

    Attributes:
        waiting: its frames, with how many were sent, shown and dropped.
        latency: of each that was shown, s from its coming to its drawing.
        ended: why it ended.
    """

    waiting: Waiting[Frame] = field(default_factory=Waiting)
    latency: array[float] = field(default_factory=lambda: array("d"))
    ended: str = "the stream has ended"

    def facts(self) -> dict[str, Any]:
        """Return what the table's metadata say of it."""
        counts = {name: getattr(self.waiting, name) for name in ("sent", "shown", "dropped")}
        share = {f"latency_p{one}_ms": self.share(one) for one in (50, 95)}
        return {**counts, **share, "ended": self.ended}

    def share(self, percent: int) -> float | None:
        """Return the latency, ms, that so many of a hundred frames do not exceed; None without any."""
        return round(1000 * float(np.percentile(self.latency, percent)), 1) if self.latency else None


def show_live(
    source: LiveSource,
    predictor: Predictor,
    plain: Mapping[str, Any],
    made: Mapping[str, Any],
    finish: Callable[[Path, str], None],
) -> None:
    """Look at a stream until it ends or Ctrl-C comes, and leave the table of what was shown.

    Args:
        source: the stream.
        predictor: the networks.
        plain: the configuration of predict.py.
        made: what the table's metadata say of its making.
        finish: writes what lies beside the finished table, whose path and name it gets.

    Raises:
        UserError: the source cannot be opened, or what is asked for needs frames that are still to come, or there is
            a table of this name.
        Stopped: SIGTERM; the table is finished all the same.
    """
    if plain["overlay"]:
        raise UserError("overlay=true: of a live source no picture is kept to draw over: leave it out")
    following = Following(predictor, source.name)
    place = below(Path(plain["out"]).expanduser(), source.name)
    path, growing = place / f"{source.name}.parquet", place / f"{source.name}{SUFFIX}"
    if path.is_file() and not plain["overwrite"]:
        raise UserError(f"{path} is there: give overwrite=true to replace it, or another out=…")
    following.warm()  # before frames come
    pictures = source.pictures()
    first = next(pictures, None)
    if first is None:
        raise DataError(f"{source.told}: it ended before its first picture")
    place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(locked(place, "folder of predictions"))
        if plain["overwrite"]:
            growing.unlink(missing_ok=True)
        recording = Recording(growing)
        stack.callback(recording.close)
        page = None
        if plain["show"]:
            told = [f"{one.path} ({origin(one.module.learnt_from)})" for one in predictor.networks]
            page = Page(source.told, " and ".join(told))
            stack.callback(page.close)
            print(f"page: {page.address} (this machine alone; Ctrl-C ends)", flush=True)
        began, course = datetime.now(UTC), Course()
        work = Work(following, recording, course, page)
        stopped = run(chain([first], pictures), work, course)
        if page is not None:
            page.latest.close()  # browsers know at once; the table takes a while
        about = {"source": source.told, "began": began.isoformat(timespec="seconds"), **course.facts()}
        if course.latency:
            recording.finish(path, {**predictor_facts(predictor), "live": about, "made": dict(made)})
            finish(path, source.name)
    print(summary(source.name, course), flush=True)
    if stopped is not None and stopped.code != 128 + signal.SIGINT:
        raise stopped


def run(
    pictures: Iterator[Picture],
    work: Callable[[Frame], None],
    course: Course,
    clock: Callable[[], float] = time.monotonic,
) -> Stopped | None:
    """Read pictures in one thread and work on them in another, until there are no more, or a signal comes.

    Args:
        pictures: of the stream.
        work: makes of a frame what is shown of it.
        course: takes up what happened.
        clock: tells the seconds.

    Returns:
        The signal, if that was the end.

    Raises:
        Exception: whatever the work has raised, or the reader, unless it is that the stream broke off.
    """
    waiting, finished = course.waiting, Event()
    failed, broken = list[BaseException](), list[str]()

    def read() -> None:
        begun: float | None = None
        try:
            for number, picture in enumerate(pictures, 1):
                came = clock()
                begun = came if begun is None else begun
                at = came - begun if picture.time is None else picture.time
                if not waiting.put(Frame(number, at, came, picture.image)):
                    return
        except DataError as error:
            broken.append(str(error))
        except BaseException as error:
            failed.append(error)
        finally:
            waiting.end()

    def look() -> None:
        try:
            _look(work, course, clock)
        except BaseException as error:
            failed.append(error)
        finally:
            waiting.stop()
            finished.set()  # a thread's own join cannot be trusted when a signal interrupts it (Python 3.11)

    stopped = None
    try:
        # a reader may hang in the network, so nobody waits for it
        Thread(target=read, daemon=True).start()
        Thread(target=look, daemon=True).start()
        while not finished.wait(_HEARING_S):  # another thread may take a signal, which this one hears when it wakes
            pass
    except (KeyboardInterrupt, Stopped) as error:
        stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
        course.ended = "it was stopped"
        waiting.stop()
        while not finished.wait(_HEARING_S):
            pass
    if broken and stopped is None:
        course.ended = broken[0]
    if failed:
        raise failed[0]
    return stopped


def _look(work: Callable[[Frame], None], course: Course, clock: Callable[[], float]) -> None:
    """Work on the frames that wait, until there are no more."""
    while (frame := course.waiting.take()) is not None:
        shown = False
        try:
            work(frame)
            shown = True
        finally:
            course.waiting.done(shown=shown)
        course.latency.append(clock() - frame.came)


class Look(Protocol):
    """Looks at frames, as ``runs.following.Following`` does."""

    def look(self, number: int, time: float, image: Image, /) -> Table:
        """Return the rows of the next frame."""


class Work:
    """Makes of each frame its rows, and what the page shows.

    Args:
        following: looks at it.
        recording: takes its rows.
        course: whose counts the page tells.
        page: None: nobody looks.
    """

    def __init__(self, following: Look, recording: Recording, course: Course, page: Page | None) -> None:
        self._following, self._recording, self._course, self._page = following, recording, course, page
        self._pen = Pen()
        self._times: deque[float] = deque()

    def __call__(self, frame: Frame) -> None:
        """Look at a frame, write its rows, and publish it."""
        table = self._following.look(frame.number, frame.time, frame.image)
        self._recording.add(table)
        if self._page is not None:
            marks = marks_of(table, range(len(table)))
            picture = as_base64(drawn(self._pen, frame, marks))
            self._page.latest.publish(self._said(frame, table, marks, picture))

    def _said(self, frame: Frame, table: Table, marks: list[Mark], picture: str) -> str:
        """Return what the page shows of a frame, as JSON."""
        now, waiting = time.monotonic(), self._course.waiting
        self._times.append(now)
        while len(self._times) > 2 and now - self._times[0] > _RATE_S:
            self._times.popleft()
        seconds = now - self._times[0]
        return json.dumps({
            "frame": frame.number,
            "rate": (len(self._times) - 1) / seconds if seconds > 0 else 0.0,
            "latency": 1000 * (now - frame.came),
            "sent": waiting.sent,
            "shown": waiting.shown + 1,  # this one is, as soon as somebody reads it
            "dropped": waiting.dropped,
            "picture": picture,
            "faces": [_face(table, mark) for mark in marks],
        }, separators=(",", ":"), allow_nan=False)  # fmt: skip


def drawn(pen: Pen, frame: Frame, marks: list[Mark]) -> bytes:
    """Return a frame with its marks as JPEG, ``WIDEST`` px wide at most."""
    image, scale = scaled_down(frame.image, WIDEST)
    moved = []
    for one in marks:
        left, top, width, height = (scale * edge for edge in one.box)
        moved.append(replace(one, box=(left, top, width, height)))
    kept, data = cv2.imencode(".jpg", pen.draw(image, moved, frame.time), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert kept
    return data.tobytes()


def _face(table: Table, mark: Mark) -> dict[str, Any]:
    """Return what the page says of a face."""
    assert table.found is not None
    row = int(np.flatnonzero(table.found.face_id == mark.face_id)[0])
    face: dict[str, Any] = {"id": mark.face_id, "colour": mark.colour}
    if mark.affect is not None:
        face["affect"] = [round(one, 3) for one in mark.affect]
    if "expression" in table.predictions:
        shares = zip(table.expressions, table.predictions["expression"][row].tolist(), strict=True)
        face["expressions"] = [[name, round(share, 3)] for name, share in sorted(shares, key=lambda one: -one[1])]
    if mark.units:
        face["units"] = [[unit, UNIT_NAMES[unit], round(share, 3)] for unit, share in mark.units]
    return face


def predictor_facts(predictor: Predictor) -> dict[str, Any]:
    """Return what a table's metadata say of the networks."""
    described = [one.described for one in predictor.networks]
    return described[0] if len(described) == 1 else {"mean_of": described}


def summary(name: str, course: Course) -> str:
    """Say in a line how a stream went."""
    waiting, slow = course.waiting, course.share(95)
    told = "" if slow is None else f"; p95 from frame to drawing {slow:.0f} ms"
    return f"{name}: {waiting.sent} frames sent, {waiting.shown} shown, {waiting.dropped} dropped{told}; {course.ended}"
