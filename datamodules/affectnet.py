"""Data module of AffectNet, as it is given out or sorted into class folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from affect.errors import DataError, refuse
from affect.frames import Frames
from affect.labels import AFFECTNET_FOLDERS
from affect.settings import buildable
from datamodules.base import Split
from datamodules.expressions import ExpressionDataModule
from datamodules.listing import IMAGE_SUFFIXES
from datamodules.readers.affectnet import read_release
from datamodules.readers.class_folders import find_classes, read_classes


@buildable("data")
class AffectNetDataModule(ExpressionDataModule):
    """Faces of AffectNet in its own numbering, the index in ``labels.AFFECTNET_EXPRESSIONS``, in one of two layouts.

    * As it is given out: ``root/{train,val}_set/images/<id>.jpg`` and ``…/annotations/<id>_exp.npy``
      (``datamodules.readers.affectnet``).
    * Class folders: ``root/{train,val}/<k>/*.jpg`` with k from 0 to 7, or the name of the expression. The other folders
      that may be there (8 none, 9 uncertain, 10 no face) are not read.

    Args:
        root: folder above the splits.
        layout: ``release`` or ``folders``, needed where the root holds both (the published code of DAN copies the one
            into the other); None: the one that exists.
        valence_arousal: read valence and arousal as well, which only the first layout has.
        **options: keywords of ``ExpressionDataModule``.
    """

    root: str

    def __init__(
        self,
        root: str,
        *,
        layout: Literal["release", "folders"] | None = None,
        valence_arousal: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = root
        self.layout = layout
        self.valence_arousal = valence_arousal

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
        """Read a split in the layout that exists.

        Raises:
            FileNotFoundError: neither layout, or a folder of one is missing.
            DataError: both layouts and no choice, no image, annotations that cannot be used, or a link out of the root.
        """
        root = Path(self.root).expanduser()
        layouts = {"release": root / f"{split}_set", "folders": root / split}
        found = [name for name, path in layouts.items() if path.is_dir() and self.layout in (None, name)]
        if len(found) == len(layouts):
            raise DataError(
                f"{layouts['release']} and {layouts['folders']} are both AffectNet's {split} split. Set "
                "data.layout=release to read the first, or data.layout=folders."
            )
        if found == ["release"]:
            return read_release(
                layouts["release"],
                classes=len(self.expressions),
                valence_arousal=self.valence_arousal,
                cache=self.cache,
                links=self.links(),
                faults=self.faults,
            )
        if found == ["folders"]:
            return self._read_class_folders(layouts["folders"])
        problem = f"{root} holds no {split} split of AffectNet" if root.is_dir() else f"no such folder: {root}"
        wanted = f" (data.layout={self.layout})" if self.layout else ""
        name = layouts["release"].name
        raise FileNotFoundError(
            f"{problem}{wanted}. Set data.root to the folder that holds {name}/images and {name}/annotations, as "
            f"AffectNet is given out, or the class folders {self._class_folder_names(split)}."
        )

    def _read_class_folders(self, folder: Path) -> tuple[Frames, list[Path | None]]:
        """List the class folders in order of class and file name."""
        if self.valence_arousal:
            raise DataError(
                f"{folder} holds class folders, which say nothing of valence and arousal. Set "
                "data.valence_arousal=false, or read AffectNet as it is given out."
            )
        found, others = find_classes(folder, AFFECTNET_FOLDERS[: len(self.expressions)], self.faults)
        for number, name in enumerate(self.expressions):
            if number not in found:
                there = ", ".join(path.name for path in [*found.values(), *others]) or "no folder"
                missing = (
                    f"{folder} has no folder {number} or {name}, there is {there}. Set data.root to the folder that "
                    f"holds {self._class_folder_names(folder.name)}."
                )
                if self.faults is None:
                    raise FileNotFoundError(missing)
                refuse(DataError(missing), self.faults)
        frames, images = read_classes(folder, dict(sorted(found.items())), self.cache, self.links())
        if not images:
            raise DataError(
                f"no image below {folder}/0 to {len(self.expressions) - 1}, so the {folder.name} split is empty. "
                f"Put {', '.join(IMAGE_SUFFIXES)} files there."
            )
        return frames, images

    def _class_folder_names(self, split: str) -> str:
        last = len(self.expressions) - 1
        numbers = f"{split}/0 ({self.expressions[0]}) to {split}/{last} ({self.expressions[last]})"
        return f"{numbers}, or the same called {', '.join(self.expressions)}"
