"""Files of `export.py to=safetensors` as checkpoints: what they say, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from affect.errors import ConfigError, UserError
from evaluators.table import read_table
from rendering.cache import draw
from runs.checkpoints import load_module
from runs.config import CONFIG_DIR
from runs.evaluate import evaluate
from runs.networks import load_networks
from runs.predictor import Predictor
from tests.runs.test_export import HEADS, NETWORKS, call, faces, model_of, saved


@pytest.fixture(scope="module")
def emma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an EMMA's run, with its weights in ``emma.safetensors``."""
    folder = tmp_path_factory.mktemp("emma")
    call(saved(folder, model_of("emma")), f"out={folder}/emma.safetensors", "to=safetensors")
    return folder


def test_weights_are_asked_as_their_checkpoint_is(emma: Path) -> None:
    images = [np.ascontiguousarray(faces(1, side)[0].transpose(1, 2, 0)) for side in (48, 20)]
    source, other = Predictor(emma / "run"), Predictor(emma / "emma.safetensors")
    assert (other.tasks, other.expressions) == (source.tasks, source.expressions)
    assert other.networks[0].described["learnt_from"] == {"data": "MadeUp", "renderer": None}
    expected, said = source.crops(images), other.crops(images)
    for task, values in expected.items():
        np.testing.assert_array_equal(said[task], values)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS[1:], *HEADS])
def test_every_kind_comes_back(name: str, tmp_path: Path) -> None:
    checkpoint = saved(tmp_path, HEADS.get(name) or model_of(name))
    call(checkpoint, f"out={tmp_path}/one.safetensors", "to=safetensors")
    first, other = load_module(checkpoint), load_module(tmp_path / "one.safetensors")
    assert type(first) is type(other)
    assert first.preprocessing == other.preprocessing
    assert first.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(one, other.state_dict()[key]) for key, one in first.state_dict().items())


@pytest.mark.slow
def test_scores_of_exports_are_those_of_their_checkpoint(emma: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    call(emma / "run", f"out={tmp_path}/emma.onnx")
    drawn = draw(tmp_path / "faces", "mtl", seed=1, train_videos=2, val_videos=2, frames_per_video=4, workers=1)
    tables = []
    for number, file in enumerate(
        (emma / "run/checkpoints/best.ckpt", tmp_path / "emma.onnx", emma / "emma.safetensors")
    ):
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            evaluate(compose("evaluate", [
                "data=affwild2_mtl", f"data.root={drawn}", f"checkpoint={file}", f"paths.run_dir={tmp_path}/{number}",
                "trainer=cpu", "data.num_workers=0", "report.faces=false", "split=val",
            ]))  # fmt: skip
        tables.append(read_table(tmp_path / f"{number}/predictions/val.parquet"))
    assert len(tables[0]) >= 8
    for table in tables[1:]:
        for task, values in tables[0].predictions.items():
            np.testing.assert_allclose(table.predictions[task], values, rtol=0, atol=1e-5)


def told(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


NETWORK = {"_target_": "emma.network.EMMA"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"made_by": None}, "was not written by export.py"),
        ({"network": None}, "was not written by export.py"),
        ({"module": None}, "is of an earlier version"),
        ({"module": "[" * 100_000}, "does not say what it is"),
        ({"module": "{"}, "does not say what it is"),
        ({"module": "[1]"}, "does not say what it is"),
        ({"learnt_from": "[1]"}, "learnt_from is damaged"),
        ({"preprocessing": "{}"}, "does not say what it is"),
        ({"preprocessing": json.dumps({"mean": [0], "std": [1], "image_size": 9, "interpolation": "x"})}, "choose one"),
        ({"module": json.dumps({"_target_": "os.system", "command": "true"})}, "cannot build"),
        ({"network": json.dumps({"_target_": "os.system", "command": "true"})}, "cannot build"),
        ({"network": json.dumps({**NETWORK, "image_size": "${oc.env:HOME}"})}, "another making"),
        ({"network": json.dumps(NETWORK)}, "holds another model|cannot build"),
        ({"network": "null"}, "cannot build"),
    ],
)  # fmt: skip
def test_hostile_metadata_end_in_a_message(
    emma: Path, tmp_path: Path, changes: Mapping[str, str | None], message: str
) -> None:
    metadata: dict[str, Any] = told(emma / "emma.safetensors") | changes
    path = tmp_path / "one.safetensors"
    kept = {name: value for name, value in metadata.items() if value is not None}
    save_file(load_file(emma / "emma.safetensors"), path, metadata=kept)
    with pytest.raises(UserError, match=message):
        load_networks([path])


def test_damaged_and_foreign_files_end_in_a_message(emma: Path, tmp_path: Path) -> None:
    whole, path = (emma / "emma.safetensors").read_bytes(), tmp_path / "one.safetensors"
    for content in (whole[:100], whole[: len(whole) // 2], b"", b"PK\3\4", b"\xff" * 200):
        path.write_bytes(content)
        with pytest.raises(UserError, match="not a readable safetensors file"):
            load_networks([path])
    state = load_file(emma / "emma.safetensors")
    name = next(iter(state))
    save_file({**state, name: state[name] * float("nan")}, path, metadata=told(emma / "emma.safetensors"))
    with pytest.raises(UserError, match="holds NaN"):
        load_networks([path])
    with pytest.raises(ConfigError, match="is an export already"):
        call(emma / "emma.safetensors", f"out={tmp_path}/out.onnx")
