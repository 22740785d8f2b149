"""Cut faces out of videos into Aff-Wild2's layout: ``cropped/<video>/<frame>.jpg`` and the list of all frames.

A folder of faces holds ``faces.json``, ``videos.csv`` (a row for each finished video), ``cropped`` and, once all
videos of a call are finished, ``frames.txt``. A video's crops are written to ``.writing`` and renamed as a whole.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from rich.progress import track

from affect.checksums import file_sha256
from affect.computed import image_file
from affect.files import locked, put_in_place
from affect.names import below
from datamodules.pictures import write_jpeg
from videos.decoding import Container, Image, Picture, check_same_length, decode
from videos.detector import Detector, search
from videos.folder import (
    IMAGES,
    Finished,
    open_folder,
    read_finished,
    record_settings,
    write_finished,
    write_frames,
)
from videos.numbering import frame_numbers
from videos.settings import CropSettings
from videos.sources import find_videos, waiting_videos
from videos.tracks import Array, main_face, smooth

QUALITY: Final = 95
"""JPEG quality of the crops."""


def extract_faces(
    videos: Sequence[Path], folder: Path, settings: CropSettings, detector: Detector
) -> Iterator[Finished]:
    """Cut the main face out of every frame of videos; finished ones are not decoded again.

    A finished video is done again if its file has changed since.

    Args:
        videos: files, and folders of files; a video is named like its file, without the suffix.
        folder: folder to write to, made where missing; what an earlier call with the same settings wrote there stays.
        settings: how faces are found and cut out.
        detector: the detector that the settings name.

    Yields:
        Each video of this call as soon as it is finished, in their order.

    Raises:
        DataError: files or folder cannot be used; all such videos are named, and nothing is decoded.
        LockedError: another process writes to the folder.
    """
    found = {"confidence": settings.least_confidence, "detector": detector.version}
    recorded = {**vars(settings), **found, "jpeg_quality": QUALITY}
    open_folder(folder)
    with locked(folder, "folder of faces"):
        record_settings(folder, recorded)
        finished = read_finished(folder)
        files = find_videos(videos)
        waiting = waiting_videos(files, folder, finished)
        for path in files:
            name = path.stem
            if name in waiting:
                shutil.rmtree(folder / ".writing", ignore_errors=True)  # left by a killed process
                made = below(folder, f".writing/{name}")
                crops = below(folder, f"{IMAGES}/{name}")
                done = _extract(path, waiting[name], made, detector, settings)
                if crops.exists():  # the file has changed
                    put_in_place(crops, made.with_name(".old"))
                finished[name] = done
                # the row first: a row without a folder is done again, a folder without a row would be refused
                write_finished(folder, finished)
                (folder / IMAGES).mkdir(exist_ok=True)
                put_in_place(made, crops)
                shutil.rmtree(made.parent)
            yield finished[name]
        write_frames(folder, finished)


def cut(image: Image, square: Array, settings: CropSettings) -> Image:
    """Cut out a square and its margin, repeating the pixels at the picture's edge where it reaches outside.

    Args:
        image: (H, W, 3).
        square: (3,) x and y of the centre and side, px.
        settings: margin and size of the crop.

    Returns:
        (size, size, 3).
    """
    side = max(1, round(square[2] * (1 + 2 * settings.margin)))
    rows, columns = (
        np.clip(round(centre - side / 2) + np.arange(side), 0, length - 1)
        for centre, length in ((square[1], image.shape[0]), (square[0], image.shape[1]))
    )
    # shrink by averaging, so that every pixel of the face counts; enlarge smoothly
    interpolation = cv2.INTER_AREA if side > settings.size else cv2.INTER_CUBIC
    square_image: Image = image[rows[:, None], columns]
    crop = cv2.resize(square_image, (settings.size, settings.size), interpolation=interpolation)
    return np.asarray(crop, np.uint8)


def _extract(path: Path, container: Container, made: Path, detector: Detector, settings: CropSettings) -> Finished:
    """Write the crops of one video to a new folder.

    The video is decoded twice, first to find the faces and then to cut them out: who the main person is, and where a
    smooth crop lies, is known only at its end. Decoding takes a small part of the time that the detector takes.
    """
    start = time.perf_counter()
    size, digest = path.stat().st_size, file_sha256(path)
    detections, times = [], []
    pictures = _shown(decode(path), container, f"{path.name}: finding faces")
    for picture, found in search(pictures, lambda picture: detector(picture.image)):
        detections.append(found)
        times.append(picture.time)
    by_time = frame_numbers(times)
    numbers = np.arange(1, len(times) + 1) if by_time is None else by_time
    boxes = [np.empty((0, 5))] * int(numbers.max(initial=0))
    for number, found in zip(numbers, detections, strict=True):
        boxes[number - 1] = found
    squares = smooth(main_face(boxes))
    made.mkdir(parents=True)
    again = 0
    for picture in _shown(decode(path), container, f"{path.name}: cutting them out"):
        again += 1
        if again <= len(numbers) and not np.isnan(square := squares[numbers[again - 1] - 1]).any():
            path_of_crop = made / image_file(numbers[again - 1])
            write_jpeg(cut(picture.image, square, settings), QUALITY, path_of_crop)
    check_same_length(path, len(numbers), again)
    seen = ~np.isnan(squares[:, 0])
    return Finished(
        name=path.stem,
        file=str(path.resolve()),
        frames=len(squares),
        frames_with_face=int(seen.sum()),
        frames_with_others_only=sum(len(found) > 0 for found, main in zip(boxes, seen, strict=True) if not main),
        fps=container.fps,
        width=container.width,
        height=container.height,
        announced=container.announced,
        seconds=time.perf_counter() - start,
        lost=None if by_time is None else len(squares) - len(numbers),
        size=size,
        sha256=digest,
    )


def _shown(pictures: Iterable[Picture], container: Container, title: str) -> Iterable[Picture]:
    """Show progress; not in a log file, where it would leave blank lines."""
    return track(pictures, title, container.announced, transient=True, disable=not sys.stdout.isatty())
