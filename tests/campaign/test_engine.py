"""The campaign notices what it looks for: a reader that is wrong in every way it knows."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from . import engine, mutators, tables
from .engine import Counts, Worker, run_job
from .outcomes import OUTCOMES, difference

VALID = "valence,arousal\n0.1,0.2\n-5,-5\n-0.25,1\n"
READER = """
import time, zlib
import numpy as np
from affect.errors import UserError

def read_labels(path, task):
    text = path.read_bytes()
    found = zlib.crc32(text) % 29 if text != {valid!r} else 28
    if found == 0:
        time.sleep(60)
    if found < 6:
        raise KeyError(found)
    if found < 11:
        (path.parent / "canary").touch()
    if found < 15:
        raise UserError(f"{{path}}: faulty")
    if found < 17:
        raise UserError("faulty")
    value = 0.1 if found > 23 else 0.7
    return np.array([[value, 0.2], [np.nan, np.nan], [-0.25, 1.0]]), ""
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """A version of the framework with one reader, which is wrong in every way."""
    for name, content in (
        ("datamodules/readers/uni.py", READER.format(valid=VALID.encode())),
        ("affect/errors.py", "class UserError(ValueError): ...\n"),
        ("lightning_fabric/utilities/exceptions.py", "class MisconfigurationException(Exception): ...\n"),
    ):
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True)
        for folder in (path.parent, *path.parent.parents[: len(Path(name).parts) - 2]):
            (folder / "__init__.py").touch()
        path.write_text(content)
    (tmp_path / "valid" / "one").mkdir(parents=True)
    (tmp_path / "valid" / "one" / "video1.txt").write_text(VALID)
    (tmp_path / "scratch").mkdir()
    return tmp_path


def test_every_outcome_is_noticed(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.7)
    counts, code, scratch = Counts(), fake / "code", fake / "scratch"
    worker = run_job(Worker(code, scratch), ("VA", fake / "valid", 2, 0, 30), counts, code, scratch)
    worker.end()
    assert sum(counts.number.values()) == 30
    assert set(counts.number) == set(OUTCOMES) - {"lost"}
    assert "canary" in str(counts.causes["code"])
    assert "KeyError" in str(counts.causes["traceback"])
    assert "UserError: faulty" in str(counts.causes["nameless"])
    written = tables.table({"VA": counts})
    assert f"* VA, hang, {counts.number['hang']} times, issue 12: " in written


def test_changes_are_a_function_of_the_seed_and_all_happen() -> None:
    data = VALID.encode()
    changed = [mutators.mutate(data, random.Random(f"0/{number}"), text=True) for number in range(2000)]
    assert changed == [mutators.mutate(data, random.Random(f"0/{number}"), text=True) for number in range(2000)]
    done = Counter(name for _, names in changed for name in names.split(" + "))
    assert {change.__name__ for change in (*mutators.TEXT, *mutators.BINARY)} == set(done)
    assert sum(content != data for content, _ in changed) > 1700


def test_differences() -> None:
    assert difference({"a": [1, 0.1, None, "x"]}, {"a": [1, 0.10000000149011612, None, "x"]}) is None
    for one, other in (([1], [2]), ([1], [True]), ({"a": 1}, {"b": 1}), ([1.0], [None]), (["1"], [1]), ([0], [])):
        assert difference(one, other) is not None
