"""Exported networks: what they say, what they say of themselves, and what is refused."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from safetensors import safe_open
from torch import nn

from affect.errors import CheckpointError, ConfigError, UserError
from affect.labels import AU_NAMES, EXPRESSIONS, LSD_EXPRESSIONS, TASKS
from backbones.state import read_state
from dan.network import DAN
from datamodules.transforms import EvalTransform
from runs import card, to_onnx
from runs.building import build
from runs.checkpoints import load_module, save_atomically
from runs.config import CONFIG_DIR
from runs.export import export
from runs.licences import UNKNOWN, UNSTATED, starts
from runs.networks import load_networks
from runs.predictor import Predictor
from tests.backbones import exports as published
from tests.conftest import small

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
set_external_data = pytest.importorskip("onnx.external_data_helper").set_external_data
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")

TINY = {"baseline": ("model.network.backbone=test_resnet", "model.network.image_size=32")}
FEATURES = {"sha256": "f" * 64, "embedding": 5, "outputs": [*EXPRESSIONS, "valence", "arousal"]}


def model_of(experiment: str) -> dict[str, Any]:
    """The configuration of a small model, with random weights."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", [*small(experiment), "data.root=none", *TINY.get(experiment, ())])
    model = OmegaConf.to_container(config.model, resolve=True)
    assert isinstance(model, dict)
    return {str(key): value for key, value in model.items()}


def head_of(module: str, network: str, **options: Any) -> dict[str, Any]:
    return {
        "_target_": f"heads.{module}",
        "network": {"_target_": f"heads.{network}", **options},
        "loss": {"_target_": "losses.multitask.MultiTaskLoss"},
        "optimiser": {"_target_": "training.optimisation.AdamW"},
    }


def temporal(network: str, **sizes: Any) -> dict[str, Any]:
    features = [{**FEATURES, "embedding": 4, "outputs": []}, {**FEATURES, "embedding": 3, "outputs": []}]
    return head_of(
        "temporal.module.TemporalModule", f"temporal.{network}", features=features, tasks=list(TASKS), **sizes
    )


HEADS = {
    "frame heads": head_of(
        "module.HeadModule", "network.Heads", features=FEATURES,
        heads={
            "expression": {"input": "embedding", "hidden": 8},
            "valence_arousal": {"input": "logits_va", "hidden": None},
        },
    ),
    "heads on scores": head_of(
        "module.HeadModule", "network.Heads", features=FEATURES,
        heads={"action_units": {"input": "logits", "hidden": 8}},
    ),
    "gru": temporal("causal.Gru", width=6),
    "tcn": temporal("causal.Tcn", channels=[8, 8, 8], kernel=3),
    "bigru": temporal("bidirectional.BiGru", width=6),
    "transformer": temporal("bidirectional.Transformer", width=12, layers=2, heads=3),
    "tcn_transformer": temporal(
        "bidirectional.TcnTransformer", channels=[8, 8, 8], kernel=3, width=8, heads=2, layers=2
    ),
}  # fmt: skip
SLOW = ("dan", "emotionnet", "baseline", "emotieffnet_backbone", "tcn_transformer")
NETWORKS = ("emma", "cotex", "dan", "emotionnet", "baseline", "emotieffnet_backbone")


def saved(folder: Path, model: Mapping[str, Any], seed: int = 0, **changed: Any) -> Path:
    """Write the checkpoint of a model that has not learnt, but whose outputs differ from face to face."""
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it starts untrained
        module: Any = build(dict(model), "model")
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 2)
        if isinstance(part, nn.Linear) and part.out_features in (2, 6, 8, 10, 12, 20, 22):
            nn.init.normal_(part.weight, std=0.3 / part.in_features**0.5)
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    module.model_config = {**model}
    module.learnt_from = {"data": "MadeUp", "renderer": None}
    module.on_save_checkpoint(content)
    path = folder / "run/checkpoints/best.ckpt"
    path.parent.mkdir(parents=True)
    save_atomically({**content, **changed}, path)
    return path


def call(checkpoint: object, *overrides: str) -> None:
    """Run the command in this process."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("export", ["checkpoint=x", *overrides])
    config.checkpoint = str(checkpoint)
    export(config)


@pytest.fixture(scope="module")
def emma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an EMMA's run, with its export in ``out``."""
    folder = tmp_path_factory.mktemp("emma")
    checkpoint = saved(folder, model_of("emma"))
    (folder / "run/scores.json").write_text('{"P_MTL": 1.25, "P_VA": "no labels", "CCC_V": 0.5}')
    call(checkpoint.parent.parent, f"out={folder}/out/emma.onnx")
    return folder


def faces(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 3, side, side), np.uint8)


def test_an_export_says_what_its_checkpoint_says(emma: Path) -> None:
    session = onnxruntime.InferenceSession(emma / "out/emma.onnx")
    assert [(one.name, one.type, one.shape[1:]) for one in session.get_inputs()] == [
        ("image", "tensor(uint8)", [3, 32, 32])
    ]
    module = load_module(emma / "run/checkpoints/best.ckpt").eval()
    for batch in (1, 2, 5):
        images = faces(batch, 32)
        with torch.no_grad():
            expected = module.predict_float32({"image": torch.from_numpy(images)})[""]
        said = dict(zip([one.name for one in session.get_outputs()], session.run(None, {"image": images}), strict=True))
        assert list(said) == list(TASKS)
        for task, values in said.items():
            np.testing.assert_allclose(values, expected[task].numpy(), rtol=0, atol=1e-5)
            assert np.ptp(values, axis=1).min() > 1e-3  # not all alike


def test_floats_are_refused_by_the_file_itself(emma: Path) -> None:
    session = onnxruntime.InferenceSession(emma / "out/emma.onnx")
    with pytest.raises(Exception, match="Unexpected input data type"):
        session.run(None, {"image": np.zeros((1, 3, 32, 32), np.float32)})


def test_the_file_says_what_it_is(emma: Path) -> None:
    told = {one.key: one.value for one in onnx.load(emma / "out/emma.onnx").metadata_props}
    assert json.loads(told["expressions"]) == list(EXPRESSIONS)
    assert json.loads(told["action_units"]) == list(AU_NAMES)
    preprocessing = json.loads(told["preprocessing"])
    assert preprocessing["image_size"] == 32
    assert preprocessing["mean"] == [0.485, 0.456, 0.406]
    assert json.loads(told["learnt_from"]) == {"data": "MadeUp", "renderer": None}
    assert told["method"] == "emma"
    assert str(emma) not in json.dumps(told)  # folders are nobody's business
    assert re.fullmatch("emma-cotex [0-9.]+", told["made_by"])


def test_the_lines_of_the_card_run_and_do_what_predict_does(emma: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (emma / "out/emma.md").read_text()
    assert "| P_MTL | 1.250 |" in text
    assert "P_VA" not in text
    assert "Learnt from MadeUp." in text
    face = faces(1, 50)[0].transpose(1, 2, 0)
    monkeypatch.chdir(emma / "out")
    cv2.imwrite("face.png", np.ascontiguousarray(face[..., ::-1]))
    found: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], found)
    image = EvalTransform(image_size=32)(face, epoch=0, row=0)
    module = load_module(emma / "run/checkpoints/best.ckpt").eval()
    with torch.no_grad():
        given = torch.from_numpy(image.transpose(2, 0, 1)[None].copy())
        expected = module.predict_float32({"image": given})[""]
    for task, values in found["said"].items():
        np.testing.assert_allclose(values, expected[task].numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in (*NETWORKS[1:], *HEADS)]
)
def test_every_kind_can_be_exported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = saved(tmp_path, HEADS.get(name) or model_of(name))
    call(checkpoint, f"out={tmp_path}/one.onnx")  # which is checked with batches of one and three
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("face.png", faces(1, 20)[0].transpose(1, 2, 0))
    found: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", Path("one.md").read_text(), re.DOTALL)[0], found)
    module = load_module(checkpoint)
    said = {name: values for name, values in found["said"].items() if not name.startswith("next_")}
    assert list(said) == [task for task in TASKS if task in module.scores.tasks]
    classes = {"expression": len(module.expressions), "action_units": 12, "valence_arousal": 2}
    assert all(values.shape[-1] == classes[task] for task, values in said.items())
    assert "expression" not in said or module.expressions != LSD_EXPRESSIONS or name == "cotex"


@pytest.mark.parametrize("name", ["gru", "tcn"])
def test_a_causal_head_goes_on_from_its_state(name: str, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, HEADS[name])
    call(checkpoint, f"out={tmp_path}/one.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "one.onnx")
    features = np.random.default_rng(0).normal(size=(2, 500, 7)).astype(np.float32)
    with torch.no_grad():
        every = torch.ones(2, 500, dtype=torch.bool)
        scores = load_module(checkpoint).eval().network(torch.from_numpy(features), every)
    expected = scores.action_units.sigmoid().numpy()
    for piece in (1, 7, 64, 500):
        state = {one.name: np.zeros([2 if size == "batch" else size for size in one.shape], np.float32)
                 for one in session.get_inputs()[1:]}  # fmt: skip
        said = []
        for start in range(0, 500, piece):
            values = session.run(None, {"features": features[:, start : start + piece], **state})
            said.append(values[2])
            state = dict(zip(state, values[3:], strict=True))
        np.testing.assert_allclose(np.concatenate(said, axis=1), expected, rtol=0, atol=1e-5)


def test_padding_changes_nothing_in_an_exported_window(tmp_path: Path) -> None:
    call(saved(tmp_path, HEADS["bigru"]), f"out={tmp_path}/one.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "one.onnx")
    features = np.random.default_rng(0).normal(size=(1, 30, 7)).astype(np.float32)
    alone = session.run(None, {"features": features[:, :20], "present": np.ones((1, 20), bool)})
    padded = session.run(None, {"features": features, "present": np.arange(30)[None] < 20})
    for one, other in zip(alone, padded, strict=True):
        np.testing.assert_allclose(other[:, :20], one, rtol=0, atol=1e-6)


def test_weights_make_the_same_network_again(emma: Path, tmp_path: Path) -> None:
    call(emma / "run", "to=safetensors", f"out={tmp_path}/emma.safetensors")
    with safe_open(tmp_path / "emma.safetensors", "pt") as file:
        told = file.metadata()
    assert json.loads(told["expressions"]) == list(EXPRESSIONS)
    network = build(json.loads(told["network"]), "model").eval()
    network.load_state_dict(read_state(tmp_path / "emma.safetensors"))
    module = load_module(emma / "run/checkpoints/best.ckpt").eval()
    image = torch.from_numpy(faces(2, 32))
    with torch.no_grad():
        for one, other in zip(network(image), module.network(image), strict=True):
            assert torch.equal(one, other)
    assert 'load_file("emma.safetensors")' in (tmp_path / "emma.md").read_text()


def test_weights_of_a_dan_are_what_a_training_begins_with(tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, model_of("dan"))
    call(checkpoint, "to=safetensors", f"out={tmp_path}/dan.safetensors")
    expected = load_module(checkpoint).network.state_dict()
    found = DAN(weights=str(tmp_path / "dan.safetensors"), image_size=32, width=8).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_licence_is_accepted_by_its_name_and_told(tmp_path: Path) -> None:
    model = model_of("emma")
    model["network"]["vit"]["weights"] = "mae-vit-b"
    model["network"]["dan"]["weights"] = f"{tmp_path}/affecnet8_epoch5_acc0.6209.pth"
    checkpoint = saved(tmp_path, model_of("emma"), model_config=model)
    out = [f"out={tmp_path}/out/emma.safetensors", "to=safetensors"]
    with pytest.raises(ConfigError, match=r"(?s)2 errors.*mae-vit-b.*CC-BY-NC-4.*dan-affectnet8.*=unstated"):
        call(checkpoint, *out)
    with pytest.raises(ConfigError, match=r"(?s)1 error.*dan-affectnet8"):
        call(checkpoint, *out, "accept_licence=CC-BY-NC-4.0")
    with pytest.raises(ConfigError, match=r"accept_licence=MIT: no weights in it are under that licence"):
        call(checkpoint, *out, "accept_licence=[CC-BY-NC-4.0,unstated,MIT]")
    assert not (tmp_path / "out").exists()
    call(checkpoint, *out, "accept_licence=[cc-by-nc-4.0,unstated]")
    text = (tmp_path / "out/emma.md").read_text()
    assert "**CC-BY-NC-4.0**: of `mae-vit-b`" in text
    assert "accept_licence=unstated" in text
    with safe_open(tmp_path / "out/emma.safetensors", "pt") as file:
        assert file.metadata()["licence"] == "CC-BY-NC-4.0, unstated"
        assert str(tmp_path) not in json.dumps(file.metadata())


@pytest.mark.parametrize(
    ("weights", "licence"),
    [
        ("efficientnet-lite0-imagenet", "Apache-2.0"),
        ("timm:resnet50.a1_in1k", "Apache-2.0"),
        ("timm:vit_base_patch16_224.mae", "CC-BY-NC-4.0"),
        ("timm:no_such_network", UNSTATED),
        ("runs/1/weights/dan.pth", UNKNOWN),
    ],
)
def test_the_licence_of_weights_is_looked_up(weights: str, licence: str) -> None:
    model = {"network": {"trunks": [{"weights": weights}, {"weights": "random"}], "other": {"weights": None}}}
    (found,) = starts(model)
    assert (found.key, found.licence) == ("model.network.trunks.0.weights", licence)
    assert "/" not in found.weights


def test_what_is_there_is_replaced_only_on_request(emma: Path, tmp_path: Path) -> None:
    (tmp_path / "emma.md").write_text("mine")
    out = f"out={tmp_path}/emma.safetensors"
    with pytest.raises(UserError, match=r"emma\.md is there already: give overwrite=true"):
        call(emma / "run", out, "to=safetensors")
    with pytest.raises(ConfigError, match=r"ends in \.onnx"):
        call(emma / "run", out)
    call(emma / "run", out, "to=safetensors", "overwrite=true")
    assert (tmp_path / "emma.md").read_text().startswith("# emma.safetensors")


def test_nothing_is_left_of_an_export_that_says_something_else(
    emma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = (emma / "out/emma.onnx").read_bytes()
    monkeypatch.setattr(torch.onnx, "export", lambda module, given, file, **_: file.write(made))
    other = saved(tmp_path, model_of("emma"), seed=1)
    with pytest.raises(UserError, match=r"of the exported network is [0-9.]+ from that of its source"):
        call(other, f"out={tmp_path}/out/emma.onnx")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_exported_is_refused_in_one_message(
    emma: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = f"out={tmp_path}/out/one.onnx"
    with pytest.raises(CheckpointError, match="predicts nothing that could be scored"):
        call(saved(tmp_path, model_of("mae")), out)
    with pytest.raises(ConfigError, match="begin a training and predict nothing"):
        call("mae-vit-b", out)
    with pytest.raises(UserError, match="checkpoint=none: no such file"):
        call("none", out)
    with monkeypatch.context() as changed:
        changed.setattr(to_onnx, "LARGEST", 1000)
        with pytest.raises(UserError, match="a file takes 2: give to=safetensors"):
            call(emma / "run", out)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"to=onnx needs onnx and onnxruntime.*\[export\]"):
        call("none", out)
    scores = tmp_path / "run/scores.json"
    scores.write_text("[1]")
    with pytest.raises(UserError, match=r"scores\.json: not the scores of a run"):
        card._scores(scores)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_published_weights_are_exported_by_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home/hub/checkpoints"
    folder.mkdir(parents=True)
    published.export(published.make("tf_efficientnet_b0", 10), folder / "enet_b0_8_va_mtl.onnx")
    monkeypatch.chdir(tmp_path)
    call("enet_b0_8_va_mtl")
    session = onnxruntime.InferenceSession("exports/enet_b0_8_va_mtl.onnx")
    assert [one.name for one in session.get_outputs()] == ["valence_arousal", "expression"]
    assert session.run(None, {"image": faces(2, 224)})[1].shape == (2, 8)
    assert "- Apache-2.0: of `enet_b0_8_va_mtl`." in Path("exports/enet_b0_8_va_mtl.md").read_text()


def test_an_export_is_asked_as_its_checkpoint_is(emma: Path) -> None:
    images = [np.ascontiguousarray(faces(1, side)[0].transpose(1, 2, 0)) for side in (48, 20, 32)]
    source, other = Predictor(emma / "run"), Predictor(emma / "out/emma.onnx")
    assert (other.tasks, other.expressions, other.columns) == (source.tasks, source.expressions, source.columns)
    assert other.networks[0].described["learnt_from"] == {"data": "MadeUp", "renderer": None}
    expected, said, both = (
        one.crops(images) for one in (source, other, Predictor([emma / "run", emma / "out/emma.onnx"]))
    )
    for task, values in expected.items():
        np.testing.assert_allclose(said[task], values, rtol=0, atol=1e-5)
        np.testing.assert_allclose(both[task], values, rtol=0, atol=1e-5)


def changed(path: Path, change: Callable[[Any], object]) -> Path:
    """The file, changed, in the place of itself."""
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def told(name: str, value: str) -> Callable[[Any], object]:
    def change(model: Any) -> None:
        next(one for one in model.metadata_props if one.key == name).value = value

    return change


def elsewhere(model: Any) -> None:
    tensor = next(one for one in model.graph.initializer if one.raw_data)
    set_external_data(tensor, location="secret.bin", length=len(tensor.raw_data))
    tensor.ClearField("raw_data")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.ClearField("metadata_props"), "was not written by export.py"),
        (told("kind", "windows of features"), "sees no picture"),
        (told("expressions", json.dumps(LSD_EXPRESSIONS)), "its outputs are"),
        (told("expressions", '["a", "b"]'), "unknown classes a, b"),
        (told("tasks", '["expression"]'), "its outputs are"),
        (told("preprocessing", "{}"), "does not say what it is"),
        (told("preprocessing", "[" * 100_000), "does not say what it is"),
        (elsewhere, "it names other files"),
        (lambda model: model.graph.ClearField("node"), "not a readable ONNX file"),
    ],
)
def test_a_file_that_does_not_fit_what_it_says_is_refused(
    emma: Path, tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    path = tmp_path / "emma.onnx"
    path.write_bytes((emma / "out/emma.onnx").read_bytes())
    with pytest.raises(CheckpointError, match=message):
        load_networks([changed(path, change)])
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="not a readable ONNX file"):
        load_networks([path])
