"""Plan drawn faces in the layout of ABAW's uni-task challenges: every frame of a video, label files of each task."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from affect.labels import ACTION_UNITS, MISSING_CLASS, MISSING_VALENCE_AROUSAL, UNI_HEADERS
from rendering import video
from rendering.affect import annotate
from rendering.writing import SPLITS, Plan, Row, state_rows, write_frame

_SPLIT_FOLDERS: Final = {video.UNI_TRAIN: "Train_Set", video.UNI_VALIDATION: "Validation_Set"}
_HEADERS: Final = {
    "VA_Estimation_Challenge": UNI_HEADERS["va"],
    "EXPR_Classification_Challenge": UNI_HEADERS["expr"],
    "AU_Detection_Challenge": UNI_HEADERS["au"],
}
_NO_CROP: Final = (0.016, 4.0)  # share of the frames, and frames that such a stretch has on average
_NO_AFFECT: Final = (0.01, 6.0)  # how many rows are −5 or −1 is published for the expression only: 44 %
_NO_EXPRESSION: Final = (0.44, 30.0)
_NO_UNITS: Final = (0.02, 6.0)
_UNANNOTATED: Final = 2
"""The video of each split that has no valid expression, like the real 109-30-1280x720."""

_LACKING: Final = (None, None, None, *_HEADERS)
"""The list that lacks a video of ``plan_joint``: of six that follow one another, three are in all lists."""

_VALIDATED: Final = {3: "AU_Detection_Challenge", 4: "VA_Estimation_Challenge"}
"""The training videos of ``plan_joint`` that are in a validation list, too, and in which."""


def plan_uni(*, seed: int, train_videos: int, val_videos: int, frames_per_video: int) -> Plan:
    """Plan the uni-task layout: ``<TASK>/{Train,Validation}_Set/<video>.txt``, ``cropped_aligned/<video>/%05d.jpg``.

    One person per video, none in both splits nor in any other rendered data set, whatever its seed. The first two
    videos of a split are the two people of one, ``…_left`` and ``…_right``; its third has no valid expression. The
    label files have all frames from 1 on; some of these have no crop, most often the last one, as the real files often
    have one row more than the video has frames. ``state.parquet`` has the rows of each split in the order of the files'
    names.

    Args:
        seed: seed of every random draw.
        train_videos: number of training videos.
        val_videos: number of validation videos.
        frames_per_video: frames per video on average; a video has half to one and a half times as many.
    """
    return _plan(seed, train_videos, val_videos, frames_per_video, joint=False)


def plan_joint(*, seed: int, train_videos: int, val_videos: int, frames_per_video: int) -> Plan:
    """Plan the same videos with lists that differ, as those of Aff-Wild2 do: half of the videos lack one label file.

    The fourth and the fifth training video are each in the training list of one task and in the validation list of
    another. There is no ``state.parquet``, whose rows would be those of no list.

    Args:
        seed: seed of every random draw.
        train_videos: number of training videos.
        val_videos: number of validation videos.
        frames_per_video: frames per video on average.
    """
    plan = _plan(seed, train_videos, val_videos, frames_per_video, joint=True)
    return plan._replace(finish=lambda folder, rows: None)


def _plan(seed: int, train_videos: int, val_videos: int, frames_per_video: int, *, joint: bool) -> Plan:
    splits = {video.UNI_TRAIN: train_videos, video.UNI_VALIDATION: val_videos}
    folders = [f"{challenge}/{split}" for challenge in _HEADERS for split in _SPLIT_FOLDERS.values()]
    return Plan(splits, partial(_write_video, seed, frames_per_video, joint), _video, folders)


def _video(stream: int, index: int) -> str:
    """Name a video; the first two are the two people of one."""
    return f"{SPLITS[stream]}-0000_{('left', 'right')[index]}" if index < 2 else f"{SPLITS[stream]}-{index:04d}"


def _lists(stream: int, index: int, joint: bool) -> dict[str, str]:
    """Return the challenges that have a label file of a video, and the split that it is in."""
    lists = dict.fromkeys(_HEADERS, _SPLIT_FOLDERS[stream])
    if joint:
        lists.pop(_LACKING[index % len(_LACKING)] or "", None)
        if stream == video.UNI_TRAIN and index in _VALIDATED:
            lists[_VALIDATED[index]] = _SPLIT_FOLDERS[video.UNI_VALIDATION]
    return lists


def _write_video(seed: int, mean_frames: int, joint: bool, root: Path, task: tuple[int, int]) -> list[Row]:
    """Render, annotate and write one video; return the rendered state of its frames."""
    stream, index = task
    # two people are seen in one video, which is as long for both
    length = video.generator(seed, stream, max(index, 1), video.LISTING, 1).uniform(0.5, 1.5)
    drawn = video.draw_video(seed, stream, index, max(round(mean_frames * length), 1))
    name = _video(stream, index)
    folder = root / "cropped_aligned" / name
    folder.mkdir(parents=True)
    files = [f"{frame:05d}.jpg" for frame in drawn.frames.tolist()]

    rng = video.generator(seed, stream, index, video.LISTING)
    absent = _stretches(rng, len(files), *_NO_CROP)
    absent[-1] |= rng.random() < 0.65
    absent[len(files) // 2] = False  # whatever is drawn, there is a crop
    for t in np.flatnonzero(~absent).tolist():
        write_frame(drawn, t, folder / files[t])

    annotators = video.generator(seed, stream, index, video.ANNOTATORS)
    affect, expression, units = annotate(annotators, drawn.units.max(axis=1), drawn.expression, drawn.frames)
    lines = (
        [f"{valence:.3f},{arousal:.3f}" for valence, arousal in affect],
        [str(number) for number in expression],
        [",".join(map(str, present)) for present in units.tolist()],
    )
    missing = (
        f"{MISSING_VALENCE_AROUSAL:g},{MISSING_VALENCE_AROUSAL:g}",
        str(MISSING_CLASS),
        ",".join([str(MISSING_CLASS)] * len(ACTION_UNITS)),
    )
    shares, lists = (_NO_AFFECT, _NO_EXPRESSION, _NO_UNITS), _lists(stream, index, joint)
    for (challenge, header), known, invalid, share in zip(_HEADERS.items(), lines, missing, shares, strict=True):
        unknown = _stretches(rng, len(files), *share)
        if share is _NO_EXPRESSION and index == _UNANNOTATED:
            unknown[:] = True
        rows = [invalid if off else line for off, line in zip(unknown, known, strict=True)]
        if challenge in lists:
            path = root / challenge / lists[challenge] / f"{name}.txt"
            path.write_text("\n".join([header, *rows]) + "\n")
    return state_rows(drawn, SPLITS[stream], [f"{name}/{file}" for file in files])


def _stretches(rng: np.random.Generator, count: int, share: float, length: float) -> NDArray[np.bool_]:
    """Return (count,) true in stretches that cover a share of the frames and are ``length`` frames long on average."""
    begins = share / (1 - share) / length  # chance that a stretch begins at a frame outside of one
    draws = rng.random(count)
    inside = np.zeros(count, dtype=bool)
    now = rng.random() < share
    for t, draw in enumerate(draws):
        now = draw >= 1 / length if now else draw < begins
        inside[t] = now
    return inside
