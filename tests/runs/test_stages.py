"""Runs of recipes and studies: kept, gone on with, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from affect.errors import ConfigError
from runs import stages
from runs.stages import run, seconds
from tests.conftest import small


def test_a_finished_run_is_kept_and_one_of_other_settings_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def extracted(config: Any) -> None:
        calls.append(config)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "features.npy").touch()

    monkeypatch.setitem(stages.ENTRIES, "extract", extracted)
    monkeypatch.setattr(stages, "composed", lambda script, given: stages.OmegaConf.create({"paths": {}}))
    for _ in range(2):
        run(tmp_path / "run", "extract", ["seed=1", "a=1"])
    assert len(calls) == 1
    assert seconds(tmp_path / "run") >= 0
    with pytest.raises(
        ConfigError, match=r"has a run of other settings: it has a=1; now asked for: a=2\. Give another"
    ):
        run(tmp_path / "run", "extract", ["seed=1", "a=2"])
    shutil.rmtree(tmp_path / "run")  # as the message says
    run(tmp_path / "run", "extract", ["seed=1", "a=2"])
    assert len(calls) == 2


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on(tmp_path: Path, faces: Path) -> None:
    given = [*small("emma"), "data=affwild2_mtl", f"data.root={faces}", "callbacks=final"]
    folder = run(tmp_path / "run", "train", given)
    whole = json.loads((folder / "scores.json").read_text())
    again = run(tmp_path / "again", "train", [*given, "trainer.max_epochs=2"])
    (again / "scores.json").unlink()
    (again / "report.html").unlink()
    record = tmp_path / "again.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "seconds": None}))  # stopped before its report
    epochs = (again / "metrics.jsonl").read_text()
    run(tmp_path / "again", "train", [*given, "trainer.max_epochs=2"])
    assert json.loads((again / "scores.json").read_text()) == whole
    assert (again / "metrics.jsonl").read_text().count("val/score") == epochs.count("val/score")


def test_a_run_that_fails_is_not_finished(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError, match="none_such"):
            run(tmp_path / "run", "train", ["experiment=none_such"])
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("record", [None, "{", "[]", "{}"])
def test_what_no_study_has_begun_is_not_removed(tmp_path: Path, record: str | None) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    if record is not None:
        (tmp_path / "run.json").write_text(record)
    with pytest.raises(ConfigError, match=r"holds something, but run\.json beside it does not say"):
        run(tmp_path / "run", "train", ["experiment=dan"])
    assert (tmp_path / "run" / "thesis.txt").is_file()
