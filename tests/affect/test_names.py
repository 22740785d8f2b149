"""Names that become paths stay below their folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from affect.files import OutputError
from affect.names import below, is_relative


@pytest.mark.parametrize("name", ["video1", "a video/00001.jpg", "10-30-1280x720_left", "a/b/c", "ë/新.jpg", "a..b/c."])
def test_names_that_stay(name: str) -> None:
    assert is_relative(name)


@pytest.mark.parametrize(
    "name",
    ["", "/", "/etc/x", "..", "../x", "a/../b", "a/..", ".", "./a", "a/./b", "a//b", "a/", ".hidden", "a/.b", "a\\b",
     "a\0b", "a\nb", "a\tb", "a\x7f", "a\x85b", "a\u2028b", "a\udcff"],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_break_lines(name: str) -> None:
    assert not is_relative(name)


def test_below_follows_links_before_it_decides(tmp_path: Path) -> None:
    folder, outside = tmp_path / "store", tmp_path / "outside"
    (folder / "inside").mkdir(parents=True)
    outside.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "in").symlink_to(folder / "inside")
    (tmp_path / "link").symlink_to(folder)
    assert below(folder, "new/part") == folder / "new/part"
    assert below(tmp_path / "link", "in/part") == tmp_path / "link/in/part"
    for name in ("out/part", "../outside/part", str(outside / "part"), "in/../../outside"):
        with pytest.raises(OutputError, match="leads out of"):
            below(folder, name)
