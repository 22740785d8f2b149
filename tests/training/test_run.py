"""The record of what made a run."""

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

import affect.files
from training.run import clear_errors, write_provenance


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
    write_provenance(tmp_path / "run", config)
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
    write_provenance(run, {"name": "a"})
    files = [run / "config.yaml", run / "environment.json"]
    before = [(path.read_bytes(), path.stat().st_ino) for path in files]
    write_provenance(run, {"name": "a"})
    assert [(path.read_bytes(), path.stat().st_ino) for path in files] == before
    first = json.loads(files[1].read_text())
    for version in ("4.0", "4.0", "4.1", platform.python_version()):
        monkeypatch.setattr(platform, "python_version", lambda version=version: version)
        write_provenance(run, {"name": "b"})
    again = json.loads(files[1].read_text())
    assert [later["python"] for later in again.pop("resumed")] == ["4.0", "4.1"]
    assert again == first
    assert yaml.safe_load(files[0].read_text()) == {"name": "b"}


@pytest.mark.parametrize("name", ["config.yaml", "environment.json"])
def test_a_full_disk_leaves_the_record_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    write_provenance(tmp_path, {"name": "a"})
    before = (tmp_path / name).read_bytes()

    def full(point: str, path: Path) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(affect.files, "hook", full)
    monkeypatch.setattr(platform, "python_version", lambda: "4.0")
    with pytest.raises(SystemExit, match=f"error: {tmp_path}/{name}: the disk is full"), clear_errors():
        write_provenance(tmp_path, {"name": "b"})
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("cut", ["", '{"git": ', "[]"])
def test_a_record_that_was_not_written_whole_is_written_again(tmp_path: Path, cut: str) -> None:
    write_provenance(tmp_path, {})
    whole = (tmp_path / "environment.json").read_text()
    (tmp_path / "environment.json").write_text(cut)
    write_provenance(tmp_path, {})
    assert (tmp_path / "environment.json").read_text() == whole


def test_what_is_no_file_is_not_recorded(files: dict[str, Path], tmp_path: Path) -> None:
    config = {
        "weights": None,
        "head": {"weights": "random", "weights_for": str(files["a"]), "loss_weights": [1.0, 2.0]},
        "vit": {"weights": ["dan-affectnet8", "timm:resnet50", str(tmp_path / "none.pth")]},
        "data": {"root": str(files["b"])},
    }
    assert recorded(tmp_path, config) == {}
