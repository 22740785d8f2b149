from __future__ import annotations

from pathlib import Path

from benchmarks.packed import measure, write_folder
from datamodules.packing import write_pack


def test_every_way_is_measured_from_both_roots(tmp_path: Path) -> None:
    roots = {"loose": tmp_path / "loose", "packed": tmp_path / "packed"}
    write_folder(roots["loose"], None, 12)
    write_pack(roots["loose"], roots["packed"])
    rates = measure(roots, 2, 12)
    assert len(rates) == 8
    for of_key in rates.values():
        assert list(of_key) == ["loose", "packed"]
        assert all(len(rounds) == 2 and min(rounds) > 0 for rounds in of_key.values())
