"""The folder of a page: what is in it, what it says of its files, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from affect import files
from affect.download import DownloadError
from affect.errors import DataError, UserError
from affect.labels import TASKS
from backbones.registry import REGISTRY
from runs import to_web
from tests.runs.test_export import HEADS, call, model_of, saved
from videos.centerface import STEP

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
NAMES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for an unpacked ONNX Runtime Web, and a file that stands for CenterFace's."""
    folder = tmp_path / "unpacked/package/dist"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_text(name)
    monkeypatch.setattr(to_web, "FILES", {name: sha256(name.encode()) for name in NAMES})
    value = [onnx.helper.make_tensor_value_info(name, 1, [1, 3, 32, 32]) for name in "ab"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["a"], ["b"])], "g", value[:1], value[1:])
    detector = tmp_path / "centerface.onnx"
    onnx.save(onnx.helper.make_model(graph), detector)
    monkeypatch.setattr(to_web, "fetch", lambda name, entry: detector)
    return tmp_path / "unpacked"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written as ONNX, which takes seconds."""
    monkeypatch.setattr(to_web, "to_onnx", lambda network, metadata: b"a network")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("emma"), model_of("emma")).parent.parent


def test_the_folder_has_all_that_the_page_needs(run: Path, runtime: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out/page"
    call(run, "to=web", f"out={folder}", f"web.runtime={runtime}")
    assert [path.name for path in folder.parent.iterdir()] == ["page"]
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    licences = there.pop("LICENCES.txt").decode()
    listed = re.findall(r"^(\S+)\n  source: (.+)\n  licence: (.+)\n  SHA-256: (\w{64})$", licences, re.MULTILINE)
    assert {name: digest for name, _, _, digest in listed} == {name: sha256(one) for name, one in there.items()}
    of = {name: (source, licence) for name, source, licence, _ in listed}
    assert of["centerface.onnx"][1] == REGISTRY["centerface"].licence
    assert of[NAMES[0]] == (f"onnxruntime-web {to_web.RUNTIME}, {to_web.ARCHIVE}", "MIT")
    assert of["model.onnx"][1] == "no weights of others are in it"
    assert "Copyright (c) Microsoft Corporation" in licences
    settings = json.loads(there["settings.json"])
    assert settings["tasks"] == list(TASKS)
    assert settings["preprocessing"] == {"image_size": 32, "interpolation": "bilinear"}
    assert settings["detector"]["step"] == STEP
    assert set(settings["files"].values()) <= set(there)
    assert str(tmp_path) not in json.dumps(settings)
    named = {one for name in there if name.endswith((".js", ".html")) and name != NAMES[0]
             for one in re.findall(r'"(?:\./)?([\w.-]+\.(?:js|mjs|css|wasm|json))"', there[name].decode())}  # fmt: skip
    assert named <= set(there)
    assert len(named) > 10
    model = onnx.load_model_from_string(there["centerface.onnx"])
    assert not any(side.HasField("dim_value") for side in model.graph.input[0].type.tensor_type.shape.dim)
    addresses = {one for name, content in there.items() if name.endswith((".js", ".css", ".html"))
                 for one in re.findall(r"https?://[^\s\"'`<]+", content.decode())}  # fmt: skip
    assert addresses == {"http://127.0.0.1:8000/"}  # where the page tells people to look


@pytest.mark.usefixtures("quick")
def test_a_page_is_replaced_only_on_request_and_as_a_whole(
    run: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "page"
    given = ["to=web", f"out={folder}", f"web.runtime={runtime}"]
    call(run, *given)
    (folder / "settings.json").write_text("mine")
    with pytest.raises(UserError, match="page is there already: give overwrite=true"):
        call(run, *given)

    def full(made: Path, path: Path) -> None:
        if made.name == "new":
            raise OSError(28, "No space left on device")
        files.put_in_place(made, path)

    with monkeypatch.context() as changed:
        changed.setattr(to_web, "put_in_place", full)
        with pytest.raises(OSError, match="No space"):
            call(run, *given, "overwrite=true")
    assert (folder / "settings.json").read_text() == "mine"
    call(run, *given, "overwrite=true")
    assert json.loads((folder / "settings.json").read_text())["tasks"] == list(TASKS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["centerface.onnx", "page", "unpacked"]


@pytest.mark.usefixtures("quick")
def test_what_is_something_else_is_not_touched(run: Path, runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/index.html").write_text("mine")
    given = ["to=web", f"web.runtime={runtime}", "overwrite=true"]
    with pytest.raises(UserError, match=r"holds something else \(index\.html\)"):
        call(run, *given, f"out={tmp_path}/mine")
    with pytest.raises(UserError, match=r"index\.html is a file"):
        call(run, *given, f"out={tmp_path}/mine/index.html")
    assert (tmp_path / "mine/index.html").read_text() == "mine"


@pytest.mark.usefixtures("quick")
def test_other_files_of_the_runtime_are_refused(run: Path, runtime: Path, tmp_path: Path) -> None:
    given = ["to=web", f"out={tmp_path}/page", f"web.runtime={runtime}"]
    (runtime / f"package/dist/{NAMES[1]}").write_text("another version")
    with pytest.raises(DataError, match=r"is not that of onnxruntime-web .*, by its SHA-256: take it from https"):
        call(run, *given)
    (runtime / f"package/dist/{NAMES[1]}").unlink()
    with pytest.raises(DataError, match=r"ort-wasm-simd-threaded\.wasm is not there: unpack https"):
        call(run, *given)
    assert not (tmp_path / "page").exists()


def test_the_runtime_is_fetched_once(run: Path, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "served.tgz"
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(runtime / "package", "package")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(to_web, "ARCHIVE", archive.as_uri())
    with pytest.raises(DownloadError, match=r"has the SHA256 .* or get file:.*web\.runtime=FOLDER"):
        call(run, "to=web", f"out={tmp_path}/page")
    monkeypatch.setattr(to_web, "ARCHIVE_SHA256", sha256(archive.read_bytes()))
    found = dict(to_web._runtime(None))
    archive.unlink()
    assert found == dict(to_web._runtime(None)) == {name: name.encode() for name in NAMES}


def test_heads_on_features_have_no_page(runtime: Path, tmp_path: Path) -> None:
    given: list[Any] = ["to=web", f"out={tmp_path}/page", f"web.runtime={runtime}"]
    with pytest.raises(UserError, match="reads features as they come, and the page shows pictures"):
        call(saved(tmp_path, HEADS["gru"]), *given)
    assert not (tmp_path / "page").exists()
