"""Readers that collect: every faulty row is noted, as each would be refused alone, and the others are read."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from affect.errors import DataError
from datamodules.readers.celeba import read_partition
from datamodules.readers.mtl import read_mtl
from datamodules.readers.uni import read_frame_counts, read_labels, read_test_videos
from tests.datamodules.conftest import HEADER, LABELS, UNLABELLED

UNITS = ",".join("01" * 6)
ROWS = st.sampled_from([
    f"a/00001.jpg,{LABELS}", f"b/00002.jpg,{UNLABELLED}", f"a/00003.jpg,0.5,-1,7,{UNITS}",
    f"a/00004.jpg,{LABELS},1", f"a/00005.jpg,1.5,0,1,{UNITS}", f"x.jpg,{LABELS}", f"../a/00001.jpg,{LABELS}",
    f"a/00006.jpg,0,0,1.5,{UNITS}", "a/00007.jpg", "", f"a/00008.jpg,0,0,nan,{UNITS}", f"a/1e3.jpg,{LABELS}",
])  # fmt: skip


def lines_of(faults: list[DataError]) -> set[int]:
    return {int(found[1]) for fault in faults if (found := re.search(r"list\.txt:(\d+): ", str(fault)))}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=12))
def test_the_lines_that_are_noted_are_those_that_are_refused_alone(tmp_path: Path, rows: list[str]) -> None:
    path, alone = tmp_path / "list.txt", tmp_path / "alone.txt"
    rows = [*rows, f"z/00001.jpg,{LABELS}"]
    refused = set()
    for line, row in enumerate(rows, start=2):
        alone.write_text(f"{HEADER}\n{row}\nz/00001.jpg,{LABELS}\n")
        try:
            read_mtl(alone)
        except DataError:
            refused.add(line)
    path.write_text("\n".join([HEADER, *rows, ""]))
    faults: list[DataError] = []
    frames = read_mtl(path, faults)
    assert lines_of(faults) == refused
    assert len(frames) == len(rows)
    assert all(not name.startswith((".", "/")) for name in frames.video)
    if not refused:
        np.testing.assert_array_equal(frames.expression, read_mtl(path).expression)
    else:
        with pytest.raises(DataError):
            read_mtl(path)


def test_what_a_faulty_row_would_label_is_missing_and_the_others_keep_their_frames(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("valence,arousal\n0.5,0.5\n7,0\n0.25,0.25\n1\n")
    faults: list[DataError] = []
    values, _ = read_labels(path, "va", faults)
    assert lines_of(faults) == {3, 5}
    np.testing.assert_array_equal(values[:, 0], [0.5, np.nan, 0.25, np.nan])


def test_faulty_lines_of_other_lists_are_noted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a\na\nb,c\n../x\nd.mp4\n")
    faults: list[DataError] = []
    assert read_test_videos(path, faults) == ["a", "d"]
    assert lines_of(faults) == {2, 3, 4}
    path.write_text("a,5\nb,none\nc,7\na,6\n")
    faults = []
    assert read_frame_counts(path, faults)[0] == {"a": 5, "c": 7}
    assert lines_of(faults) == {2, 4}
    path.write_text("1.jpg 0\n2.jpg 3\n1.jpg 1\n3.jpg 2\n")
    faults = []
    assert read_partition(path, faults)[0] == {"1.jpg": "0", "3.jpg": "2"}
    assert lines_of(faults) == {2, 3}
