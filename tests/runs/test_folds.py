"""The runs of all folds: which belong together, their pool, and the spread of their scores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from affect.errors import ConfigError, DataError
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.folds import POOLED
from datamodules.readers.folds import FILE
from evaluators.table import read_table, table_of_rows, write_table
from runs.described import fold_numbers
from runs.folds import default_split, fold_runs, pooled, spread, spread_lines, training_errors
from tests.datamodules.test_folds import SIZES, write_mtl


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mtl(tmp_path / "faces", {"a": [0, 1], "b": [0, 1, 1]}, {"c": [1, 0], "d": [0, 1]})


def module(root: Path, fold: int | None = None, folds: int | str = 2) -> MTLDataModule:
    return MTLDataModule(str(root), folds=folds, fold=fold, **SIZES)


@pytest.fixture
def sweep(root: Path, tmp_path: Path) -> Path:
    """Folders of two trainings, each with a table whose valence is the row's place in the concatenated lists."""
    whole = list(module(root).frames(POOLED).image)
    for fold in range(2):
        folder, data = tmp_path / "sweep" / f"fold{fold}", module(root, fold)
        frames = data.frames(data.held)
        place = np.array([[whole.index(image) / 10, 0] for image in frames.image], dtype=np.float32)
        table = table_of_rows(frames, np.arange(len(frames)), {"valence_arousal": place}, {}, "made")
        write_table(table, folder / "predictions" / f"fold{fold}.parquet")
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints" / "best.ckpt").touch()
        config: dict[str, Any] = {"name": "x", "seed": 0, "callbacks": {}, "data": {"folds": 2, "fold": fold}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        assert data.dealt is not None
        data.dealt.write(folder / FILE)
    return tmp_path / "sweep"


def test_the_pool_has_every_row_once_in_the_order_of_the_lists(sweep: Path, root: Path, tmp_path: Path) -> None:
    runs = fold_runs(str(sweep))
    assert [run.fold for run in runs] == [0, 1]
    data = module(root, folds=str(sweep / "fold0" / FILE))
    table = pooled(runs, data)
    assert list(table.image) == [*module(root, 0, 2).read_pool(["train"])[0].image, *("c/00001.jpg", "c/00002.jpg"),
                                 *("d/00001.jpg", "d/00002.jpg")]  # fmt: skip
    assert table.predictions["valence_arousal"][:, 0] == pytest.approx(np.arange(9) / 10)
    assert data.dealt is not None
    assert table.metadata["list_sha256"] == data.dealt.list_sha256
    write_table(table, tmp_path / "oof.parquet")
    assert read_table(tmp_path / "oof.parquet").files == data.frames(POOLED).files
    assert [run.fold for run in fold_runs([str(sweep / "fold1"), str(sweep / "fold0")])] == [0, 1]


def test_a_table_of_another_fold_is_refused(sweep: Path, root: Path) -> None:
    shutil.copy(sweep / "fold1/predictions/fold1.parquet", sweep / "fold0/predictions/fold0.parquet")
    with pytest.raises(DataError, match=r"fold0\.parquet and the frame list are of different lists"):
        pooled(fold_runs(str(sweep)), module(root))


def test_folds_that_do_not_belong_together_are_refused(sweep: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no run of a fold is in it; python train\.py -m sweep=folds"):
        fold_runs(str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"no run folder"):
        fold_runs([str(tmp_path / "empty")])
    shutil.copytree(sweep / "fold1", sweep / "again")
    with pytest.raises(ConfigError, match=r"fold 1 of 2: .*again and .*fold1; give one run for each"):
        fold_runs(str(sweep))
    with pytest.raises(ConfigError, match=r"fold 1 of 2: no run"):
        fold_runs([str(sweep / "fold0")])
    config = yaml.safe_load((sweep / "again" / "config.yaml").read_text())
    (sweep / "again" / "config.yaml").write_text(yaml.safe_dump({**config, "seed": 1}))
    with pytest.raises(ConfigError, match=r"again and .*fold0: seed is 0 there and 1 here|seed is 1 there and 0 here"):
        fold_runs([str(sweep / "fold0"), str(sweep / "again")])
    shutil.rmtree(sweep / "again")
    (sweep / "fold1" / FILE).write_text("video,fold\na,0\nb,1\nc,0\nd,1\n")
    with pytest.raises(ConfigError, match=r"are not the same folds of the same lists"):
        fold_runs(str(sweep))
    (sweep / "fold1" / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(ConfigError, match=r"fold1: it has no result; the same command of the sweep goes on with it"):
        fold_runs(str(sweep))


def test_the_spread_is_of_the_folds() -> None:
    found = spread([{"P_VA": 0.2, "P_AU": None, "CCC_V": 1.0}, {"P_VA": 0.4, "P_AU": None, "CCC_V": 0.0}])
    assert list(found) == ["P_VA"]
    assert found["P_VA"]["mean"] == pytest.approx(0.3)
    assert found["P_VA"]["standard_deviation"] == pytest.approx(0.02**0.5)
    assert spread_lines(found).splitlines()[1:3] == ["fold 0              0.2000", "fold 1              0.4000"]
    assert spread_lines({}) == ""


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        ({"folds": None, "fold": None, "groups": None}, []),
        ({}, []),
        ({"folds": 5, "fold": 4}, []),
        ({"folds": 5, "fold": 7}, ["data.fold=7: there are 5 folds, 0 to 4"]),
        ({"fold": 1}, ["data.fold=1: give data.folds, too: how many there are, data.folds=5"]),
        (
            {"folds": 5},
            ["data.folds=5: give the one to hold back, too: data.fold=0; -m sweep=folds trains all of them"],
        ),
    ],
)
def test_the_keys_of_a_training_are_told_before_anything_is_read(data: dict[str, Any], errors: list[str]) -> None:
    assert list(training_errors(data)) == errors


def test_the_split_is_what_was_held_back(sweep: Path) -> None:
    assert default_split({"folds": 5, "fold": 3}) == "fold3"
    assert default_split({"folds": 5}) == POOLED
    assert default_split({}) == "val"
    assert fold_numbers(3) == "0,1,2"
    assert fold_numbers(str(sweep / "fold0" / FILE)) == "0,1"
