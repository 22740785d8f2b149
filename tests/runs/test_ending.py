"""A process ends with one message, or in good order where a signal stops it."""

from __future__ import annotations

import errno
import os
import signal
import sys

import pytest
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch._utils import ExceptionWrapper

from runs.ending import clear_errors


def code_of(error: BaseException) -> str | int | None:
    with pytest.raises(SystemExit) as ended, clear_errors():
        raise error
    return ended.value.code


@pytest.mark.parametrize(("number", "advice"), [
    (errno.ENOSPC, "the disk is full: make room"),
    (errno.EDQUOT, "the quota of the disk is used up"),
    (errno.EROFS, "the file system is read-only"),
    (errno.EACCES, "no permission"),
    (errno.ENOLCK, "the file system has no locks left"),
    (errno.EIO, "Input/output error"),
])  # fmt: skip
def test_what_the_system_refuses_is_one_message_with_its_place(number: int, advice: str) -> None:
    code = str(code_of(OSError(number, os.strerror(number), "/a/b")))
    assert code.startswith(f"error: /a/b: {advice}")


def test_an_error_of_the_system_inside_a_loader_worker_is_told_the_same() -> None:
    try:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/full/a.jpg")
    except OSError:
        failed = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(SystemExit) as ended, clear_errors():
        failed.reraise()
    assert ended.value.code == "error: /full/a.jpg: the disk is full: make room and start again"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_closes_what_is_open_and_gives_its_exit_code(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    closed = []

    def run() -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(signal.SIGTERM)  # a second one does not disturb the tidying up
            closed.append(True)

    with pytest.raises(SystemExit) as ended, clear_errors():
        run()
    assert ended.value.code == code
    assert closed
    assert signal.getsignal(number) is before


def test_what_others_make_of_a_signal_has_its_exit_code_too() -> None:
    assert code_of(SIGTERMException()) == 143
    assert code_of(KeyboardInterrupt()) == 130


def test_output_that_nobody_reads_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(SystemExit) as ended, clear_errors():
            print("a line")
    assert ended.value.code == 128 + signal.SIGPIPE


def test_another_broken_pipe_is_an_error() -> None:
    assert str(code_of(BrokenPipeError(errno.EPIPE, "Broken pipe"))).startswith("error: ")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(AssertionError), clear_errors():
        raise AssertionError
