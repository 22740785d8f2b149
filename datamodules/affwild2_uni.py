"""Data module of ABAW's uni-task challenges on Aff-Wild2: one of the three tasks, every frame of each video."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack, get_args

from affect.buildable import buildable
from affect.computed import CropPaths
from affect.frames import Frames
from affect.labels import UniTask
from datamodules.affwild2_uni_files import UniFiles
from datamodules.base import FaceDataModule, LoaderOptions, Split


@buildable("data")
class AffWild2UniDataModule(FaceDataModule):
    """Faces and labels of one task: ``<TASK>/<SPLIT>/<video>.txt`` and ``cropped_aligned/<video>/<frame>.jpg``.

    Row i of a label file, counted from 1, is frame i. The labels of the other tasks are missing.

    Args:
        root: folder with label folders and image folders, or several: labels are read from the first that has the
            folder, a crop is taken from the first that has it.
        task: ``va`` (valence and arousal), ``expr`` (expression) or ``au`` (action units).
        train_annotations: label folder of the training split, absolute or relative to a root; where None, those of
            LABEL_FOLDERS and SPLIT_FOLDERS.
        val_annotations: label folder of the validation split, in the same way.
        test_list: list of the test split's frames or videos; needed for ``predict_split="test"`` only.
        expected_frames: file with each video's number of frames, for a list of videos; None: the last crop's number.
        test_root: folder or folders of the test images; ``root`` where None.
        images: name of the image folder, ``cropped_aligned`` or ``cropped``; the folder of ABAW5's new videos and
            those in ``batch1`` and ``batch2`` are found by it.
        cache_dir: folder in which listings of crops are cached; None: no cache.
        **options: keywords of ``FaceDataModule``.

    Raises:
        ValueError: an unknown task.
    """

    of_videos = True

    def __init__(
        self,
        root: str | list[str],
        *,
        task: UniTask,
        train_annotations: str | None = None,
        val_annotations: str | None = None,
        test_list: str | None = None,
        expected_frames: str | None = None,
        test_root: str | list[str] | None = None,
        images: str = "cropped_aligned",
        cache_dir: str | None = None,
        **options: Unpack[LoaderOptions],
    ) -> None:
        super().__init__(**options)
        if task not in get_args(UniTask):
            raise ValueError(f"data.task is {task!r}, expected {', '.join(get_args(UniTask))}")
        self.root, self.crops = root, images
        lists: dict[Split, str | None] = {"train": train_annotations, "val": val_annotations, "test": test_list}
        cache = None if cache_dir is None else Path(cache_dir).expanduser()
        self.files = UniFiles(root, task, lists, test_root, expected_frames, images, cache)

    def read_split(self, split: Split) -> tuple[Frames, CropPaths]:
        """Read the label files of a split or the test list, and find the crops, as ``UniFiles.read`` does."""
        return self.files.read(split, self.links(self.files.test_root))
