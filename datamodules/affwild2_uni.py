"""Data module of ABAW's uni-task challenges on Aff-Wild2: one of the three tasks, every frame of each video."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import numpy as np
import numpy.typing as npt
from rich.progress import track

from affect.computed import CropPaths, frame_names, image_file
from affect.errors import DataError, refuse
from affect.frames import Frames, IntArray, unlabelled, video_numbers
from affect.labels import MISSING_CLASS, UNI_TASKS, UniTask
from affect.settings import buildable
from datamodules.affwild2 import AffWild2DataModule
from datamodules.base import Split
from datamodules.links import Links
from datamodules.listing import existing_roots, first_existing, is_absent, keep, scan
from datamodules.readers.lists import check_names, frame_number
from datamodules.readers.uni import frame_count, read_frame_counts, read_labels, read_test_frames, read_test_videos

LABEL_FOLDERS: Final[dict[UniTask, tuple[str, ...]]] = {
    "va": ("VA_Estimation_Challenge", "VA_Set"),
    "expr": ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge", "EXPR_Set"),
    "au": ("AU_Detection_Challenge", "AU_Set"),
}
"""Names of each task's folder: since ABAW6, in ABAW3 and 5 (where they differ), and in ABAW1 and 2."""

SPLIT_FOLDERS: Final[dict[Split, tuple[str, ...]]] = {
    "train": ("Train_Set", "Training_Set"),
    "val": ("Validation_Set",),
}
"""Names of each split's folder in it; ABAW1 had the second."""

NEW_VIDEOS: Final = "_new_50_vids"
"""Ending of the name of the image folder with the videos that ABAW5 added."""

BATCHES: Final = ("batch1", "batch2")
"""Folders in which the archives of images come. Those of ``cropped`` hold the videos' folders themselves."""

_log = logging.getLogger(__name__)
Codes = npt.NDArray[np.int32]
Step = TypeVar("Step")


@buildable("data")
class AffWild2UniDataModule(AffWild2DataModule):
    """Faces and labels of one task: ``<TASK>/<SPLIT>/<video>.txt`` and ``cropped_aligned/<video>/<frame>.jpg``.

    Row i of a label file, counted from 1, is frame i. The labels of the other tasks are missing.

    Args:
        root: folder with label folders and image folders, or several: labels are read from the first that has the
            folder, a crop is taken from the first that has it.
        task: ``va`` (valence and arousal), ``expr`` (expression) or ``au`` (action units).
        expected_frames: file with each video's number of frames, for a list of videos; None: the last crop's number.
        **options: keywords of ``AffWild2DataModule``. Annotations are label folders; where None, those of LABEL_FOLDERS
            and SPLIT_FOLDERS. The test list is of frames or of videos. ``images`` is ``cropped_aligned`` or
            ``cropped``; the folder of ABAW5's new videos and those in ``batch1`` and ``batch2`` are found by it.

    Raises:
        ValueError: an unknown task.
    """

    def __init__(
        self, root: str | list[str], *, task: UniTask, expected_frames: str | None = None, **options: Any
    ) -> None:
        super().__init__(root, **options)
        if task not in get_args(UniTask):
            raise ValueError(f"data.task is {task!r}, expected {', '.join(get_args(UniTask))}")
        self.task, self.expected_frames = task, expected_frames

    def read_split(self, split: Split) -> tuple[Frames, CropPaths]:
        """Read the label files of a split or the test list, and find the crops.

        Raises:
            FileNotFoundError: a root, the label folder, a list or every crop is missing.
            DataError: a file is faulty, the length of a test video is unknown, or a link leads out of the roots.
        """
        links = self.links(self.test_root)
        roots = existing_roots(self.root, "data.root")
        if split != "test":
            return self._read_labelled(split, roots, links)
        path = self.test_file(roots)
        links.check(path)
        image_roots, key = self.image_roots(split)
        folders = self.image_folders(image_roots, key, links)
        listed, digest = read_test_frames(path, self.task, self.faults)
        files = {path.name: digest}
        if listed is not None:
            videos, frame = list(dict.fromkeys(listed.video)), listed.frame
            codes = video_numbers(listed.video).astype(np.int32)
            frames = unlabelled(listed.image, frame_names(videos, codes, frame)[0], frame, files)
        else:
            videos = read_test_videos(path, self.faults)
            codes, frame = _rows(self._test_lengths(path, videos, folders, roots, files, links))
            video, image = frame_names(videos, codes, frame)
            frames = unlabelled(image, video, frame, files)
        return frames, self._find(folders, key, path, videos, codes, frame, links)

    def _read_labelled(self, split: Split, roots: list[Path], links: Links) -> tuple[Frames, CropPaths]:
        folder = links.enter(self.label_folder(split, roots))
        found = scan(folder)
        names = sorted(name for name in found.files if name.endswith(".txt"))
        if not names:
            raise FileNotFoundError(f"{folder} has no label file, <video>.txt. Copy it again from the archive.")
        leading_out = check_names(folder, dict.fromkeys(names), self.faults)
        names = [name for name in names if name not in leading_out]
        links.check_files(folder, set(found.links).intersection(names))
        whole = hashlib.sha256()
        videos, values, refused = [], [], []
        for name in _track(names, f"reading {folder.parent.name}/{folder.name}"):
            try:
                of_video, digest = read_labels(folder / name, self.task, self.faults)
            except DataError as error:
                refuse(error, self.faults)
                refused.append(error)
                continue
            videos.append(name.removesuffix(".txt"))
            values.append(of_video.astype(np.float32))
            whole.update(f"{name} {digest}\n".encode())
        if not values:
            raise refused[0]
        codes, frame = _rows([len(of_video) for of_video in values])
        name_of_row, image = frame_names(videos, codes, frame)
        # one entry for the folder: every table that is made from it keeps this
        files = {f"{folder.parent.name}/{folder.name}": whole.hexdigest()}
        frames = _labelled(unlabelled(image, name_of_row, frame, files), np.concatenate(values), self.task)
        _log.info("%s: %d rows of %d label files in %s", split, len(frames), len(names), folder)
        folders = self.image_folders(roots, "data.root", links)
        return frames, self._find(folders, "data.root", folder, videos, codes, frame, links)

    def test_file(self, roots: list[Path]) -> Path:
        """Return the test list, or raise FileNotFoundError where none is given or it is not there."""
        return _listed_file(self.annotations["test"], "data.test_list", roots)

    def label_folder(self, split: Split, roots: list[Path]) -> Path:
        """Return the first label folder that exists of those that may be meant, or raise FileNotFoundError."""
        given = self.annotations[split]
        usual = [f"{task}/{part}" for task in LABEL_FOLDERS[self.task] for part in SPLIT_FOLDERS[split]]
        names = [given] if given else usual
        return first_existing(
            roots, names, f"no label folder of the {split} split", self.fix_of_list(split), folder=True
        )

    def fix_of_list(self, split: Split) -> str:
        """Return what to do where a split's label folder is missing."""
        return f"Add the folder above it to data.root, or set data.{split}_annotations to its path."

    def image_folders(self, roots: list[Path], key: str, links: Links) -> list[Path]:
        """Return the image folders that exist below the roots, in the order in which a crop is looked for.

        Raises:
            FileNotFoundError: there is none.
            DataError: a link leads out of the roots.
        """
        parts = [Path(parent) / name for parent in ("", *BATCHES) for name in (self.crops, self.crops + NEW_VIDEOS)]
        if self.crops == "cropped":
            parts += map(Path, BATCHES)
        candidates = [root / part for root in roots for part in parts]
        folders = [links.enter(folder) for folder in candidates if folder.is_dir()]
        if not folders:
            raise FileNotFoundError(
                f"no image folder: looked for {', '.join(map(str, candidates))}. Set {key} to the folder, or folders, "
                "above the images, and data.images to the image folder's name."
            )
        return folders

    def _find(
        self,
        folders: list[Path],
        key: str,
        listed: Path,
        videos: Sequence[str],
        video: Codes,
        frame: IntArray,
        links: Links,
    ) -> CropPaths:
        """Find the crop of each row in the first image folder that has it; each video's folder is listed once."""
        where = np.full(len(frame), -1, dtype=np.int16)
        order = np.argsort(video, kind="stable")  # rows by video
        ends = np.searchsorted(video, np.arange(1, len(videos) + 1), sorter=order)
        starts = [0, *ends[:-1]]
        spans = list(zip(videos, starts, ends, strict=True))
        places = {(number, ".jpg"): number for number in range(len(folders))}
        for name, start, end in _track(spans, f"listing the crops of {listed.name}"):
            rows = order[start:end]
            for number in reversed(range(len(folders))):  # so that the first one wins
                for suffix, crops in crop_numbers(folders[number] / name, self.cache, links).items():
                    place = places.setdefault((number, suffix), len(places))
                    where[rows[np.isin(frame[rows], crops)]] = place
        paths = CropPaths([(folders[number], suffix) for number, suffix in places], videos, where, video, frame)
        if not paths.found.any():
            raise self.no_image(listed, folders, frame_names(videos, video, frame)[1], key, links)
        return paths

    def _test_lengths(
        self,
        listed: Path,
        videos: Sequence[str],
        folders: Sequence[Path],
        roots: list[Path],
        files: dict[str, str],
        links: Links,
    ) -> list[int]:
        """Return how many frames each video of a list has, by the organisers' file or by its last crop."""
        if self.expected_frames is not None:
            path = _listed_file(self.expected_frames, "data.expected_frames", roots)
            links.check(path)
            counts, files[path.name] = read_frame_counts(path, self.faults)
            where = f"{path} has no"
        else:
            _log.warning(
                "%s lists videos, not frames: each is taken to end with its last crop, and frames after it will be "
                "missing from a submission. Set data.expected_frames to the organisers' numbers of frames.", listed,
            )  # fmt: skip
            crops = {name: [crop_numbers(at / name, self.cache, links) for at in folders] for name in videos}
            last = {name: max((int(numbers[-1]) for at in found for numbers in at.values()), default=0)
                    for name, found in crops.items()}  # fmt: skip
            counts, where = {name: count for name, count in last.items() if count}, "there is no crop to tell the"
        lengths = []
        for line, name in enumerate(videos, start=1):
            count = frame_count(name, counts)
            if count is None:
                raise DataError(
                    f"{listed}:{line}: {where} number of frames of {name}. Set data.expected_frames to a file with a "
                    f"line {name},<number of frames>."
                )
            lengths.append(count)
        return lengths


def crop_numbers(folder: Path, cache: Path | None, links: Links) -> dict[str, IntArray]:
    """Return the sorted numbers of the frames whose crop is in a video's folder; none where there is no such folder.

    The keys are the suffixes, ``.jpg`` in any case; ``.jpg`` itself comes last.

    Args:
        folder: one of ``<images>/<video>``.
        cache: folder in which listings are cached; None: no cache.
        links: decides which links are followed.

    Raises:
        DataError: a link leads out of the data's folders.
    """

    def read() -> tuple[dict[str, list[int]], list[str]]:
        found = scan(folder)
        numbers: dict[str, list[int]] = {}
        crops = set()
        for name in found.files:
            stem, suffix = os.path.splitext(name)
            number = frame_number(stem) if suffix.lower() == ".jpg" else None
            if number is not None and name == image_file(number, suffix):
                crops.add(name)
                numbers.setdefault(suffix, []).append(number)
        by_suffix = {suffix: sorted(numbers[suffix]) for suffix in sorted(numbers)}
        return by_suffix, [name for name in found.links if name in crops]

    links.check(folder)
    try:
        numbers, linked = keep(folder, cache, "frames by suffix", read)
    except OSError as error:
        if is_absent(error):
            return {}  # another folder has the video, or no face was found in it
        raise
    links.check_files(folder, linked)
    return {suffix: np.array(of_suffix, dtype=np.int64) for suffix, of_suffix in numbers.items()}


def _track(steps: Sequence[Step], title: str) -> Iterable[Step]:
    """Show the progress of what takes minutes on a network disk; not in a log file, where it leaves blank lines."""
    return track(steps, title, transient=True, disable=not sys.stdout.isatty())


def _listed_file(given: str | None, key: str, roots: list[Path]) -> Path:
    """Return a file that the configuration names, absolute or relative to a root."""
    if given is None:
        raise FileNotFoundError(f"the test split has no list. Set {key} to the challenge's list of frames or videos.")
    return first_existing(roots, [given], "no such file", f"Set {key} to its path.")


def _rows(lengths: Sequence[int]) -> tuple[Codes, IntArray]:
    """Return the video's number and the frame's, from 1, of each row of videos that follow one another."""
    codes = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    starts = np.cumsum([0, *lengths[:-1]])
    return codes, np.arange(1, len(codes) + 1, dtype=np.int64) - np.repeat(starts, lengths)


def _labelled(bare: Frames, values: npt.NDArray[np.float32], task: UniTask) -> Frames:
    """Return frames with the labels of one task, from values as ``read_labels`` gives them."""
    labels: dict[str, Any] = {UNI_TASKS[task]: values}
    if task == "expr":
        labels["expression"] = np.nan_to_num(values[:, 0], nan=MISSING_CLASS).astype(np.int64)
    return replace(bare, **labels)
