"""The whole EmotiEffNet pipeline on a few rendered faces: every row of its tables, curves, submissions; resumed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from affect.errors import ConfigError
from affect.labels import UNI_TASKS
from benchmarks.studies.abaw5 import HALF_WIDTHS, Options, Pipeline, reproduce
from benchmarks.studies.abaw5_rows import CURVES, TABLES, TEST, VALIDATION
from evaluators.report import read_scores


@pytest.mark.slow
def test_every_row_every_curve_and_every_submission(tmp_path: Path) -> None:
    pytest.importorskip("lightautoml", reason="the extra automl is missing")
    cache = f"paths.cache_dir={tmp_path}/cache"
    options = Options(
        render=["render.train_videos=10", "render.val_videos=4", "render.frames_per_video=20", "render.workers=1",
                cache],
        faces=["render.train_faces=80", "render.val_faces=32", "render.workers=1", "trainer.max_epochs=1",
               "data.batch_size=16"],
        batch={"va": 32, "expr": 32, "au": 32},
        k={"va": 3, "expr": 3, "au": 1},
        automl=["settings.timeout=5", "settings.cpus=1", "settings.algorithms=[linear_l2]"],
        overrides=[cache],
    )  # fmt: skip
    results = reproduce(tmp_path / "out", options)
    for task in UNI_TASKS:
        rows = {record["row"]: record for record in results["tables"][TABLES[task]]}
        assert list(rows) == [row.name for row in VALIDATION[task]]
        assert {name for name, record in rows.items() if "ours" not in record} == {
            row.name for row in VALIDATION[task] if "aligned" in row.name
        }
        with (tmp_path / "out" / "curves" / f"{task}.csv").open() as file:
            lines = list(csv.DictReader(file))
        assert [(line["system"], int(line["k"])) for line in lines] == [
            (system, k) for system in CURVES[task] for k in HALF_WIDTHS
        ]
        for row in TEST[task]:
            written = (tmp_path / "out" / "submissions" / f"{task}-{row.name}.txt").read_text().splitlines()
            listed = (tmp_path / "out" / f"{task}_test_list.txt").read_text().splitlines()
            assert [line.split(",")[0] for line in written] == [line.split(",")[0] for line in listed]
    for name in ("valence", "arousal", "expression", "action_units"):
        assert (tmp_path / "out" / "curves" / f"{name}.png").stat().st_size > 5000
    # a row that is one system alone has the scores that its own run reported
    frame_level = next(
        row for row in results["tables"]["Table 1"] if row["row"].endswith("MT-EmotiEffNet (logits), MLP")
    )
    run = read_scores(tmp_path / "out" / "va" / "mt-mlp" / "scores.json")
    assert frame_level["ours"] == pytest.approx([run["CCC_V"], run["CCC_A"], run["P_VA"]], abs=1e-6)
    before = json.loads((tmp_path / "out" / "results.json").read_text())
    (tmp_path / "out" / "va" / "emo-mlp.json").unlink()  # as if it had never been finished
    assert json.loads(json.dumps(reproduce(tmp_path / "out", options))) == before


def test_weights_and_lists_of_real_data_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "cropped").mkdir()
    pipeline = Pipeline(tmp_path / "out", Options(root=tmp_path))
    with pytest.raises(ConfigError, match="give --weights mt="):
        pipeline.weights("mt")
    with pytest.raises(ConfigError, match="no test list of va: give --test-list va="):
        pipeline._test("va")
    assert pipeline.images == {"": "cropped"}
