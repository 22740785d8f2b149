"""Pictures as they come: from a camera, or from an address of http, https or rtsp; and those that wait to be seen.

FFmpeg may open nothing but the address itself: its protocols and its kinds of files are listed here, and playlists
(HLS, DASH, concat), which name other files and other hosts, are not among them.
"""

from __future__ import annotations

import errno
import re
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from affect.errors import DataError
from videos.decoding import Picture, import_av, stream_of, to_picture

if TYPE_CHECKING:
    from av.container import InputContainer

T = TypeVar("T")

MOST: Final = 2
"""Frames that wait at most."""

SILENT_S: Final = 10.0
"""Seconds without a picture after which a stream has ended, or cannot be opened."""

PROTOCOLS: Final[Mapping[str, str]] = {
    "http": "http,https,tcp,tls",  # https, because a server may send one there
    "https": "https,tcp,tls",
    "rtsp": "rtsp,tcp",  # pictures come through the same connection: a server cannot name another host for them
}
"""What FFmpeg may speak, by what an address begins with."""

KINDS: Final = "mov,matroska,webm,avi,flv,mpegts,mpeg,mpjpeg,mjpeg,ogg,asf"
"""Kinds of files that may come by http: none of them names another file that FFmpeg would open."""

_AT_ONCE: Final = frozenset(["mpjpeg", "mjpeg", "rtsp", "v4l2"])
"""Kinds whose pictures come when they are taken; others are files, which a server sends as fast as it can."""

_PLAYLISTS: Final = frozenset([".m3u8", ".m3u", ".mpd", ".pls", ".asx", ".xspf", ".sdp", ".ffconcat"])
_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")  # of two letters or more: C: is a disk


class LiveSource(Protocol):
    """Gives pictures as they come."""

    @property
    def name(self) -> str:
        """The name of its folder, and of the video in its table."""

    @property
    def told(self) -> str:
        """What messages and tables say of it; without a password that it may hold."""

    def pictures(self) -> Iterator[Picture]:
        """Yield each picture when it is there, with its time, s after the first; None: it comes when it is taken.

        Raises:
            DataError: it cannot be opened, or has broken off.
        """


@dataclass(frozen=True)
class Stream:
    """A camera or an address, as FFmpeg reads it.

    Attributes:
        place: what FFmpeg opens.
        name: see ``LiveSource``.
        told: likewise.
        kind: of the container; None: FFmpeg looks, and takes one of ``KINDS`` alone.
        options: of FFmpeg.
    """

    place: str
    name: str
    told: str
    kind: str | None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def pictures(self) -> Iterator[Picture]:
        """Yield its pictures; those of a file come at the pace of its times."""
        av = import_av()
        with self._opened(av) as container:
            stream = stream_of(container, self.told)
            taken = not _AT_ONCE.isdisjoint(container.format.name.split(","))
            pictures = (to_picture(frame, stream) for frame in self._frames(av, container))
            yield from (Picture(None, picture.image) for picture in pictures) if taken else paced(pictures)

    def _frames(self, av: Any, container: InputContainer) -> Iterator[Any]:
        """Yield decoded frames; damaged ones are left out."""
        packets = container.demux(video=0)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                raise DataError(f"{self.told}: it broke off ({_reason(av, error)})") from error
            try:
                yield from packet.decode()
            except av.error.FFmpegError:
                continue

    @contextmanager
    def _opened(self, av: Any) -> Iterator[InputContainer]:
        try:
            container = av.open(
                self.place, format=self.kind, options=dict(self.options), timeout=(SILENT_S, SILENT_S),
                metadata_errors="replace",
            )  # fmt: skip
        except (av.error.FFmpegError, OSError) as error:
            raise DataError(self._problem(av, error)) from error
        with container:
            yield container

    def _problem(self, av: Any, error: OSError) -> str:
        """Say why it cannot be opened, and what to do."""
        if self.kind == "v4l2":
            return f"{self.told}: {camera_problem(error)}"
        if isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
            return (
                f"{self.told}: no video in a form that is read live. Playlists (HLS, DASH) are not: they lead to other "
                "files and hosts. Give the address of the video or of the camera's stream itself"
            )
        doubt = ", and its certificate one that this machine trusts" if self.place.lower().startswith("https") else ""
        return f"{self.told}: it cannot be opened ({_reason(av, error)}). Is the address right, the camera on{doubt}?"


def source_of(given: object) -> Stream | None:
    """Return what is live of the values that ``source`` may have: a camera's number, or an address.

    Args:
        given: a number; a text, which is the path of a file unless it begins like an address.

    Returns:
        None: files.

    Raises:
        DataError: an address that may not be read, or one of several; a camera on a system where none can be.
    """
    if type(given) is int:
        return camera(given)
    if isinstance(given, Sequence) and not isinstance(given, str):
        several = [one for one in given if (found := _SCHEME.match(str(one))) and found[1].lower() in PROTOCOLS]
        if several:
            raise DataError(f"source: {told_of(str(several[0]))} is live, and one at a time is: give it alone")
        return None
    if not isinstance(given, str) or not (scheme := _SCHEME.match(given)) or Path(given).exists():
        return None
    if (protocol := scheme[1].lower()) not in PROTOCOLS:
        raise DataError(
            f"source={told_of(given)}: {scheme[1]}: is not read. Give the path of a file, a camera's number, or an "
            f"address that begins with {', '.join(f'{one}://' for one in PROTOCOLS)}"
        )
    return address(given, protocol)


def camera(number: int) -> Stream:
    """Return the camera that Linux calls /dev/video<number>."""
    if not sys.platform.startswith("linux"):
        raise DataError(f"source={number}: cameras are read on Linux alone; give the address of a stream")
    if number < 0:
        raise DataError(f"source={number}: cameras are counted from 0")
    return Stream(f"/dev/video{number}", f"camera{number}", f"camera {number}", "v4l2")


def camera_problem(error: OSError) -> str:
    """Say why a camera cannot be opened."""
    there = sorted(Path("/dev").glob("video*"))
    advice = f"there {'is' if len(there) == 1 else 'are'} {', '.join(map(str, there))}" if there else "there is none"
    return {
        errno.ENOENT: f"no such camera here; {advice}",
        errno.EBUSY: "another program has it; end that one first",
        errno.EACCES: "no permission to read it; on most systems the group video has it",
        errno.ENODEV: "it is not connected",
    }.get(error.errno or 0, f"no pictures come from it ({error.strerror or error})")


def address(given: str, protocol: str) -> Stream:
    """Return the stream at an address.

    Args:
        given: the address.
        protocol: what it begins with, a key of ``PROTOCOLS``.

    Raises:
        DataError: it names no host, or a playlist.
    """
    told = told_of(given)
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise DataError(f"source={told}: no address ({error})") from error
    if not host or any(ord(letter) <= ord(" ") for letter in given):
        raise DataError(f"source={told}: no address: give {protocol}://HOST/PATH, without spaces")
    last = PurePosixPath(unquote(parts.path))
    if last.suffix.lower() in _PLAYLISTS:
        raise DataError(
            f"source={told}: a playlist leads to other files and hosts, and is not read. Give the address of the video "
            "or of the camera's stream itself"
        )
    options = {"protocol_whitelist": PROTOCOLS[protocol]}
    if protocol == "rtsp":
        options |= {"format_whitelist": "rtsp", "rtsp_transport": "tcp", "allowed_media_types": "video",
                    "fflags": "nobuffer"}  # fmt: skip
    else:
        options |= {"format_whitelist": KINDS, "tls_verify": "1"}
        if authorities := ssl.get_default_verify_paths().cafile:
            options["ca_file"] = authorities
    name = re.sub(r"[^\w.-]+", "-", last.stem).strip(".-_") or re.sub(r"[^\w.-]+", "-", host).strip(".-_")
    return Stream(given, name[:100] or "stream", told, None, options)


def told_of(given: str) -> str:
    """Return an address without what may be secret in it: a user's name, a password, a query."""
    bare = re.sub(r"(?<=//)[^/?#]*@", "…@", given)
    return re.sub(r"[?#].*", "?…", bare, flags=re.DOTALL)


def paced(
    pictures: Iterator[Picture],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Picture]:
    """Yield each picture no earlier than its time after the first one says; a file then comes as a camera does."""
    begun: float | None = None
    first = 0.0
    for picture in pictures:
        now = clock()
        if picture.time is not None:
            if begun is None:
                begun, first = now, picture.time
            if (ahead := begun + picture.time - first - now) > 0:
                sleep(ahead)
        yield picture


class Waiting(Generic[T]):
    """What was sent and waits for the network: ``MOST`` at most, and where one comes too many, the oldest is dropped.

    Whoever takes one says when it is shown, so that in the end shown + dropped = sent.

    Attributes:
        sent: how many were put in.
        shown: how many were taken and shown.
        dropped: how many will never be.
    """

    def __init__(self, most: int = MOST) -> None:
        self.sent = self.shown = self.dropped = 0
        self._most, self._ended = most, False
        self._items: deque[T] = deque()
        self._changed = threading.Condition()

    def put(self, item: T) -> bool:
        """Add one, and say whether more are wanted; it may push out the oldest. After ``stop`` it is not taken."""
        with self._changed:
            if self._ended:
                return False
            self.sent += 1
            self._items.append(item)
            if len(self._items) > self._most:
                self._items.popleft()
                self.dropped += 1
            self._changed.notify_all()
            return True

    def take(self) -> T | None:
        """Wait for the oldest, and return it; None: no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended)
            return self._items.popleft() if self._items else None

    def done(self, *, shown: bool) -> None:
        """Say of the one that was taken whether it was shown, or is lost."""
        with self._changed:
            self.shown += shown
            self.dropped += not shown

    def end(self) -> None:
        """Say that no more come; those that wait are still taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Take no more, and drop those that wait."""
        with self._changed:
            self._ended = True
            self.dropped += len(self._items)
            self._items.clear()
            self._changed.notify_all()


def _reason(av: Any, error: OSError) -> str:
    if isinstance(error, av.error.ExitError):
        return f"nothing came for {SILENT_S:g} s"
    return str(error.strerror or type(error).__name__)
