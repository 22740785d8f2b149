"""The counts of the challenges' files: sums that agree, and what is said where a list has others."""

from __future__ import annotations

from pathlib import Path

import pytest

from affect.errors import ConfigError
from affect.labels import EXPRESSIONS, LSD_EXPRESSIONS
from datamodules.affwild2_mtl import AffWild2ExpressionDataModule, MTLDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from datamodules.doctor.official import OFFICIAL, compare, official_counts
from datamodules.doctor.reading import read_parts

SIZES = {"image_size": 32, "batch_size": 2}


def test_classes_sum_to_the_rows_that_have_an_expression() -> None:
    for split in ("train", "val"):
        counts = OFFICIAL["abaw4"]["affwild2_mtl"][split]
        assert sum(counts[name] for name in EXPRESSIONS) == counts["expression"]
        assert max(counts.values()) == counts["with a label"]
    counts = OFFICIAL["abaw4"]["lsd"]["train"]
    assert sum(counts[name] for name in LSD_EXPRESSIONS) == counts["rows"]


def test_less_is_a_remark_more_is_a_fault_and_the_same_is_nothing(make_root) -> None:
    parts, _ = read_parts(MTLDataModule(str(make_root(train=10, val=7)), **SIZES))
    official = {"train": {"rows": 11, "happiness": 9, "au1": 0}, "val": {"rows": 7, "au2": 7}, "test": {"rows": 5}}
    less, more = compare(parts, official)
    assert (less.fault, less.what) == (False, "train: rows: 10, of 11 in the official files, so it is a part of them")
    assert (more.fault, more.what) == (True, "train: happiness: 10, of 9 in the official files")


@pytest.mark.parametrize(
    ("challenge", "module", "message"),
    [
        (
            "abaw5",
            MTLDataModule("x", **SIZES),
            "official=abaw5: no counts of affwild2_mtl are known; official=abaw3 or",
        ),
        ("abaw4", AffWild2UniDataModule("x", task="au", **SIZES), "of affwild2_uni data.task=au are known; official="),
        (
            "abaw12",
            MTLDataModule("x", **SIZES),
            "official=abaw12: no counts are known; official=abaw3 or official=abaw4",
        ),
        ("abaw4", AffWild2ExpressionDataModule("x", **SIZES), "nothing is known of this data; leave official= out"),
    ],
)
def test_counts_of_another_challenge_are_not_known(challenge: str, module, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        official_counts(challenge, module)
    assert message in str(raised.value)


def test_all_that_is_compared_is_counted(make_root, tmp_path: Path) -> None:
    parts, _ = read_parts(MTLDataModule(str(make_root()), **SIZES))
    for data in OFFICIAL.values():
        for split, counts in data.get("affwild2_mtl", {}).items():
            assert counts.keys() <= parts[0].counts().keys(), split
