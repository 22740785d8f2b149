"""How a process ends: with one message where a user can fix the error, in good order where a signal stops it."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from affect.errors import OldCommandError, UserError

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_ADVICE = {
    errno.ENOSPC: "the disk is full: make room and start again",
    errno.EDQUOT: "the quota of the disk is used up: make room and start again",
    errno.EROFS: "the file system is read-only: give a place that can be written to",
    errno.EACCES: "no permission: change it, or give another place",
    errno.EPERM: "no permission: change it, or give another place",
    errno.ENOLCK: "the file system has no locks left: give a place on another one",
}


class Stopped(SystemExit):
    """A signal asked this process to end. The exit code is that of a shell, 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


@contextmanager
def clear_errors() -> Iterator[None]:
    """End the process with the message alone where a user can fix the error; anything else keeps its traceback.

    SIGTERM and Ctrl-C end the block as an exception does, so that whatever it has opened is closed: exit code 143, 130.
    """
    with _stoppable():
        try:
            yield
            sys.stdout.flush()
        except _with_lightnings(
            "SIGTERMException", KeyboardInterrupt
        ) as error:  # where another handler than ours was set
            raise Stopped(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM) from None
        except BrokenPipeError as error:
            _leave_closed_output()
            sys.exit(f"error: {told(error)}")
        except OldCommandError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except _with_lightnings("MisconfigurationException", UserError, OSError) as error:
            sys.exit(f"error: {told(error)}")


def _with_lightnings(name: str, *ours: type[Exception] | type[KeyboardInterrupt]) -> tuple[type[BaseException], ...]:
    """Add an exception of Lightning, which is not imported for it: before it is, nobody can have raised it."""
    module = sys.modules.get("pytorch_lightning.utilities.exceptions")
    return (*ours, getattr(module, name)) if module else ours


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let the first SIGTERM or SIGINT raise ``Stopped``; a second Ctrl-C ends the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only the main one may set handlers
        yield
        return
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            raise Stopped(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    # nohup and the shell's & have a process ignore SIGINT: then it stays ignored
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    former = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def told(error: BaseException) -> str:
    """Say what went wrong, at which place, and what to do."""
    message = str(error)
    # an error inside a loader process arrives as text, with that process's traceback around it
    if "Original Traceback" in message:
        message = message.strip().splitlines()[-1].partition(": ")[2]
        if found := re.fullmatch(r"\[Errno (\d+)\] [^:]*(?:: '(.*)')?", message):
            error = OSError(int(found[1]), message, found[2])
    if not isinstance(error, OSError) or error.errno is None:
        return message
    places = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    advice = _ADVICE.get(error.errno, os.strerror(error.errno))
    return f"{places}: {advice}" if places else advice


def _leave_closed_output() -> None:
    """End the process as the shell expects it where nobody reads its output any more, as with ``| head``."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it exits
        raise Stopped(signal.SIGPIPE) from None
