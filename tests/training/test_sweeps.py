"""The table of a sweep, from run folders as runs leave them, and from a sweep that Hydra runs."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from evaluators.report import write_scores
from tests.conftest import SMALL
from tests.test_train import command
from training.config import CONFIG_DIR, resolve
from training.sweeps import SweepTable

COLUMNS = {"mask ratio": "model.mask_ratio", "batch": "data.batch_size"}


def write_run(folder: Path, ratio: float, speeds: list[float], scores: dict[str, float | None] | None) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"mask_ratio": ratio}, "data": {"batch_size": 64}}))
    lines = [json.dumps({"step": 1, "train/images_per_s": speed}) for speed in speeds]
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if scores is not None:
        write_scores(scores, folder / "scores.json")


def test_rows_in_the_order_of_the_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "b", 0.75, [10.0, 30.0, 20.0], {"P_LSD": 0.5, "P_VA": None})
    write_run(tmp_path / "a", 0.95, [], None)
    os.utime(tmp_path / "a" / "config.yaml", (2e9, 2e9))
    table = SweepTable(str(tmp_path), COLUMNS, ["P_LSD", "P_VA"], {"images/s": "train/images_per_s"})
    assert table.rows() == [
        ["run", "mask ratio", "batch", "P_LSD", "P_VA", "images/s"],
        ["b", "0.75", "64", "0.5000", "no labels", "20"],
        ["a", "0.95", "64", "", "", ""],
    ]


def test_every_preset_names_rows_that_exist() -> None:
    for path in (CONFIG_DIR / "sweep").glob("*.yaml"):
        preset = yaml.safe_load(path.read_text())
        params = preset["hydra"]["sweeper"]["params"]
        if "rows" in preset:
            assert params["row"].split(",") == list(preset["rows"])
        else:
            assert all((CONFIG_DIR / "backbone" / f"{name}.yaml").is_file() for name in params["backbone"].split(","))


@pytest.mark.parametrize("row", yaml.safe_load((CONFIG_DIR / "sweep" / "table5.yaml").read_text())["rows"])
def test_the_rows_of_table_5(row: str) -> None:
    given = [*SMALL, "data=affwild2_mtl", "data.root=.", "sweep=table5", f"row={row}", "pretrained.emotionet=e.pth"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        network = resolve(compose("train", overrides=given))["model"]["network"]
    assert (network["dan"] is None) == row.startswith("vit")
    encoder = row.split("_")[1]
    assert (
        network["vit"]["weights"]
        == {"imagenet": "mae-vit-b", "emotionet": "e.pth", "celeba": "emma-celeba-vit-b"}[encoder]
    )
    assert network["expression_scores"] == ("vit+dan" if row.endswith("p1_p2") else "vit")


def test_the_rows_of_table_2_leave_a_table(tmp_path: Path) -> None:
    done = command(
        "train.py", "-m", "sweep=table2", "experiment=baseline_lsd", "data=synthetic", "backbone=resnet50",
        "backbone.name=resnet10t",
        *SMALL, "debug=fast", "render.train_faces=36", "render.val_faces=12", "render.workers=1",
        f"paths.cache_dir={tmp_path}/cache", f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    with (tmp_path / "table2" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["backbone"], row["weights"]) for row in rows] == [("resnet50", "resnet10t", "random")]


def test_a_sweep_leaves_one_table(tmp_path: Path) -> None:
    done = command(
        "train.py", "-m", "sweep=table6", "experiment=cotex", "data=synthetic", "row=vit,r95_b4096",
        *(key for key in SMALL if not key.startswith("data.batch_size")),
        "scale.image_size=64", "scale.cotex.table_batch_factor=0.01", "debug=fast",
        "render.train_faces=120", "render.val_faces=12", "render.workers=1",
        f"paths.cache_dir={tmp_path}/cache", f"paths.output_dir={tmp_path}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    with (tmp_path / "table6" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["vit", "r95_b4096"]
    assert [(row["views"], row["mask ratio"], row["batch"]) for row in rows] == [("1", "0", "1"), ("2", "0.95", "40")]
    assert all(0 <= float(row["P_LSD"]) <= 1 and float(row["images/s"]) > 0 for row in rows)
    assert "table: " in done.stdout
