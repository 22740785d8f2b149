"""Exported networks: what they say, what they say of themselves, and what is refused."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from affect.errors import ConfigError, UserError
from affect.labels import AU_NAMES, EXPRESSIONS, LSD_EXPRESSIONS, TASKS
from datamodules.transforms import EvalTransform
from runs import portable
from runs.building import build
from runs.checkpoints import load_module, save_atomically
from runs.config import CONFIG_DIR
from runs.export import export
from tests.conftest import small
from training.module import AffectModule

onnx = pytest.importorskip("onnx", reason="the extra `export` is not installed")
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
NETWORKS = ("emma", "cotex", "dan", "emotionnet", "baseline", "emotieffnet_backbone")


def saved(folder: Path, model: Mapping[str, Any], **changed: Any) -> Path:
    """Write the checkpoint of a model that has not learnt, but whose outputs differ from face to face."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it starts untrained
        module: AffectModule = build(dict(model), "model")
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


@pytest.mark.parametrize("name", [*NETWORKS[1:], *HEADS])
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
