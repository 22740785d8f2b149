"""Quick reading gives what reading line by line gives, or leaves the file to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect.errors import DataError
from datamodules.readers import mtl, quick
from tests.datamodules.conftest import HEADER, LABELS

FIELDS = st.sampled_from([
    "0.25", "-5", "-5.0", "1", " 0.5", "0.5\t", "+1", "1e-3", ".5", "1.", "0.1234567890123456789", "nan", "inf", "0x1",
    "", "1_0", "٣", '"1"', "2", "-1", "-1.0", "0", "4", "1e400", "-0.0", "5e-324",
])  # fmt: skip
NAMES = st.sampled_from([
    "v/00001.jpg", "v/1.jpg", "w w/00002.PNG", "a/b/00003.jpg", "/00001.jpg", "00001.jpg", "", " v/00001.jpg",
    "v/00001.jpg ", "v /00001.jpg", "é/00001.jpg", '"v/00001.jpg"', "../00001.jpg", "v/00001.txt",
    "\ufeffv/00001.jpg", "v\u200b/00001.jpg", "v\r/00001.jpg", "v\0/00001.jpg",
])  # fmt: skip
ROW = st.tuples(NAMES, st.lists(FIELDS, min_size=14, max_size=16)) | st.tuples(
    st.sampled_from(["v/00001.jpg", "v/00007.jpg", "u/00001.jpg"]), st.just(LABELS.split(","))
)


def outcome(path: Path) -> object:
    try:
        frames = mtl.read_mtl(path)
    except DataError as error:
        return str(error)
    labels = (frames.frame, frames.valence_arousal, frames.expression, frames.action_units)
    return [list(frames.video), list(frames.image), frames.files, *((one.dtype, one.tobytes()) for one in labels)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(ROW, min_size=1, max_size=5),
    end=st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    tail=st.sampled_from(["", "\n", "\n", "\n\n", "\r\n", ","]),
    start=st.sampled_from(["", "\ufeff", "\n"]),
    block=st.sampled_from([1, 60, 1 << 20]),
)
def test_whatever_a_file_holds_both_ways_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list, end: str, tail: str, start: str, block: int
) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(
        (start + end.join([HEADER, *(",".join([name, *fields]) for name, fields in rows)]) + tail).encode()
    )
    with monkeypatch.context() as patched:
        patched.setattr(quick, "BLOCK", block)
        found = outcome(path)
        patched.setattr(mtl, "read_quickly", lambda *_, **__: None)
        assert found == outcome(path)


def test_a_file_as_it_should_be_is_read_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join([HEADER, *(f"v{row % 3}/{row:05d}.jpg,{LABELS}" for row in range(1, 50))]) + "\n")
    monkeypatch.setattr(quick, "BLOCK", 200)
    monkeypatch.setattr(mtl, "read_rows", None)
    frames = mtl.read_mtl(path)
    assert frames.frame.tolist() == list(range(1, 50))
    assert frames.image == [f"v{row % 3}/{row:05d}.jpg" for row in range(1, 50)]
    assert len(np.unique(frames.action_units, axis=0)) == 1
