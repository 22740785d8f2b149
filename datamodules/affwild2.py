"""Base of the data modules of Aff-Wild2: where lists, label files and crops lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datamodules.base import FaceDataModule, Split
from datamodules.links import Links
from datamodules.listing import existing_roots, with_other_suffix


class AffWild2DataModule(FaceDataModule):
    """Base of the data modules whose images are ``cropped_aligned/<video>/<frame>.jpg`` below ``root``.

    Args:
        root: folder with labels and images, or several: an image is taken from the first that has it.
        train_annotations: labels of the training split, absolute or relative to a root; None: those of the usual name.
        val_annotations: labels of the validation split, in the same way.
        test_list: list of the test split, without labels; needed for ``predict_split="test"`` only.
        test_root: folder or folders of the test images; ``root`` where None.
        images: name of the image folder below each root.
        **options: keywords of ``FaceDataModule``.
    """

    of_videos = True
    crops: str

    def __init__(
        self,
        root: str | list[str],
        *,
        train_annotations: str | None = None,
        val_annotations: str | None = None,
        test_list: str | None = None,
        test_root: str | list[str] | None = None,
        images: str = "cropped_aligned",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.test_root, self.crops = root, test_root, images
        self.annotations: dict[Split, str | None] = {
            "train": train_annotations, "val": val_annotations, "test": test_list,
        }  # fmt: skip

    def image_roots(self, split: Split) -> tuple[list[Path], str]:
        """Return the folders above the image folders of a split, and the key that names them.

        Raises:
            FileNotFoundError: one is missing.
        """
        root, key = (
            (self.test_root, "data.test_root") if split == "test" and self.test_root else (self.root, "data.root")
        )
        return existing_roots(root, key), key

    def no_image(
        self, listed: Path, folders: Sequence[Path], image: Sequence[str], key: str, links: Links
    ) -> FileNotFoundError:
        """Return the error that none of the listed images is in one of the image folders.

        Args:
            listed: the list or label file, or the folder of label files.
            folders: the image folders.
            image: path of each image below them.
            key: key that names the folders above them.
            links: decides which links are followed.
        """
        looked = " or ".join(str(folder / image[0]) for folder in folders)
        return FileNotFoundError(
            f"none of the {len(image)} images listed in {listed} exists; the first would be {looked}. "
            f"{with_other_suffix(folders, image, links)}Set {key} to the folder, or folders, above the images, and "
            "data.images to the image folder's name."
        )
