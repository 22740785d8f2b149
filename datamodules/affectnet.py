"""Data module of AffectNet with eight expressions, in its own numbering."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final, Unpack

import numpy as np
import numpy.typing as npt

from datamodules.annotations import AnnotationError, Frames, unlabelled
from datamodules.base import FaceDataModule, LoaderOptions, Split
from datamodules.labels import AFFECTNET_EXPRESSIONS
from datamodules.transforms import DANTransform

SUFFIXES: Final = (".jpg", ".jpeg", ".png")


class AffectNetDataModule(FaceDataModule):
    """Faces in class folders, ``root/{train,val}/<k>/*.jpg`` with k from 0 to 7 in AffectNet's own numbering.

    ``Batch["expression"]`` is that number, the index in ``labels.AFFECTNET_EXPRESSIONS``. The other folders that
    AffectNet comes with (8 none, 9 uncertain, 10 no face) are not read.

    Args:
        root: folder with ``train`` and ``val``.
        balanced: draw training rows with replacement, each class as often, as many rows as there are.
        flip: see ``DANTransform``, also for the two below.
        affine: probability of the affine transform.
        erase: probability of random erasing.
        **options: see ``FaceDataModule``.
    """

    root: str
    expressions = AFFECTNET_EXPRESSIONS

    def __init__(
        self,
        root: str,
        *,
        balanced: bool = True,
        flip: float = 0.5,
        affine: float = 0.7,
        erase: float = 0.5,
        **options: Unpack[LoaderOptions],
    ) -> None:
        super().__init__(**options)
        self.root = root
        self.balanced = balanced
        self.augmentation = {"flip": flip, "affine": affine, "erase": erase}

    def train_transform(self) -> DANTransform:
        """Return DAN's augmentation."""
        return DANTransform(
            image_size=self.image_size, interpolation=self.interpolation, seed=self.seed, **self.augmentation
        )

    def sampling_weights(self, frames: Frames) -> npt.NDArray[np.float64] | None:
        """Return (N,) probabilities under which each class that is present is drawn as often, or None."""
        if not self.balanced:
            return None
        weights = 1 / np.bincount(frames.expression)[frames.expression]
        normalised: npt.NDArray[np.float64] = weights / weights.sum()
        return normalised

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
        """List the class folders in order of class and file name.

        Raises:
            FileNotFoundError: a class folder is missing.
            AnnotationError: no class folder holds an image.
        """
        folder = Path(self.root).expanduser() / split
        classes = [folder / str(number) for number in range(len(AFFECTNET_EXPRESSIONS))]
        for path in classes:
            if not path.is_dir():
                raise FileNotFoundError(
                    f"no such folder: {path}. Set data.root to the folder that holds {split}/0 "
                    f"({AFFECTNET_EXPRESSIONS[0]}) to {split}/{len(classes) - 1} ({AFFECTNET_EXPRESSIONS[-1]})."
                )
        files = [file for path in classes for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES]
        if not files:
            raise AnnotationError(
                f"no image below {folder}/0 to {classes[-1].name}, so the {split} split is empty. "
                f"Put {', '.join(SUFFIXES)} files there."
            )
        video = [file.parent.name for file in files]
        image = [f"{file.parent.name}/{file.name}" for file in files]
        # Photographs have no frame number; their position in the list stands in for it.
        frames = unlabelled(image, video, np.arange(len(files), dtype=np.int64), files={})
        return replace(frames, expression=np.array([int(name) for name in video], dtype=np.int64)), [*files]
