"""A bar on a terminal, for what takes long."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, Final, TextIO

WIDTH: Final = 79
"""Columns that a line takes at most: one less than a terminal has, at which some wrap."""

_TERMINAL_S, _LOG_S = 0.2, 600.0
_CLEAR: Final = "\r\x1b[K"  # to the first column; clear to the end of the line


class Bar:
    """The last line of a terminal, drawn over and over, which makes way for whatever is printed meanwhile.

    Without a terminal, its text becomes a line of the log every ten minutes, so that a long epoch is not silent.
    """

    def __init__(self) -> None:
        self.stream: TextIO | None = None
        self.drawn = False
        self._former: list[tuple[TextIO, Any]] = []
        self._last = time.monotonic()

    def start(self) -> None:
        """Look for a terminal, and clear the bar before anything else is written to it."""
        self.stop()
        self._last = time.monotonic()
        streams = [] if os.environ.get("TERM") == "dumb" else [sys.stderr, sys.stdout]
        self.stream = next((stream for stream in streams if stream.isatty()), None)
        if self.stream is None:
            return
        self._former = [(stream, stream.write) for stream in (sys.stderr, sys.stdout)]
        for stream, write in self._former:
            stream.write = self._making_way(write)  # type: ignore[method-assign]

    def stop(self) -> None:
        """Clear the bar, and leave the streams as they were."""
        self.clear()
        for stream, write in self._former:
            stream.write = write  # type: ignore[method-assign]
        self._former, self.stream = [], None

    def due(self) -> bool:
        """Tell whether it is time to draw."""
        return time.monotonic() - self._last >= (_LOG_S if self.stream is None else _TERMINAL_S)

    def draw(self, name: str, done: int, total: float, rest: str, unit: str = "batches") -> None:
        """Draw the state of what is under way.

        Args:
            name: what it is.
            done: batches so far.
            total: of all batches.
            rest: what follows the bar.
            unit: what is counted.
        """
        self._last = time.monotonic()
        if self.stream is None:
            print(f"{name}: {done}/{total:g} {unit}, {rest}", flush=True)
            return
        terminal = os.get_terminal_size(self.stream.fileno()).columns or WIDTH + 1  # 0 where it is not known
        columns = min(WIDTH, terminal - 1)
        filled = round(20 * done / max(total, 1))
        text = f"{name} [{'=' * filled:<20}] {done}/{total:g}  {rest}"
        self._write(f"{_CLEAR}{text[:columns]}")
        self.drawn = True

    def clear(self) -> None:
        """Take the bar away."""
        if self.drawn:
            self.drawn = False
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        write = next(write for stream, write in self._former if stream is self.stream)
        write(text)
        assert self.stream is not None
        self.stream.flush()

    def _making_way(self, write: Any) -> Any:
        def write_above(text: str) -> Any:
            self.clear()
            return write(text)

        return write_above
