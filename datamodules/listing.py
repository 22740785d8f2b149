"""What is read of a folder once and kept: hundreds of thousands of files take minutes on a network disk."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

from rich.progress import Progress, SpinnerColumn, TextColumn

from affect.cache import kept_file, read_kept, write_kept
from datamodules.links import Links

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png")

_ABSENT: Final = (errno.ENAMETOOLONG, errno.ELOOP)

_log = logging.getLogger(__name__)
Content = TypeVar("Content")


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

    An archive that was packed on a Mac has a ``._0.jpg``, which is no image, beside each ``0.jpg``. A link that is
    called like an image is one.
    """
    found = Scan([], [], [])
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            link = entry.is_symlink()  # told by the listing, as is whether anything else is a folder
            (found.folders if _is_folder(entry, link) else found.files).append(entry.name)
            if link:
                found.links.append(entry.name)
    return found


def scan_if_there(folder: Path, links: Links) -> Scan:
    """List a folder as ``scan`` does, after checking the links to it and in it; nothing where there is no such folder.

    Raises:
        LinkError: a link leads out of the data's folders.
    """
    links.check(folder)
    try:
        found = scan(folder)
    except OSError as error:
        if is_absent(error):
            return Scan([], [], [])
        raise
    links.check_files(folder, found.links)
    return found


def is_absent(error: OSError) -> bool:
    """Whether a folder could not be listed because there is none: also a name too long for one, or links in a ring."""
    return isinstance(error, (FileNotFoundError, NotADirectoryError)) or error.errno in _ABSENT


def list_images(root: Path, cache: Path | None, links: Links, *, recursive: bool = False) -> list[str]:
    """Sorted paths of the images in a folder, relative to it; a folder that has not changed is not listed again.

    A folder that a link leads to for a second time is not entered. Folders below that nobody but the administrator may
    list, such as ``lost+found``, are left out with a warning.

    Args:
        root: what to list.
        cache: folder of the kept listings, made where missing; None to list always.
        links: decides which links are followed.
        recursive: also list the folders below.

    Raises:
        LinkError: an image or a folder is a link that leads out of the data's folders.
        OSError: the folder itself cannot be listed.
    """
    links.check(root)
    where = str(root.absolute())
    kept = None if cache is None else kept_file(cache, where)
    known: dict[str, Any] = {} if kept is None else read_kept(kept, where) or {}
    listings: dict[str, Any] = {}
    images: list[str] = []
    refused: list[Path] = []
    waiting, entered = [""], set[tuple[int, int]]()
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), transient=True) as progress:
        shown = progress.add_task(f"listing {root}")
        while waiting:
            relative = waiting.pop()
            folder = root / relative
            stamp, *names = known.get(relative, (None,))
            try:
                # read before the listing: a file that comes meanwhile makes the kept listing old, never wrong
                status = folder.stat()
                if (status.st_dev, status.st_ino) in entered:
                    continue
                entered.add((status.st_dev, status.st_ino))
                found = Scan(*names) if stamp == status.st_mtime_ns else scan(folder)
            except PermissionError:
                if not relative:
                    raise
                refused.append(folder)
                continue
            listings[relative] = [status.st_mtime_ns, *found]
            followed = {name for name in found.folders if recursive} | set(filter(_is_image, found.files))
            links.check_files(folder, followed.intersection(found.links))
            prefix = f"{relative}/" if relative else ""
            images += [prefix + name for name in found.files if _is_image(name)]
            waiting += [prefix + name for name in found.folders] if recursive else []
            progress.update(shown, description=f"listing {root}: {len(images)} images")
    if refused:
        _log.warning("%s: no permission to list it, left out; so are %d more folders", refused[0], len(refused) - 1)
    if kept is not None and listings != known:
        write_kept(kept, where, listings)
    return sorted(images)


def keep(folder: Path, cache: Path | None, what: str, read: Callable[[], Content]) -> Content:
    """What ``read`` returns of the files in a folder; a folder that has not changed is not read again.

    A folder changes when a file in it is added, removed or renamed. A file that is written over in place is not
    noticed: ``touch`` the folder then.

    Args:
        folder: what is read.
        cache: folder of what is kept, made where missing; None to read always.
        what: tells apart what is kept of the same folder.
        read: gives plain values, of which JSON keeps everything.
    """
    if cache is None:
        return read()
    where = f"{folder.absolute()}: {what}"
    kept, stamp = kept_file(cache, where), folder.stat().st_mtime_ns  # before reading, as above
    found = read_kept(kept, where)
    if found is not None and found["stamp"] == stamp:
        return cast(Content, found["content"])
    content = read()
    write_kept(kept, where, {"stamp": stamp, "content": content})
    return content


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def _is_folder(entry: os.DirEntry[str], link: bool) -> bool:
    """Whether an entry is a folder; the disk is asked about links alone, but not about one that is called an image."""
    try:
        return not (link and _is_image(entry.name)) and entry.is_dir()
    except OSError:  # links in a ring
        return False
