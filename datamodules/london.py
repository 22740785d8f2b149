"""Fetch the Face Research Lab London Set: photographs of adults, neutral and smiling, under a free licence.

``london.sha256`` lists the files that are fetched, as the program sha256sum writes them: the table of all 102 people,
and two photographs each of every second one in its order. The other people are left for a last test.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from affect.download import DownloadError, download
from affect.errors import DataError
from affect.files import locked, whole_file, write_whole
from datamodules.pictures import read_image, write_jpeg

ADDRESS: Final = "https://raw.githubusercontent.com/debruine/webmorphR.stim/fa8b78fda2d659bb74ce62fcd99c4407551d2a77"
"""A mirror by the set's author with one file a picture."""

PEOPLE: Final = "data-raw/london_info.csv"
"""There, and in the list: what the people said of themselves."""

HASHES: Final = Path(__file__).with_suffix(".sha256")
TABLE: Final = "faces.csv"
IMAGES: Final = "images"

SIDE: Final = 448  # px
QUALITY: Final = 88

NOTICE: Final = """\
Faces of 51 adults, neutral and smiling, from:
DeBruine, L., & Jones, B. (2017). Face Research Lab London Set (Version 5). figshare.
https://doi.org/10.6084/m9.figshare.5047666.v5
Licence: CC BY 4.0, https://creativecommons.org/licenses/by/4.0/
Changed: every second person of the set; pictures reduced from 1350 x 1350 to 448 x 448 pixels.
The people consented to the use of their pictures "in lab-based and web-based studies in their original or altered forms
and to illustrate research". Give this citation wherever you use them.
"""

_ORIGINALS: Final = ".originals"


def fetch_london(folder: Path) -> list[Path]:
    """Fetch the photographs that are not there yet, reduce them, and write the table of them.

    ``images`` gets the 102 pictures, ``faces.csv`` their table (image, person, smiling, age, gender, ethnicity), and
    ``README.md`` where they come from. The table is written last: where it is, every picture was.

    Args:
        folder: made where it is missing. What an earlier call left there stays, and an original that was cut off is
            gone on with; a folder in which nothing is missing needs no network.

    Returns:
        The pictures, in the order of the table.

    Raises:
        DataError: the folder holds something else.
        DownloadError: a file cannot be fetched, or is not the one that is listed.
        LockedError: another process writes to the folder.
        OSError: the folder cannot be written, or its disk is full.
    """
    originals, table = folder / _ORIGINALS, folder / TABLE
    strange = not table.is_file() and not originals.is_dir()
    if strange and folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise DataError(f"{folder} holds something else (there is no {TABLE} in it): give another --out")
    hashes = dict(line.split()[::-1] for line in HASHES.read_text().splitlines())
    images = {folder / IMAGES / _image_name(name): name for name in sorted(hashes, key=_image_name) if name != PEOPLE}
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, "folder of the London Set"):
        if table.is_file() and all(image.is_file() for image in images):
            return list(images)
        people = _fetch(PEOPLE, hashes, originals)
        for image, name in track(images.items(), "London Set", console=Console(stderr=True)):
            if not image.is_file():
                _reduce(_fetch(name, hashes, originals), image)
        write_whole(folder / "README.md", NOTICE)
        write_whole(table, _table(people, images))
        shutil.rmtree(originals)
    return list(images)


def _image_name(name: str) -> str:
    """Turn a name of the mirror, ``inst/neutral_front/001_03.jpg``, into that of its picture, ``001_neutral.jpg``."""
    path = Path(name)
    return f"{path.stem[:3]}_{path.parent.name.removesuffix('_front')}.jpg"


def _fetch(name: str, hashes: Mapping[str, str], originals: Path) -> Path:
    path = originals / Path(name).name
    try:
        download(f"{ADDRESS}/{name}", path, sha256=hashes[name], progress=False)
    except DownloadError as error:
        raise DownloadError(f"London Set: {error}; the same command goes on where it stopped") from error
    return path


def _reduce(original: Path, image: Path) -> None:
    """Write a smaller copy of a photograph, each of whose pixels is the mean of those it stands for."""
    picture = cv2.resize(read_image(original)[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    with whole_file(image) as beside:
        write_jpeg(picture.astype(np.uint8, copy=False), QUALITY, beside)


def _table(people: Path, images: Iterable[Path]) -> str:
    """Return the table of the pictures, with what the mirror's file of people says."""
    with people.open(encoding="utf-8", newline="") as file:
        rows = {row["face_id"]: row for row in csv.DictReader(file)}
    lines = ["image,person,smiling,age,gender,ethnicity"]
    for image in images:
        person, expression = image.stem.split("_")
        told = ",".join(rows[person][f"face_{key}"] for key in ("age", "gender", "eth"))
        lines.append(f"{image.name},{person},{int(expression == 'smiling')},{told}")
    return "\n".join(lines) + "\n"
