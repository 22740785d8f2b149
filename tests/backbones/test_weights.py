from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import types

import pytest
import timm
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from affect.errors import WeightsError
from affect.labels import AFFECTNET_EXPRESSIONS, AU_NAMES, EXPRESSIONS
from backbones import weights as module
from backbones.registry import REGISTRY
from backbones.state import read_state
from backbones.vit import ViT, build_vit
from backbones.weights import load_weights
from dan.network import DAN

TINY = {"image_size": 32, "patch_size": 16, "width": 8, "depth": 1, "heads": 2}
STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


@pytest.fixture
def vit_state():
    torch.manual_seed(5)
    return ViT(**TINY).state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# --- reading files


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer_state_dict": {}},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"model": {"state_dict": state}},
    ],
    ids=["plain", "model", "model_state_dict", "data parallel", "nested"],
)
def test_load_state_unwraps(tmp_path, wrap):
    torch.save(wrap(STATE), tmp_path / "file.pth")
    assert same(read_state(tmp_path / "file.pth"), STATE)


def test_load_state_safetensors(tmp_path):
    save_file(STATE, tmp_path / "file.safetensors")
    assert same(read_state(tmp_path / "file.safetensors"), STATE)


class Bomb:
    """What a malicious pickle does: it calls something when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_load_state_never_runs_code(tmp_path):
    torch.save({"model": STATE, "extra": Bomb(tmp_path / "ran")}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"file\.pth: refused.*\((_io|io)\.open\).*weights_only=False"):
        read_state(tmp_path / "file.pth")
    assert not (tmp_path / "ran").exists()


def test_load_state_blocked_module(tmp_path):
    torch.save({"model": STATE, "extra": os.system}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=r"refused.*\.system"):
        read_state(tmp_path / "file.pth")


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning", "ignore:.*TorchScript:UserWarning")
def test_load_state_refuses_whole_modules(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match=r"refused.*torch\.nn\.modules\.linear\.Linear.*state_dict"):
        read_state(tmp_path / "module.pth")
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(WeightsError, match=r"refused.*TorchScript"):
        read_state(tmp_path / "script.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "lr": 0.1}, r"no state dict.*its keys are epoch, lr"),
        ({}, "no state dict"),
        (torch.ones(3), r"no state dict.*Tensor"),
        (
            {"pytorch-lightning_version": "2.6", "model_config": {}, "state_dict": STATE},
            r"training checkpoint.*checkpoint=.*fork_from=",
        ),
    ],
)
def test_load_state_without_state(tmp_path, content, message):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match=message):
        read_state(tmp_path / "file.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.just(b"version https://git-lfs.github.com/spec/v1\n"))
def test_load_state_damaged(tmp_path, suffix, content):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"file\{suffix}"):
        read_state(path)


def test_load_state_of_a_git_lfs_pointer(tmp_path):
    (tmp_path / "file.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(WeightsError, match=r"not readable.*Unsupported operand.*Git LFS pointer"):
        read_state(tmp_path / "file.pth")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fraction=st.floats(0, 0.99))
def test_load_state_truncated(tmp_path, fraction):
    path = tmp_path / "whole.pth"
    torch.save(STATE, path)
    cut = tmp_path / "cut.pth"
    cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    with pytest.raises(WeightsError, match=r"cut\.pth: not readable.*fetch it again"):
        read_state(cut)


def test_load_state_no_file(tmp_path):
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(WeightsError, match="no such file"):
            read_state(path)


# --- fitting networks


def load(tmp_path, state, **sizes):
    torch.save({"model": state}, tmp_path / "file.pth")
    return build_vit(**TINY | sizes, weights=str(tmp_path / "file.pth"))


def test_full_mae_checkpoint(tmp_path, vit_state):
    """Decoder and mask token of a pre-training checkpoint are left out; the same names elsewhere are not."""
    decoder = {
        "mask_token": torch.zeros(1, 1, 4),
        "decoder_pos_embed": torch.zeros(1, 5, 4),
        "decoder_blocks.0.norm1.weight": torch.zeros(4),
    }
    assert same(load(tmp_path, vit_state | decoder).state_dict(), vit_state)
    with pytest.raises(WeightsError, match=r"unexpected \(1\): blocks\.0\.decoder_gate"):
        load(tmp_path, vit_state | {"blocks.0.decoder_gate": torch.zeros(1)})


def test_finetuned_mae_checkpoint(tmp_path, vit_state, caplog):
    state = {
        name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: t for name, t in vit_state.items()
    }
    state["fc_norm.weight"] = torch.full((8,), 3.0)
    state |= {"head.weight": torch.zeros(1000, 8), "head.bias": torch.zeros(1000)}
    with caplog.at_level(logging.WARNING):
        network = load(tmp_path, state)
    assert torch.equal(network.norm.weight, torch.full((8,), 3.0))
    assert "mean pooling" in caplog.text


def test_half_precision_file(tmp_path, vit_state):
    network = load(tmp_path, {name: tensor.half() for name, tensor in vit_state.items()})
    assert network.cls_token.dtype == torch.float32
    torch.testing.assert_close(network.pos_embed.detach(), vit_state["pos_embed"], rtol=1e-3, atol=1e-3)


def test_everything_wrong_is_one_error(tmp_path, vit_state):
    state = dict(vit_state)
    del state["norm.bias"]
    state["cls_token"] = torch.zeros(1, 1, 9)
    state["extra"] = torch.zeros(1)
    with pytest.raises(WeightsError) as error:
        load(tmp_path, state)
    message = str(error.value)
    assert "file.pth" in message
    assert "missing (1): norm.bias" in message
    assert "unexpected (1): extra" in message
    assert "mis-shaped (1): cls_token is (1, 1, 9), should be (1, 1, 8)" in message


def test_nothing_is_loaded_after_an_error(tmp_path, vit_state):
    network = ViT(**TINY)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    del vit_state["norm.bias"]
    torch.save(vit_state, tmp_path / "file.pth")
    with pytest.raises(WeightsError):
        load_weights(network, str(tmp_path / "file.pth"), kind="vit")
    assert same(network.state_dict(), before)


def test_other_width_and_patch_size(tmp_path, vit_state):
    with pytest.raises(WeightsError, match=r"mis-shaped \(\d+\): .*and \d+ more|mis-shaped"):
        load(tmp_path, vit_state, width=16)
    with pytest.raises(WeightsError, match=r"patch_embed\.proj\.weight is \(8, 3, 16, 16\), should be \(8, 3, 8, 8\)"):
        load(tmp_path, vit_state, patch_size=8)


def test_a_dan_is_no_vit_and_the_reverse(tmp_path, vit_state):
    with pytest.raises(WeightsError, match=r"does not fit a ViT.*looks like a DAN(.|\n)*and \d+ more"):
        load(tmp_path, DAN(width=2).state_dict())
    torch.save({"model": vit_state}, tmp_path / "vit.pth")
    with pytest.raises(WeightsError, match=r"does not fit a DAN.*looks like a ViT"):
        DAN(width=2, weights=str(tmp_path / "vit.pth"))


def test_head_is_replaced(tmp_path):
    network, state = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)), {"0.weight": torch.ones(2, 2)}
    state |= {"0.bias": torch.ones(2), "1.weight": torch.ones(5, 2)}
    torch.save(state, tmp_path / "file.pth")
    own = network[1].weight.clone()
    load_weights(network, str(tmp_path / "file.pth"), kind="vit", head=("1.",))
    assert torch.equal(network[0].weight, torch.ones(2, 2))
    assert torch.equal(network[1].weight, own)
    with pytest.raises(WeightsError, match=r"1\.bias"):
        load_weights(network, str(tmp_path / "file.pth"), kind="vit")


def test_random_warns():
    with pytest.warns(UserWarning, match="random: a ViT.*untrained"):
        build_vit(**TINY, weights="random")


def test_weights_none_is_silent(recwarn):
    build_vit(**TINY, weights=None)
    assert not recwarn


def test_timm_weights(monkeypatch, vit_state):
    """A stand-in for the hub: a timm ViT with a classifier and its own preprocessing."""
    source = timm.models.VisionTransformer(
        img_size=32, patch_size=16, embed_dim=8, depth=1, num_heads=2, num_classes=10
    )
    source.pretrained_cfg = {
        "mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 32, 32), "interpolation": "bicubic",
    }  # fmt: skip
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: asked.append((name, pretrained)) or source)
    network = build_vit(**TINY | {"image_size": 64}, weights="timm:some_vit")
    assert asked == [("some_vit", True)]
    assert torch.equal(network.blocks[0].attn.qkv.weight, source.blocks[0].attn.qkv.weight)
    assert network.preprocessing == module.Preprocessing((0.5,) * 3, (0.5,) * 3, 64, "bicubic")


def test_timm_errors():
    with pytest.raises(WeightsError, match=r"timm:no_such_model: timm could not provide.*list_pretrained"):
        build_vit(**TINY, weights="timm:no_such_model")
    with pytest.raises(WeightsError, match="timm has no DAN"):
        DAN(width=2, weights="timm:resnet18")


# --- registry


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty weights folder."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def register(monkeypatch, name, **changes):
    entry = dataclasses.replace(REGISTRY[name], **changes)
    monkeypatch.setattr(module, "REGISTRY", types.MappingProxyType({**REGISTRY, name: entry}))


def test_registry_is_complete():
    for name, entry in REGISTRY.items():
        assert entry.page.startswith("https://"), name
        assert entry.licence, name
        assert entry.classes is None or set(entry.classes) <= {*AFFECTNET_EXPRESSIONS, *EXPRESSIONS, *AU_NAMES}, name
        assert entry.sha256 is None or len(bytes.fromhex(entry.sha256)) == 32, name
    assert len({entry.file for entry in REGISTRY.values()}) == len(REGISTRY)


def test_registry_name_without_a_download(hub):
    with pytest.raises(WeightsError) as error:
        DAN(weights="dan-affectnet8")
    message = str(error.value)
    assert "dan-affectnet8" in message
    assert "https://github.com/yaoing/DAN" in message
    assert str(hub / REGISTRY["dan-affectnet8"].file) in message


def test_registry_file_in_the_weights_folder(hub, vit_state, monkeypatch):
    register(monkeypatch, "emma-celeba-vit-b", file="ours.pth")
    torch.save({"model": vit_state}, hub / "ours.pth")
    assert same(build_vit(**TINY, weights="emma-celeba-vit-b").state_dict(), vit_state)


def test_registry_download(hub, tmp_path, vit_state, monkeypatch):
    torch.save({"model": vit_state}, tmp_path / "remote.pth")
    content = (tmp_path / "remote.pth").read_bytes()
    url, md5 = (tmp_path / "remote.pth").as_uri(), hashlib.md5(content).hexdigest()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    register(monkeypatch, "mae-vit-b", url=url, md5_prefix=md5[:6], sha256=hashlib.sha256(content).hexdigest())
    network = build_vit(**TINY, weights="mae-vit-b")
    assert same(network.state_dict(), vit_state)
    assert network.preprocessing.interpolation == "bicubic"
    assert (hub / "mae_pretrain_vit_base.pth").read_bytes() == content


@pytest.mark.parametrize("changes", [{"md5_prefix": "000000"}, {"sha256": "0" * 64}])
def test_registry_hash_mismatch(hub, vit_state, monkeypatch, changes):
    register(monkeypatch, "mae-vit-b", **{"md5_prefix": None} | changes)
    torch.save({"model": vit_state}, hub / "mae_pretrain_vit_base.pth")
    with pytest.raises(WeightsError, match=r"mae_pretrain_vit_base\.pth has .*(000000|0{64}).*delete it"):
        build_vit(**TINY, weights="mae-vit-b")


def test_registry_download_fails(hub, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    register(monkeypatch, "mae-vit-b", url=(tmp_path / "none.pth").as_uri())
    with pytest.raises(WeightsError, match=r"mae-vit-b: could not download file:.*save it as .*checkpoints"):
        build_vit(**TINY, weights="mae-vit-b")


def test_registry_download_while_offline(hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        WeightsError, match=r"mae-vit-b: HF_HUB_OFFLINE is set.*or get https:.*pth .*save it as .*checkp"
    ):
        build_vit(**TINY, weights="mae-vit-b")


def test_registry_name_of_another_kind():
    with pytest.raises(WeightsError, match=r"dan-affectnet8 are those of a DAN.*not of a ViT"):
        build_vit(**TINY, weights="dan-affectnet8")
