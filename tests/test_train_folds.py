"""Folds from the command line to their pool: trained, pooled, scored again, compared, averaged on a test list."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from affect.errors import ConfigError
from datamodules.readers.folds import FILE, Dealt
from evaluators.table import read_table
from runs.compare import compare
from runs.config import CONFIG_DIR
from runs.train import train
from tests.conftest import small
from tests.test_train import command, evaluate_here, scores_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sweep(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds")
    done = command(
        "train.py", "-m", "sweep=folds", *small("baseline"), "data=affwild2_mtl", f"data.root={faces}", "data.folds=2",
        "model.network.image_size=32", f"paths.output_dir={folder}", f"paths.cache_dir={folder}/cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "furthest from an even share" in done.stdout
    return folder / "folds" / "baseline"


@pytest.fixture(scope="module")
def pool(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    evaluate_here(f"folds={sweep}", f"paths.run_dir={folder}/pool", f"paths.cache_dir={folder}/cache")
    return folder / "pool"


def test_the_pool_has_the_scores_and_the_file_of_the_folds(sweep: Path, pool: Path, tmp_path: Path) -> None:
    table, parts = read_table(pool / "predictions" / "oof.parquet"), []
    for fold in range(2):
        assert not (sweep / f"fold{fold}" / "predictions" / "val.parquet").exists()
        parts.append(read_table(sweep / f"fold{fold}" / "predictions" / f"fold{fold}.parquet"))
    assert sorted(table.image) == sorted([*parts[0].image, *parts[1].image])
    assert table.metadata["list_sha256"] == Dealt.read(pool / FILE).list_sha256
    assert Dealt.read(pool / FILE) == Dealt.read(sweep / "fold1" / FILE)
    found = json.loads((pool / "scores.json").read_text())["folds"]["P_MTL"]
    assert found["folds"] == pytest.approx([scores_of(sweep / f"fold{fold}")["P_MTL"] for fold in range(2)], abs=1e-6)
    moved = shutil.copytree(pool, tmp_path / "moved")
    again = [f"predictions={moved}/predictions/oof.parquet", f"paths.run_dir={tmp_path}/again"]
    evaluate_here(*again, f"paths.cache_dir={tmp_path}/cache")
    assert scores_of(tmp_path / "again") == pytest.approx(scores_of(pool))


def test_a_checkpoint_is_scored_on_what_its_run_held_back(sweep: Path, tmp_path: Path) -> None:
    evaluate_here(f"checkpoint={sweep}/fold1", f"paths.run_dir={tmp_path}/one", f"paths.cache_dir={tmp_path}/cache")
    assert scores_of(tmp_path / "one") == pytest.approx(scores_of(sweep / "fold1"), abs=1e-6)


def test_pools_are_compared(pool: Path, tmp_path: Path) -> None:
    other = shutil.copytree(pool, tmp_path / "other")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        compare(compose("compare", overrides=[f"runs=[{pool},[{other}]]", f"paths.run_dir={tmp_path}/compared"]))
    assert (tmp_path / "compared" / "comparison.csv").is_file()


def test_a_test_list_gets_the_mean_of_the_networks(sweep: Path, faces: Path, tmp_path: Path) -> None:
    listed = [line.split(",")[0] for line in (faces / "validation_set_annotations.txt").read_text().splitlines()[1:]]
    (tmp_path / "list.txt").write_text("\n".join(["image,valence,arousal,expression,aus", *listed]) + "\n")
    evaluate_here(
        f"folds={sweep}", "split=test", f"data.test_list={tmp_path}/list.txt", f"submission={tmp_path}/sent.txt",
        f"paths.run_dir={tmp_path}/test", f"paths.cache_dir={tmp_path}/cache",
    )  # fmt: skip
    mean = read_table(tmp_path / "test" / "predictions" / "test.parquet")
    parts = [read_table(tmp_path / f"test/predictions/network{number}/test.parquet") for number in range(2)]
    for task, values in mean.predictions.items():
        if not task.startswith("logits"):
            half = (parts[0].predictions[task] + parts[1].predictions[task]) / 2
            assert values == pytest.approx(half, abs=1e-6)
    assert len((tmp_path / "sent.txt").read_text().splitlines()) == len(listed) + 1


def test_a_sweep_with_a_fold_missing_or_a_fold_alone_is_refused(sweep: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"fold 1 of 2: no run"):
        evaluate_here(f"folds=[{sweep}/fold0]", f"paths.run_dir={tmp_path}/none")
    with pytest.raises(ConfigError, match=r"split=fold0: folds= takes all of them"):
        evaluate_here(f"folds={sweep}", "split=fold0", f"paths.run_dir={tmp_path}/none")
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        wrong = compose("train", overrides=["data=affwild2_mtl", f"data.root={faces}", "scale=tiny", "data.folds=5"])
    with pytest.raises(ConfigError, match=r"data\.folds=5: give the one to hold back, too"):
        train(wrong)
