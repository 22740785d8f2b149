"""Find and list the files of a data set. Listings are kept: on a network disk, 100,000 files take minutes."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

from rich.progress import Progress, SpinnerColumn, TextColumn

from affect.cache import read_kept, write_kept
from affect.errors import DataError
from datamodules.links import Links
from datamodules.packs import pack_of

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
"""What names of images end in, in any case; what a file holds is told by its content."""

_ABSENT: Final = (errno.ENAMETOOLONG, errno.ELOOP)

_log = logging.getLogger(__name__)
Content = TypeVar("Content")


def existing_roots(root: str | list[str], key: str, what: str = "of the faces and labels") -> list[Path]:
    """Return the folders of a root or of several.

    Args:
        root: a folder, or several.
        key: configuration key that names them, for the message.
        what: which folder it must be set to, for the message.

    Raises:
        FileNotFoundError: one is missing.
    """
    roots = [Path(folder).expanduser() for folder in ([root] if isinstance(root, str) else root)]
    for folder in roots:
        if not folder.is_dir():
            raise FileNotFoundError(f"no such folder: {folder}. Set {key} to the folder {what}.")
    return roots


def first_existing(
    roots: Sequence[Path], names: Sequence[str], problem: str, fix: str, *, folder: bool = False
) -> Path:
    """Return the first file that exists, by the first of its names that does.

    Args:
        roots: folders that it may be in.
        names: names that it may have, absolute or relative to a root.
        problem: begins the message where it is nowhere, for example ``no such file``.
        fix: ends that message.
        folder: look for a folder instead of a file.

    Raises:
        FileNotFoundError: none exists; the message names all of them.
    """
    candidates = [root / Path(name).expanduser() for name in names for root in roots]
    for path in candidates:
        if path.is_dir() if folder else path.is_file():
            return path
    looked = ", ".join(dict.fromkeys(map(str, candidates)))
    raise FileNotFoundError(f"{problem}: looked for {looked}. {fix}")


class Scan(NamedTuple):
    """Names in a folder.

    Attributes:
        files: the files, and whatever else is no folder.
        folders: the folders.
        links: those of either that are links.
    """

    files: list[str]
    folders: list[str]
    links: list[str]


def scan(folder: Path) -> Scan:
    """List a folder without asking the disk about each file; what begins with a dot is left out.

    An archive that was packed on a Mac has a ``._0.jpg``, which is no image, beside each ``0.jpg``. A link with the
    name of an image counts as an image. In a pack, the packed files of the folder count as files in it.

    Raises:
        DataError: the folder's pack cannot be used, or a file is in it and beside it.
    """
    found = Scan([], [], [])
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            link = entry.is_symlink()  # the listing says so, and whether anything else is a folder
            (found.folders if _is_folder(entry, link) else found.files).append(entry.name)
            if link:
                found.links.append(entry.name)
    if (packed := pack_of(folder)) is not None:
        names = [name for name in packed[0].names(packed[1]) if not name.startswith(".")]
        if twice := set(names).intersection([*found.files, *found.folders]):
            raise DataError(f"{folder / min(twice)} is in the pack {packed[0].root}, too: remove the one that is loose")
        found.files.extend(names)
    return found


def scan_if_there(folder: Path, links: Links, cache: Path | None = None) -> Scan:
    """List a folder as ``scan`` does and check the links to it and in it; the listing is empty if there is no folder.

    Args:
        folder: folder to list.
        links: decides which links are followed.
        cache: folder of the kept listings, made where missing; None: no cache.

    Raises:
        DataError: a link leads out of the data's folders.
    """
    links.check(folder)
    try:
        found = Scan(*keep(folder, cache, "names", lambda: scan(folder)))
    except OSError as error:
        if is_absent(error):
            return Scan([], [], [])
        raise
    links.check_files(folder, found.links)
    return found


def is_absent(error: OSError) -> bool:
    """Return whether a listing failed because there is no such folder, its name is too long, or links form a ring."""
    return isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno in _ABSENT


def list_images(root: Path, cache: Path | None, links: Links, *, recursive: bool = False) -> list[str]:
    """List the images in a folder as sorted relative paths; a folder that has not changed is not listed again.

    A folder that is reached a second time through a link is not entered. Folders below that only the administrator may
    list, such as ``lost+found``, are left out with a warning, and so are names that are not UTF-8, which neither
    tables nor lists can hold. Other files are counted in the log.

    Args:
        root: folder to list.
        cache: folder of the kept listings, made where missing; None: no cache.
        links: decides which links are followed.
        recursive: list the folders below, too.

    Raises:
        DataError: an image or a folder is a link that leads out of the data's folders.
        OSError: the folder itself cannot be listed.
    """
    links.check(root)
    where = str(root.absolute())
    known: dict[str, Any] = read_kept(cache, where) or {}
    listings: dict[str, Any] = {}
    images: list[str] = []
    refused: list[Path] = []
    no_text: list[str] = []
    others: Counter[str] = Counter()
    waiting, entered = [""], set[tuple[int, int]]()
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), transient=True, disable=not sys.stdout.isatty()
    ) as progress:
        shown = progress.add_task(f"listing {root}")
        while waiting:
            relative = waiting.pop()
            folder = root / relative
            stamp, *names = known.get(relative, (None,))
            try:
                # read before the listing: a file that appears meanwhile makes the kept listing old, never wrong
                status = folder.stat()
                if (status.st_dev, status.st_ino) in entered:
                    continue
                entered.add((status.st_dev, status.st_ino))
                found = Scan(*names) if stamp == (now := _stamp(folder, status)) else scan(folder)
            except PermissionError:
                if not relative:
                    raise
                refused.append(folder)
                continue
            listings[relative] = [now, *found]
            followed = {name for name in found.folders if recursive} | set(filter(_is_image, found.files))
            links.check_files(folder, followed.intersection(found.links))
            prefix = f"{relative}/" if relative else ""
            below = found.folders if recursive else []
            no_text += [prefix + name for name in (*filter(_is_image, found.files), *below) if not _is_text(name)]
            images += [prefix + name for name in found.files if _is_image(name) and _is_text(name)]
            others.update(os.path.splitext(name)[1].lower() for name in found.files if not _is_image(name))
            waiting += [prefix + name for name in below if _is_text(name)]
            progress.update(shown, description=f"listing {root}: {len(images)} images")
    if refused:
        _log.warning("%s: no permission to list it, left out; so are %d more folders", refused[0], len(refused) - 1)
    _tell_what_is_left_out(root, len(images), no_text, others)
    if listings != known:
        write_kept(cache, where, listings)
    return sorted(images)


def _tell_what_is_left_out(root: Path, images: int, no_text: list[str], others: Counter[str]) -> None:
    if no_text:
        _log.warning(
            "%s: %d images or folders are left out, because their names are not UTF-8: rename them. The first is %s",
            root, len(no_text), os.fsencode(min(no_text)),
        )  # fmt: skip
    if others:
        counts = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common())
        _log.info("%s: %d images;\n  other files are left out: %s", root, images, counts)


def match_case(files: Iterable[str], names: Sequence[str]) -> list[str | None]:
    """Find the file of each name: the one with this name or, if there is none, one that differs in case only.

    Args:
        files: names of the files in a folder.
        names: names that a list has.

    Returns:
        One file per name, None where there is none.
    """
    exact = set(files)
    there = {file.lower(): file for file in sorted(exact)}
    return [name if name in exact else there.get(name.lower()) for name in names]


def with_other_suffix(folders: Iterable[Path], images: Iterable[str], links: Links) -> str:
    """Look for a listed image that exists with another suffix; return part of a message, empty if there is none.

    Args:
        folders: folders to look in.
        images: paths below them, none of which exists.
        links: decides which links are followed.
    """
    stems = defaultdict(set)
    for image in images:
        folder, _, file = image.rpartition("/")
        stems[folder].add(file.rpartition(".")[0].lower())
    for parent in folders:
        for folder, wanted in stems.items():
            for name in sorted(scan_if_there(parent / folder, links).files):
                if name.rpartition(".")[0].lower() in wanted:
                    return f"But there is {parent / folder / name}: rename such files to the suffix that is listed. "
    return ""


def keep(folder: Path, cache: Path | None, what: str, read: Callable[[], Content]) -> Content:
    """Return what ``read`` finds in the files of a folder; a folder that has not changed is not read again.

    A folder changes when a file in it is added, removed or renamed. When a file was overwritten in place, ``touch`` the
    folder.

    Args:
        folder: folder to read.
        cache: folder of what is kept, made where missing; None: no cache.
        what: name of what is read, if several things of a folder are kept.
        read: returns plain values that JSON can hold.
    """
    if cache is None:
        return read()
    where = f"{folder.absolute()}: {what}"
    stamp = _stamp(folder, folder.stat())  # before reading, as above
    found = read_kept(cache, where)
    if found is not None and found["stamp"] == stamp:
        return cast(Content, found["content"])
    content = read()
    write_kept(cache, where, {"stamp": stamp, "content": content})
    return content


def _stamp(folder: Path, status: os.stat_result) -> int | str:
    """Return what changes when the files of a folder do: when it was changed and, in a pack, what the pack holds."""
    packed = pack_of(folder)
    return status.st_mtime_ns if packed is None else f"{status.st_mtime_ns} {packed[0].stamp}"


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _is_text(name: str) -> bool:
    """Return whether a name is UTF-8; in others, Python has surrogates for the bytes."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _is_folder(entry: os.DirEntry[str], link: bool) -> bool:
    """Return whether an entry is a folder; the disk is asked only about links, except those named like an image."""
    try:
        return not (link and _is_image(entry.name)) and entry.is_dir()
    except OSError:  # links in a ring
        return False
