from __future__ import annotations

from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from backbones.files import local_path, weights_file, weights_folder
from backbones.registry import REGISTRY


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path):
    """An empty weights folder and an empty cache of timm's hub."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cache(hub: Path, repository: str, name: str, revision: str = "main") -> Path:
    """A file as the hub's client keeps it."""
    folder = hub / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / revision).write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True, exist_ok=True)
    (folder / "snapshots" / "abc" / name).write_bytes(name.encode())
    return folder / "snapshots" / "abc" / name


def test_a_path(tmp_path, monkeypatch):
    (tmp_path / "net.pth").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_file(str(tmp_path / "net.pth")) == weights_file("~/net.pth") == tmp_path / "net.pth"
    assert weights_file(str(tmp_path / "none.pth")) is None


def test_random_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random").write_bytes(b"x")
    assert weights_file("random") is None


def test_a_registry_name():
    assert weights_file("mae-vit-b") is None
    path = local_path(REGISTRY["mae-vit-b"])
    assert path == weights_folder() / "mae_pretrain_vit_base.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert weights_file("mae-vit-b") == path


@pytest.mark.parametrize("name", ["resnet18", "resnet18.a1_in1k", "hf-hub:timm/resnet18.a1_in1k"])
def test_a_name_of_timm(hub, name):
    assert weights_file(f"timm:{name}") is None
    old = cache(hub, "timm/resnet18.a1_in1k", "pytorch_model.bin")
    assert weights_file(f"timm:{name}") == old
    new = cache(hub, "timm/resnet18.a1_in1k", "model.safetensors")
    assert weights_file(f"timm:{name}") == new  # what timm prefers


def test_a_revision_of_the_hub(hub):
    kept = cache(hub, "somebody/net", "model.safetensors", revision="v2")
    assert weights_file("timm:hf-hub:somebody/net@v2") == kept
    assert weights_file("timm:hf-hub:somebody/net") is None


@pytest.mark.parametrize("name", ["no_such_model", "resnet18.no_such_tag", "local-dir:/tmp"])
def test_a_name_that_timm_does_not_know(name):
    assert weights_file(f"timm:{name}") is None
