"""Expressions of s-Aff-Wild2 in AffectNet's numbering: the names stay, rows stay, draws are balanced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from affect.errors import DataError
from affect.labels import AFFECTNET_EXPRESSIONS, EXPRESSIONS
from datamodules.affwild2_mtl import AffWild2ExpressionDataModule, MTLDataModule
from tests.datamodules.conftest import HEADER, write_picture

UNITS = ",".join("01" * 6)


def write(root: Path, expressions: Sequence[int], split: str = "training") -> None:
    """One video: a picture for each row but the last, valence and action units in every row."""
    images = [f"{split}/{number:05d}.jpg" for number in range(1, len(expressions) + 1)]
    for number, image in enumerate(images[:-1]):
        write_picture(root / "cropped_aligned" / image, number)
    lines = [f"{image},0.5,0.5,{number},{UNITS}" for image, number in zip(images, expressions, strict=True)]
    (root / f"{split}_set_annotations.txt").write_text("\n".join([HEADER, *lines]) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, [0, 1, 2, 3, 4, 5, 6, 7, -1, *[0] * 30, 4])
    write(tmp_path, [7, 3, -1, 6, 6], "validation")
    return tmp_path


def module(root: Path, **options: object) -> AffWild2ExpressionDataModule:
    return AffWild2ExpressionDataModule(str(root), image_size=32, batch_size=35, **options)


@pytest.mark.parametrize("classes", [7, 8])
def test_an_expression_keeps_its_name_and_other_counts_as_missing(root: Path, classes: int) -> None:
    data = module(root, classes=classes)
    assert data.expressions == AFFECTNET_EXPRESSIONS[:classes]
    before, after = MTLDataModule(str(root), image_size=32, batch_size=1).frames("train"), data.frames("train")
    assert after.image == before.image
    assert after.files == before.files
    for old, new in zip(before.expression.tolist(), after.expression.tolist(), strict=True):
        if old == -1 or EXPRESSIONS[old] == "other":
            assert new == -1
        else:
            assert data.expressions[new] == EXPRESSIONS[old]
    assert not after.has_label[after.expression < 0].any()


def test_evaluation_keeps_every_row_and_training_those_with_an_expression(root: Path) -> None:
    data = module(root)
    data.setup("fit")
    assert data.train_rows.tolist() == [*range(7), *range(9, 39)]
    (batch,) = data.val_dataloader()
    assert batch["row"].tolist() == [0, 1, 2, 3]
    assert batch["unreadable"].tolist() == [4]
    wanted = [-1, AFFECTNET_EXPRESSIONS.index("fear"), -1, AFFECTNET_EXPRESSIONS.index("surprise")]
    assert batch["expression"].tolist() == wanted
    assert np.isnan(batch["valence_arousal"].numpy()).all()


def test_draws_are_balanced_over_the_expressions_that_are_there(root: Path) -> None:
    data = module(root)
    loader = data.train_dataloader()
    drawn = []
    for epoch in range(40):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        drawn += [row for _, row in loader.sampler]  # type: ignore[misc]
    shares = np.bincount(data.frames("train").expression[drawn], minlength=8) / len(drawn)
    assert shares == pytest.approx([1 / 7] * 7 + [0], abs=0.04)
    plain = module(root, balanced=False).train_dataloader().sampler
    assert sorted(row for _, row in plain) == data.train_rows.tolist()  # type: ignore[misc]


def test_a_file_without_any_of_the_expressions(root: Path) -> None:
    write(root, [7, -1, 7])
    with pytest.raises(DataError, match=r"none of the 3 rows of training_set_annotations\.txt has both a label"):
        module(root).setup("fit")


def test_a_test_list_is_predicted(root: Path) -> None:
    (root / "list.txt").write_text(f"{HEADER}\nvalidation/00002.jpg\nvalidation/00001.jpg\n")
    data = module(root, test_list="list.txt")
    data.predict_split = "test"
    (batch,) = data.predict_dataloader()
    assert batch["row"].tolist() == [0, 1]
    assert batch["expression"].tolist() == [-1, -1]
