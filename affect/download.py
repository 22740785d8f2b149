"""Fetch a file over HTTP: go on where it was cut off, check it, and put it in its place only when it is whole.

pooch, which fetches sample data for many projects, does none of the first: it deletes what a cut connection left
(1.9.0). Its downloaders can be replaced, but all that is here would be in the replacement.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import zipfile
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock
from rich import filesize
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from affect.errors import UserError
from affect.files import whole_file

_CHUNK: Final = 1 << 20
_SILENCE: Final = 60  # seconds without a byte after which a connection is given up
_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class DownloadError(UserError):
    """A file that could not be fetched. The message says why and names the URL, not where else to get the file."""


def download(
    url: str, path: Path, *, sha256: str | None = None, md5_prefix: str | None = None, progress: bool = True
) -> None:
    """Fetch a file that is not there yet; processes that want the same file take turns.

    The unfinished file is ``<name>.part``, beside ``path``. A later call asks for the rest only, unless the server has
    another version by then or knows no ranges: then it starts over. ``path`` itself is touched only by renaming a
    whole file with the right hash to it; a cut connection shows in the length that the server announced.

    Args:
        url: http, https or file.
        path: where the file shall be.
        sha256: hexadecimal, of the whole file; None: not checked.
        md5_prefix: first digits of its MD5; None: not checked.
        progress: show a bar on stderr.

    Raises:
        DownloadError: ``HF_HUB_OFFLINE`` is set, the server or the connection fails, the hash is wrong, the disk is
            full, or the folder cannot be written. After a wrong hash or on a full disk nothing is kept.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise DownloadError(f"HF_HUB_OFFLINE is set, so {url} was not fetched; unset it to download")
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if path.is_file() and not wrong_hash(path, sha256, md5_prefix):
                return  # the process that held the lock has fetched it
            _receive(url, part, progress)
            if problem := wrong_hash(part, sha256, md5_prefix):
                _discard(part)
                raise DownloadError(f"{url} gave a file that {problem}; it was deleted")
            os.replace(part, path)
            _version_file(part).unlink(missing_ok=True)
    except (OSError, HTTPException) as error:
        kept = ""
        if part.is_file() and _version_file(part).is_file():
            kept = f"; {filesize.decimal(part.stat().st_size)} are kept, and the next try goes on from there"
        raise DownloadError(f"could not download {url} ({str(error) or type(error).__name__}){kept}") from error


def download_member(
    url: str, archive_sha256: str, member: str, path: Path, *, sha256: str | None = None, progress: bool = True
) -> None:
    """Fetch a zip file, take one file out of it, and delete the rest; processes that want the same file take turns.

    Args:
        url: of the zip file; http, https or file.
        archive_sha256: hexadecimal, of the zip file: nothing is unpacked from another one.
        member: path of the file in it.
        path: where the file shall be; it appears as a whole or not at all.
        sha256: hexadecimal, of the file; None: not checked.
        progress: show a bar on stderr.

    Raises:
        DownloadError: as for ``download``; or the file is not in the zip file, or has another hash.
    """
    archive = path.with_name(PurePosixPath(urlsplit(url).path).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.is_file() and not wrong_hash(path, sha256, None):
            return
        download(url, archive, sha256=archive_sha256, progress=progress)
        try:
            with zipfile.ZipFile(archive) as opened, whole_file(path) as beside:
                beside.write_bytes(opened.read(member))
                if problem := wrong_hash(beside, sha256, None):
                    raise DownloadError(f"{url}: its {member} {problem}")
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DownloadError(
                f"could not take {member} out of {url} ({str(error) or type(error).__name__})"
            ) from error
        finally:
            archive.unlink(missing_ok=True)


def wrong_hash(path: Path, sha256: str | None, md5_prefix: str | None) -> str | None:
    """Say what is wrong with a file's content, as the end of a sentence about it; None where nothing is.

    Args:
        path: an existing file.
        sha256: that it should have; None: not checked.
        md5_prefix: first digits of the MD5 that it should have; None: not checked.
    """
    for algorithm, expected in (("sha256", sha256), ("md5", md5_prefix)):
        if expected is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if not found.startswith(expected):
            return f"has the {algorithm.upper()} {found}, not {expected}{'...' if len(expected) < len(found) else ''}"
    return None


def _receive(url: str, part: Path, show: bool) -> None:
    """Complete the unfinished file, or begin it."""
    response, have = _ask(url, part)
    if response is None:
        return
    with response:
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        free = shutil.disk_usage(part.parent).free
        if total is not None and free < total - have:
            needed, free_space = filesize.decimal(total - have), filesize.decimal(free)
            raise DownloadError(f"{url} needs {needed} in {part.parent}, where {free_space} are free: make room")
        try:
            if not have and (version := _version(response.headers)):
                _version_file(part).write_text(version)
            with part.open("ab") as file, _progress(show) as progress:
                task = progress.add_task(part.stem, total=total, completed=have)
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    progress.advance(task, len(chunk))
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            _discard(part)
            size = "the file" if total is None else filesize.decimal(total)
            raise DownloadError(f"{url}: the disk of {part.parent} is full; make room for {size}") from error
    got = part.stat().st_size
    if total is not None and got != total:
        raise HTTPException(f"the connection ended after {got} of {total} bytes")


def _ask(url: str, part: Path) -> tuple[HTTPResponse | None, int]:
    """Ask for what the unfinished file lacks.

    Returns:
        The answer, and after how many bytes of the file it begins: where that is 0, the unfinished file is gone. No
        answer where the file lacks nothing.
    """
    mark = _version_file(part)
    have = part.stat().st_size if part.is_file() and mark.is_file() else 0
    if have:
        version = mark.read_text()
        try:
            response = _open(url, {"Range": f"bytes={have}-", "If-Range": version})
        except HTTPError as error:
            if error.code != 416:
                raise
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return None, have
        else:
            begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if response.status == 206 and begins and _version(response.headers) == version:
                return response, have
            if response.status != 206:  # the whole file: it has changed, or the server knows no ranges
                _discard(part)
                return response, 0
            response.close()
    _discard(part)
    return _open(url, {}), 0


def _open(url: str, headers: dict[str, str]) -> HTTPResponse:
    request = Request(url, headers={"User-Agent": "emma-cotex", **headers})  # some servers refuse Python's own
    response: HTTPResponse = urlopen(request, timeout=_SILENCE)
    return response


def _version(headers: Message) -> str | None:
    """Return what tells one version of the file from another and may stand in If-Range: a strong ETag, or the date."""
    etag: str | None = headers.get("ETag")
    date: str | None = headers.get("Last-Modified")
    return date if etag is None or etag.startswith("W/") else etag


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _progress(show: bool) -> Progress:
    """Make a progress bar on stderr, so that stdout stays for results."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), disable=not show)
