"""Reading and writing checkpoint files, on files without a network behind them."""

from __future__ import annotations

import errno
import io
import random
import resource
import signal
import zipfile
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from affect import files
from affect.errors import CheckpointError
from affect.preprocessing import Preprocessing
from runs.checkpoints import WholeCheckpoints, read_checkpoint, save_atomically


def content(value: float = 0.5) -> dict[str, Any]:
    """A checkpoint to resume from, of a network of two tensors."""
    return {
        "model_config": {"_target_": "somewhere", "rate": 0.25},
        "state_dict": {"weight": torch.full((7, 3), value), "steps": torch.tensor(3)},
        "preprocessing": asdict(Preprocessing()),
        "epoch": 1,
        "global_step": 8,
        "pytorch-lightning_version": "2.6.6",
        "loops": {},
        "callbacks": {},
        "optimizer_states": [{}],
        "lr_schedulers": [{}],
    }


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def test_no_changed_bit_gives_another_value(tmp_path: Path) -> None:
    path, expected = tmp_path / "one.ckpt", content()
    save_atomically(expected, path)
    whole, draw, found = path.read_bytes(), random.Random(0), Counter[str]()
    for _ in range(1000):
        changed = bytearray(whole)
        changed[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(changed)
        try:
            found["same" if same(expected, read_checkpoint(path, resume=True)) else "another"] += 1
        except CheckpointError:
            found["refused"] += 1
    assert found["another"] == 0
    assert found["refused"] > 400


@pytest.mark.parametrize("change", ["end record", "marked as a folder", "two entries of a name", "compressed"])
def test_what_checksums_do_not_cover_is_compared_too(change: str, tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    save_atomically(content(), path)
    raw = bytearray(path.read_bytes())
    if change == "end record":
        raw[-12] -= 1
    elif change == "marked as a folder":  # torch reads such an entry as zeros
        raw[raw.index(b"PK\1\2") + 38] |= 0x10
    else:
        buffer = io.BytesIO(raw if change == "two entries of a name" else b"")
        kind = zipfile.ZIP_DEFLATED if change == "compressed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(buffer, "a", kind) as new:
            for name in old.namelist() if change == "compressed" else old.namelist()[:1]:
                with pytest.warns(UserWarning, match="Duplicate") if change != "compressed" else nullcontext():
                    new.writestr(name, old.read(name))
        raw = bytearray(buffer.getvalue())
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"one\.ckpt is not a readable checkpoint"):
        read_checkpoint(path)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in content().items() if name != key}


def other(key: str, value: Any) -> dict[str, Any]:
    return content() | {key: value}


def preprocessing(**changes: Any) -> dict[str, Any]:
    return other("preprocessing", asdict(Preprocessing()) | changes)


def weights(**changes: Any) -> dict[str, Any]:
    return other("state_dict", content()["state_dict"] | changes)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "not a readable checkpoint"),
        (b"no checkpoint at all\n", "not a readable checkpoint"),
        (torch.zeros(3), "not a checkpoint of this framework"),
        ({"model": {}}, "not a checkpoint of this framework"),
        (other("model_config", None), "its model_config is of type NoneType, but must be dict"),
        (other("model_config", []), "its model_config is of type list"),
        (other("state_dict", [torch.zeros(3)]), "its state_dict is of type list"),
        (weights(weight="zeros"), "no plain tensor at state_dict.weight"),
        (weights(weight=torch.zeros(3).to_sparse()), "no plain tensor at state_dict.weight"),
        (weights(weight=torch.zeros(1).expand(10**12)), "no plain tensor at state_dict.weight"),
        (weights(weight=torch.tensor([0.0, torch.nan])), "weights weight are not finite"),
        (weights(weight=torch.tensor([torch.inf], dtype=torch.bfloat16)), "weights weight are not finite"),
        (without("preprocessing"), "its preprocessing is missing"),
        (other("preprocessing", "imagenet"), "its preprocessing is of type str"),
        (preprocessing(mean=(0.5, 0.5)), "preprocessing: mean="),
        (preprocessing(mean="abc"), "preprocessing"),
        (preprocessing(std=(0.5, 0.5, torch.nan)), "preprocessing: mean="),
        (preprocessing(image_size="32"), "preprocessing: image_size="),
        (preprocessing(image_size=-1), "preprocessing: image_size="),
        (preprocessing(interpolation=3), "preprocessing: interpolation="),
        (preprocessing(colour="red"), "unexpected keyword argument 'colour'"),
        (other("epoch", "one"), "its epoch is of type str, but must be int"),
        (other("global_step", None), "its global_step is of type NoneType"),
        (other("callbacks", []), "its callbacks is of type list"),
        (other("optimizer_states", {}), "its optimizer_states is of type dict"),
        (without("loops"), "its loops is missing"),
        (other("pytorch-lightning_version", "latest"), "Invalid version: 'latest'"),
    ],
)
def test_a_broken_checkpoint_is_one_error_that_names_the_other_one(written: Any, message: str, tmp_path: Path) -> None:
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    if isinstance(written, bytes):
        last.write_bytes(written)
    else:
        torch.save(written, last)
    with pytest.raises(CheckpointError, match=message) as alone:
        read_checkpoint(last, resume=True)
    assert str(last) in str(alone.value)
    assert "is readable" not in str(alone.value)
    save_atomically(content(), best)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(last, resume=True)
    assert str(caught.value).endswith(f"{best} is readable: give that one instead")


def test_a_checkpoint_cut_off_after_5000_bytes_is_refused(tmp_path: Path) -> None:
    torch.save(content() | {"more": torch.zeros(5000)}, tmp_path / "last.ckpt")
    (tmp_path / "last.ckpt").write_bytes((tmp_path / "last.ckpt").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("point", ["file.written", "file.synced"])
def test_a_write_that_ends_midway_leaves_the_former_checkpoint(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint(content(1), path)

    def full(reached: str, path: Path) -> None:
        if reached == point:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "hook", full)
    with pytest.raises(OSError, match="No space left") as caught:
        WholeCheckpoints().save_checkpoint(content(2), path)
    assert caught.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]
    assert same(content(1), WholeCheckpoints().load_checkpoint(path))


def test_what_the_system_refuses_in_the_midst_of_a_checkpoint_is_told(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint(content(1), path)
    former, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # fails as a full disk does, within the file
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            WholeCheckpoints().save_checkpoint(content(2) | {"more": torch.zeros(10**6)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, former)
    assert caught.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["last.ckpt"]
    assert same(content(1), read_checkpoint(path, resume=True))


def test_only_one_file_is_ever_removed(tmp_path: Path) -> None:
    (tmp_path / "old.ckpt").touch()
    WholeCheckpoints().remove_checkpoint(tmp_path / "old.ckpt")
    WholeCheckpoints().remove_checkpoint(tmp_path / "old.ckpt")
    with pytest.raises(OSError, match=str(tmp_path)):
        WholeCheckpoints().remove_checkpoint(tmp_path)
