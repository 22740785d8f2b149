"""Run folders: one writer, nothing overwritten, nothing left by a start that failed; the record of what made a run."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import yaml
from omegaconf import DictConfig, OmegaConf

import affect.files
from affect.errors import UserError
from affect.files import LockedError
from runs.ending import clear_errors
from runs.folder import Run, opened_run


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    """Two files of the user, one of the registry and one of timm's hub, each with its name as content."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    repository = tmp_path / "hf" / "models--timm--resnet18.a1_in1k"
    paths = {
        "a": tmp_path / "a.pth",
        "b": tmp_path / "b.pth",
        "mae": tmp_path / "torch" / "hub" / "checkpoints" / "mae_pretrain_vit_base.pth",
        "timm": repository / "snapshots" / "abc" / "model.safetensors",
        "ref": repository / "refs" / "main",
    }
    for name, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("abc" if name == "ref" else name)
    return paths


def recorded(tmp_path: Path, config: dict) -> dict[str, str]:
    Run(tmp_path / "run", config, kept=False).started()
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == config
    return json.loads((tmp_path / "run" / "environment.json").read_text())["weights"]


def test_every_form_of_a_weight_argument_is_recorded(files: dict[str, Path], tmp_path: Path) -> None:
    config = {
        "model": {
            "network": {
                "weights": [str(files["a"]), str(files["b"]), "random", "mae-vit-b"],
                "vit": {"weights": "mae-vit-b"},
                "dan": {"trunk_weights": "timm:resnet18"},
                "others": [{"weights": str(files["a"])}],
            }
        }
    }
    expected = {str(files[name]): hashlib.sha256(name.encode()).hexdigest() for name in ("a", "b", "mae", "timm")}
    assert recorded(tmp_path, config) == expected


def test_a_resumed_run_keeps_the_record_of_its_first_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    Run(run, {"name": "a"}, kept=False).started()
    files = [run / "config.yaml", run / "environment.json"]
    before = [(path.read_bytes(), path.stat().st_ino) for path in files]
    Run(run, {"name": "a"}, kept=False).started()
    assert [(path.read_bytes(), path.stat().st_ino) for path in files] == before
    first = json.loads(files[1].read_text())
    for version in ("4.0", "4.0", "4.1", platform.python_version()):
        monkeypatch.setattr(platform, "python_version", lambda version=version: version)
        Run(run, {"name": "b"}, kept=False).started()
    again = json.loads(files[1].read_text())
    assert [later["python"] for later in again.pop("resumed")] == ["4.0", "4.1"]
    assert again == first
    assert yaml.safe_load(files[0].read_text()) == {"name": "b"}


@pytest.mark.parametrize("name", ["config.yaml", "environment.json"])
def test_a_full_disk_leaves_the_record_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    Run(tmp_path, {"name": "a"}, kept=False).started()
    before = (tmp_path / name).read_bytes()

    def full(point: str, path: Path) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(affect.files, "hook", full)
    monkeypatch.setattr(platform, "python_version", lambda: "4.0")
    with pytest.raises(SystemExit, match=f"error: {tmp_path}/{name}: the disk is full"), clear_errors():
        Run(tmp_path, {"name": "b"}, kept=False).started()
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("cut", ["", '{"git": ', "[]"])
def test_a_record_that_was_not_written_whole_is_written_again(tmp_path: Path, cut: str) -> None:
    Run(tmp_path, {}, kept=False).started()
    whole = (tmp_path / "environment.json").read_text()
    (tmp_path / "environment.json").write_text(cut)
    Run(tmp_path, {}, kept=False).started()
    assert (tmp_path / "environment.json").read_text() == whole


def test_what_is_no_file_is_not_recorded(files: dict[str, Path], tmp_path: Path) -> None:
    config = {
        "weights": None,
        "head": {"weights": "random", "weights_for": str(files["a"]), "loss_weights": [1.0, 2.0]},
        "vit": {"weights": ["dan-affectnet8", "timm:resnet50", str(tmp_path / "none.pth")]},
        "data": {"root": str(files["b"])},
    }
    assert recorded(tmp_path, config) == {}


def config_of(folder: Path, **values: object) -> DictConfig:
    return OmegaConf.create({"paths": {"run_dir": str(folder)}, **values})


def unfinished(folder: Path, *more: str) -> Path:
    """What a run leaves that is killed in its first epoch."""
    for name in ("config.yaml", "metrics.jsonl", "predictions/.part-00000.writing", *more):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    return folder


def content(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fails(config: DictConfig, *, kept: bool) -> None:
    with opened_run(config) as run:
        run.started()
        if kept:
            run.keep()
        (run.folder / "wandb").mkdir()
        (run.folder / "metrics.jsonl").write_text("x")
        raise MemoryError


def test_a_run_folder_has_one_writer(tmp_path: Path) -> None:
    with opened_run(config_of(tmp_path / "run")) as run:
        with pytest.raises(LockedError, match=r"run folder .*another process"), opened_run(config_of(run.folder)):
            pass
        run.started()
    assert content(run.folder) == ["config.yaml", "environment.json"]


def test_other_ranks_of_the_run_are_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_run(config_of(tmp_path / "run")) as run:
        run.started()
        monkeypatch.setenv("LOCAL_RANK", "1")
        with opened_run(config_of(tmp_path / "run")) as other:
            other.started()
        monkeypatch.delenv("LOCAL_RANK")
    assert other.folder == run.folder


@pytest.mark.parametrize("there", ["nothing", "parent", "folder"])
def test_a_start_that_fails_leaves_nothing(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "new" / "run"
    if there != "nothing":
        (folder if there == "folder" else folder.parent).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MemoryError):
        fails(config_of(folder), kept=False)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_has_begun_stays_and_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    with pytest.raises(MemoryError):
        fails(config_of(folder), kept=True)
    assert content(folder) == ["config.yaml", "environment.json", "metrics.jsonl"]
    assert "start over in it with the same command and overwrite=true" in capsys.readouterr().err
    with opened_run(config_of(folder, overwrite=True)) as again:
        again.started()
    assert content(folder) == ["config.yaml", "environment.json"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["overwrite"] is False


@pytest.mark.parametrize(("files", "advice"), [
    (["checkpoints/best.ckpt", "checkpoints/last.ckpt"], "ckpt_path=.*/checkpoints/last.ckpt$"),
    (["checkpoints/best.ckpt"], "ckpt_path=.*/checkpoints/best.ckpt$"),
    ([], "overwrite=true"),
    (["scores.json"], "another paths.run_dir=…$"),
    (["automl.joblib"], "another paths.run_dir=…$"),
])  # fmt: skip
def test_the_advice_of_a_refusal_can_be_followed(tmp_path: Path, files: list[str], advice: str) -> None:
    folder = unfinished(tmp_path / "run", *files)
    before = content(folder)
    for overwrite in (False, True) if files else (False,):
        with pytest.raises(UserError, match=advice), opened_run(config_of(folder, overwrite=overwrite)):
            pass
    assert content(folder) == before


def test_what_is_no_run_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UserError, match=r"give another paths\.run_dir=…$"):
        opened_run(config_of(tmp_path, overwrite=True)).__enter__()
    with pytest.raises(UserError, match="is below a file, or is one"):
        opened_run(config_of(tmp_path / "precious" / "run")).__enter__()
    assert content(tmp_path) == ["precious"]


def test_a_killed_first_epoch_starts_over_and_leaves_other_files_alone(tmp_path: Path) -> None:
    folder = unfinished(tmp_path / "run", "checkpoints/.last.ckpt.writing", "notes.txt")
    with opened_run(config_of(folder, overwrite=True)):
        assert content(folder) == [".lock", "notes.txt"]


def test_what_a_start_that_was_killed_while_writing_leaves_is_no_content(tmp_path: Path) -> None:
    (tmp_path / ".environment.json.writing").write_text("{")
    (tmp_path / ".lock").touch()
    with opened_run(config_of(tmp_path)) as run:
        run.started()
    assert content(tmp_path) == ["config.yaml", "environment.json"]
