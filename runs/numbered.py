"""Lines of jobs that run at the same time: each begins with the number of the job that printed it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class Numbered:
    """A stream whose lines begin with a job's number and reach the stream below as a whole; it is no terminal.

    Args:
        stream: the one below, to which everything else is left.
        number: of the job.
    """

    def __init__(self, stream: TextIO, number: int) -> None:
        self.below, self._begins, self._line = stream, f"job {number} | ", ""

    def write(self, text: str) -> int:
        """Write the lines that are whole by now; the rest of the last one waits for its end."""
        *whole, self._line = (self._line + text).split("\n")
        if whole:
            self.below.write("".join(f"{self._begins}{line}\n" for line in whole))
            self.below.flush()
        return len(text)

    def isatty(self) -> bool:
        """Return False: the bars of several jobs would be drawn over each other."""
        return False

    def end(self) -> None:
        """Write what waits."""
        if self._line:
            self.write("\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


@contextmanager
def numbered(number: int) -> Iterator[None]:
    """Begin every line of this process with a job's number during the block, those of its loggers, too.

    Args:
        number: of the job.
    """
    streams = {name: Numbered(getattr(sys, name), number) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        setattr(sys, name, stream)
        _lead(stream.below, stream)
    try:
        yield
    finally:
        for name, stream in streams.items():
            stream.end()
            setattr(sys, name, stream.below)
            _lead(stream, stream.below)


def _lead(former: Any, stream: Any) -> None:
    """Lead the handlers of all loggers from one stream to another: each has kept that of the time when it was made."""
    for logger in [logging.root, *logging.root.manager.loggerDict.values()]:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream is former:
                handler.setStream(stream)
