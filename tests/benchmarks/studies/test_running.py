"""What every study is made of: runs that are kept, go on, or are refused; archives; seeds."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from affect.errors import ConfigError, DataError
from benchmarks.studies import running
from benchmarks.studies.running import run, seconds, study_parser, unpacked
from tests.conftest import small


def archive(path: Path, *names: str) -> Path:
    """Write a compressed tar file of small files."""
    with tarfile.open(path, "w:gz") as file:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = 3
            file.addfile(entry, io.BytesIO(b"abc"))
    return path


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    made = archive(tmp_path / "faces.tar.gz", "faces/00/000.jpg", "faces/00/001.jpg")
    folder = unpacked(made, tmp_path / "study" / "faces")
    assert sorted(path.name for path in folder.rglob("*.jpg")) == ["000.jpg", "001.jpg"]
    made.write_bytes(b"changed")
    assert unpacked(made, folder) == folder
    assert unpacked(folder, tmp_path / "elsewhere") == folder  # a folder is taken as it is


@pytest.mark.parametrize("what", ["missing", "cut off", "another file", "outside"])
def test_an_archive_that_cannot_be_unpacked_leaves_nothing(tmp_path: Path, what: str) -> None:
    path = tmp_path / "faces.tar.gz"
    if what == "outside":
        archive(path, "faces/1.jpg", "../outside.jpg")
    elif what == "cut off":
        whole = archive(path, *(f"{n}.jpg" for n in range(200))).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif what == "another file":
        path.write_text("a page that says: not found")
    with pytest.raises(DataError, match=r"faces\.tar\.gz"):
        unpacked(path, tmp_path / "study" / "faces")
    assert not list((tmp_path / "study").glob("*")) if (tmp_path / "study").exists() else True
    assert not (tmp_path / "outside.jpg").exists()


def test_a_seed_given_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = study_parser("A study.", seeds=(0, 1, 2))
    assert parser.parse_args(["folder"]).seeds == [0, 1, 2]
    assert parser.parse_args(["folder", "--seeds", "3", "4"]).seeds == [3, 4]
    with pytest.raises(SystemExit):
        parser.parse_args(["folder", "--seeds", "3", "4", "3"])
    assert "--seeds: 3 is given twice" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser.parse_args(["folder", "--seeds", "3", "a=1"])
    assert "a=1 is not a whole number; a key=value stands before --seeds" in capsys.readouterr().err


def test_a_finished_run_is_kept_and_one_of_other_settings_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def extracted(config: Any) -> None:
        calls.append(config)
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "features.npy").touch()

    monkeypatch.setitem(running.ENTRIES, "extract", extracted)
    monkeypatch.setattr(running, "composed", lambda script, given: running.OmegaConf.create({"paths": {}}))
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
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("record", [None, "{", "[]", "{}"])
def test_what_no_study_has_begun_is_not_removed(tmp_path: Path, record: str | None) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").touch()
    if record is not None:
        (tmp_path / "run.json").write_text(record)
    with pytest.raises(ConfigError, match=r"holds something, but run\.json beside it does not say"):
        run(tmp_path / "run", "train", ["experiment=dan"])
    assert (tmp_path / "run" / "thesis.txt").is_file()
