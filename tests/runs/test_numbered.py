"""Lines of parallel jobs begin with the job's number, whoever prints them and in whatever pieces."""

from __future__ import annotations

import io
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from runs.numbered import Numbered, numbered


def test_prints_errors_and_loggers_are_numbered_during_the_block_alone(capsys, monkeypatch) -> None:
    logger = logging.getLogger("tests.numbered")
    # it keeps the stream of the time when it was made, as that of Lightning does
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(sys.stdout)])
    before = sys.stdout, sys.stderr
    with numbered(3):
        print("a\nb")
        print("c", end="")
        print("wrong", file=sys.stderr)
        logger.warning("logged")
        assert not sys.stdout.isatty()
        made = logging.StreamHandler(sys.stderr)  # by a package that the job imports
        logger.addHandler(made)
    assert (sys.stdout, sys.stderr) == before
    assert made.stream is sys.stderr
    logger.removeHandler(made)
    print("after")
    logger.warning("later")
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["job 3 | a", "job 3 | b", "job 3 | clogged", "after", "later"]
    assert printed.err.splitlines() == ["job 3 | wrong"]


class Pieces(io.StringIO):
    """Keeps what each call wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


@given(st.lists(st.text(st.sampled_from("ab\n"), max_size=6), max_size=9))
def test_only_whole_lines_are_written_however_they_come(pieces: list[str]) -> None:
    below = Pieces()
    stream = Numbered(below, 1)
    for piece in pieces:
        assert stream.write(piece) == len(piece)
    stream.end()
    assert all(text.endswith("\n") for text in below.writes)  # so that lines of two processes do not mix
    text = "".join(pieces)
    lines = text.split("\n") if text and not text.endswith("\n") else text.split("\n")[:-1]
    assert below.getvalue() == "".join(f"job 1 | {line}\n" for line in lines)
