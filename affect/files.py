"""Write files as a whole or not at all, check where outputs go, and keep a second process out of a folder."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from affect.errors import UserError

LOCK: Final = ".lock"
"""Name of the lock file in a folder that is being written to."""

hook: Callable[[str, Path], None] | None = None
"""Called with the name of each point that a write passes and the path concerned; tests set it to kill the process."""


class OutputError(UserError):
    """A place that cannot be written to. The message names it and says what to give instead."""


class LockedError(UserError):
    """A folder that another process is writing to."""


def reached(point: str, path: Path) -> None:
    """Tell the hook, if there is one, that a write has reached a point.

    Args:
        point: name of the point, for example ``file.written``.
        path: the file or folder that is being written.
    """
    if hook is not None:
        hook(point, path)


def check_output(path: Path) -> Path:
    """Check that a file can be written at a path, or replaced there.

    Args:
        path: where the output goes. A link to a file stands for that file.

    Returns:
        The path with all links resolved.

    Raises:
        OutputError: a folder, a device, a pipe or a socket is there, or a file where a folder of it should be.
    """
    resolved = path.expanduser().resolve()
    try:
        mode = resolved.stat().st_mode
    except FileNotFoundError:
        return resolved
    except NotADirectoryError as error:
        raise OutputError(f"{path} is below a file, not a folder: give another path") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        leads = "" if resolved == path.absolute() else f" leads to {resolved}, which"
        raise OutputError(f"{path}{leads} is {kind}, not a file: give the path of a file to write")
    return resolved


@contextmanager
def whole_file(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; sync it to the disk and rename it when the block ends well.

    A kill, an error or a full disk leaves the former file as it was.

    Args:
        path: the file, whose folder is made where it is missing. A link to a file stands for that file.
        shared: whether several processes may write this file at once; the last one wins. Otherwise what a killed
            process left beside it is written over.

    Raises:
        OutputError: a folder, a device, a pipe or a socket is there, or a file where a folder of it should be.
    """
    path = check_output(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{os.getpid()}" if shared else ""
    beside = path.with_name(f".{path.name}{own}.writing")
    try:
        yield beside
        reached("file.written", path)
        sync(beside)
        reached("file.synced", path)
        put_in_place(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # an error while writing does not name the file
        raise
    reached("file.renamed", path)


def put_in_place(made: Path, path: Path) -> None:
    """Give a complete file or folder its name, in the place of a file or an empty folder, and sync the name."""
    os.replace(made, path)
    sync(path.parent)


def write_whole(path: Path, text: str) -> None:
    """Write a text file as UTF-8; a kill, an error or a full disk leaves the former file as it was."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def open_file(path: Path, most: int | None = None) -> Iterator[io.BufferedReader]:
    """Open a regular file for reading. A pipe, which might never give anything, and a device are not opened.

    Args:
        path: the file.
        most: bytes that it may have; None: any number.

    Raises:
        OSError: it cannot be read, is no regular file, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is a pipe, a device or a socket, not a file")
        if most is not None and status.st_size > most:
            raise OSError(f"it has {status.st_size} bytes, more than the {most} that are read at most")
        yield file


def read_file(path: Path, most: int | None = None) -> bytes:
    """Read a file as ``open_file`` opens it."""
    with open_file(path, most) as file:
        return file.read()


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows cannot open folders
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, purpose: str) -> Iterator[None]:
    """Hold a folder's lock during the block, so that no second process writes to it.

    The kernel frees the lock of a process that dies. Where the file system has no locks, a file that names host and
    process stands for it; that of a dead process of this host is taken over.

    Args:
        folder: must exist.
        purpose: what the folder is, for the message, for example ``run folder``.

    Raises:
        LockedError: another process holds the lock; the message names it where that is known.
    """
    path = folder / LOCK
    lock: BaseFileLock
    try:
        try:
            lock = FileLock(path)
            lock.acquire(timeout=0)
        except OSError as error:
            if isinstance(error, Timeout) or error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise
            lock = SoftFileLock(path)
            lock.acquire(timeout=0)
    except Timeout as error:
        raise LockedError(
            f"{purpose} {folder}: another process{_holder(path)} is writing to it; wait until it has ended, or give "
            f"another folder. If it is gone for good, delete {path}"
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # while the lock is held: afterwards the file could be another process's
        lock.release()


def _holder(path: Path) -> str:
    """Say which process a lock file names; nothing where it names none."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" ({lines[0]} on {lines[1]})" if len(lines) >= 2 else ""
