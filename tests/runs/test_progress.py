"""What a run tells while it works, in a log and on a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from omegaconf import DictConfig

from evaluators.report import duration
from runs.bar import WIDTH, Bar
from runs.config import CONFIG_DIR
from runs.train import train

PROGRESS = "callbacks.progress={_target_: runs.progress.Progress}"
"""The default, which the small runs of tests switch off."""

_DRAWS = """
import sys, time, logging, warnings
from runs.bar import Bar
handler = logging.StreamHandler(sys.stdout)
logging.getLogger().addHandler(handler)
bar = Bar()
bar.start()
for done in range(1, 4):
    bar.draw("epoch 1/2", done, 3, "loss 1.0000 " + 100 * "x")
    if done == 2:
        print("a line")
        logging.warning("a warning")
bar.stop()
print("the end")
"""


def screen(text: str) -> list[str]:
    """The lines that a terminal shows in the end."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        lines.append(line.rpartition("\r\x1b[K")[2])
    return lines


def in_terminal(code: str, columns: int) -> str:
    """What a program writes to a terminal."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=CONFIG_DIR.parent, env=environment, stdin=its, stdout=its, stderr=its
    )
    os.close(its)
    written = b""
    try:
        while more := os.read(ours, 4096):
            written += more
    except OSError:  # Linux's way to say that the other side is closed
        pass
    assert process.wait() == 0, written.decode()
    os.close(ours)
    return written.decode()


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_a_bar_is_one_line_and_leaves_nothing(columns: int) -> None:
    written = in_terminal(_DRAWS, columns)
    assert screen(written) == ["a line", "a warning", "the end", ""]
    drawn = [part for part in re.split(r"\r\x1b\[K|\r?\n", written) if part.startswith("epoch")]
    assert len(drawn) == 3
    assert max(map(len, drawn)) == min(columns - 1, WIDTH)
    assert "[=============       ] 2/3  los" in drawn[1][:columns] or columns == 40


@pytest.fixture
def no_terminal() -> Iterator[Bar]:
    bar = Bar()
    bar.start()
    yield bar
    bar.stop()


def test_a_log_hears_of_a_long_epoch_every_ten_minutes(
    no_terminal: Bar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = no_terminal._last
    for second in range(0, 1500, 10):
        monkeypatch.setattr("runs.bar.time.monotonic", lambda second=second: begun + second)
        if no_terminal.due():
            no_terminal.draw("epoch 1/2", second, 6000, "loss 1.0000, 1:00:00 left")
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/2: 600/6000 batches, loss 1.0000, 1:00:00 left",
        "epoch 1/2: 1200/6000 batches, loss 1.0000, 1:00:00 left",
    ]


def test_each_epoch_is_a_line_of_a_table(
    compose_run: Callable[..., DictConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # the last epoch is always validated
    train(compose_run(PROGRESS, "trainer.max_epochs=3", "+trainer.check_val_every_n_epoch=2"))
    printed = capsys.readouterr().out.splitlines()
    headers = [line for line in printed if re.match(" +epoch ", line)]
    rows = [line for line in printed if re.match(r" *[123]/3 ", line)]
    assert [len(line) for line in rows] == [len(headers[0]), len(headers[1]), len(headers[1])]
    assert max(map(len, headers)) <= WIDTH
    told = [dict(zip(headers[row > 0].split(), rows[row].split(), strict=True)) for row in range(3)]
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["train/loss"] for record in logged if "train/loss" in record]
    assert [row["loss"] for row in told] == [f"{loss:.4f}" for loss in losses]
    assert "P_MTL" not in told[0]
    scores = [record for record in logged if "val/score" in record]
    for name in ("P_MTL", "P_VA", "P_EXPR", "P_AU"):
        assert told[1][name] == f"{scores[0][f'val/{name}']:.4f}"
    assert told[2]["best"] == f"{max(record['val/score'] for record in scores):.4f}"
    assert told[2]["left"] == "0:00"
    assert float(told[0]["images/s"]) > 0


def test_without_the_callback_nothing_is_told_of_epochs(
    compose_run: Callable[..., DictConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    train(compose_run())
    printed = capsys.readouterr()
    assert not re.search(r"epoch|Epoch|\[", printed.out + printed.err)


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 59.6, 309, 3909)] == ["0:00", "1:00", "5:09", "1:05:09"]
