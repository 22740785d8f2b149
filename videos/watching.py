"""Watch a video twice: first to find and follow its faces, then to cut them out. Neither keeps a picture."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from videos.decoding import Image, Picture, check_same_length
from videos.detector import Boxes, search
from videos.faces import cut
from videos.numbering import frame_numbers
from videos.people import People, steady
from videos.settings import CropSettings
from videos.tracks import Array

RATE: Final = 25.0
"""Frames per second where neither the pictures nor the container tell their times."""


@dataclass(frozen=True, eq=False)
class Watched:
    """The faces of a video, in the order of its frames, those of a frame from left to right.

    Attributes:
        frame: (P,) number of each picture that was decoded, from 1 on; one that is lost in the stream leaves a gap.
        time: (P,) s after the beginning of the stream, NaN where the file does not say.
        picture: (N,) index of each face's picture.
        face_id: (N,) from 1; the same number is the same person.
        box: (N, 5) left, top, width, height, px, and the detector's score, 0..1.
        square: (N, 3) what is cut out: x and y of the centre and side, px, steady over time.
        by_time: whether the numbers come from times; else pictures are counted.
    """

    frame: npt.NDArray[np.int64]
    time: Array
    picture: npt.NDArray[np.int64]
    face_id: npt.NDArray[np.int64]
    box: Boxes
    square: Array
    by_time: bool


def watch(pictures: Iterable[Picture], detector: Callable[[Image], Boxes], rate: float | None) -> Watched:
    """Find the faces of a video and follow them.

    Args:
        pictures: of the video, in their order.
        detector: finds faces; several threads call it at once.
        rate: frames per second, of a file that does not tell times.
    """
    people, times = People(), list[float | None]()
    picture, face_id, box = array("q"), array("q"), array("d")
    now = 0.0
    searched = search(pictures, lambda picture: detector(picture.image))
    for number, ((time, image), found) in enumerate(searched):
        # a damaged file may tell times that do not increase
        now = max(now + 1e-3, time if time is not None else number / (rate or RATE))
        found = found[np.argsort(found[:, 0], kind="stable")]
        face_id.extend(people.follow(image, now, found))
        picture.extend([number] * len(found))
        box.extend(found.ravel().tolist())
        times.append(time)
    by_time = frame_numbers(times)
    frame = np.arange(1, len(times) + 1) if by_time is None else by_time
    of_face, ids = (np.array(values, dtype=np.int64) for values in (picture, face_id))
    boxes = np.array(box, dtype=np.float64).reshape(-1, 5)
    known = np.array([np.nan if time is None else time for time in times])
    return Watched(frame, known, of_face, ids, boxes, steady(frame[of_face], ids, boxes), by_time is not None)


def cut_out(pictures: Iterable[Picture], watched: Watched, settings: CropSettings, path: Path) -> Iterator[Image]:
    """Cut out the faces that were found, in their order.

    Args:
        pictures: the same as before, decoded again.
        watched: what was found in them.
        settings: margin and size of the crops.
        path: of the video, for the message.

    Yields:
        (size, size, 3) uint8 RGB.

    Raises:
        DataError: there are more or fewer pictures than before.
    """
    ends = np.searchsorted(watched.picture, np.arange(len(watched.frame) + 1))
    again = -1
    for again, (_, image) in enumerate(pictures):
        if again < len(watched.frame):
            for square in watched.square[ends[again] : ends[again + 1]]:
                yield np.ascontiguousarray(cut(image, square, settings)[..., ::-1])
    check_same_length(path, len(watched.frame), again + 1)
