"""What a run leaves in a dashboard, read back from its files."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from evaluators.names import MAIN
from evaluators.report import read_scores
from runs.building import build
from runs.config import CONFIG_DIR
from runs.dashboards import hyperparameters, one_rate_per_family
from runs.names import grouped, told
from runs.stored_config import stored_config
from runs.train import train

Compose = Callable[..., DictConfig]


def main_scores(folder: Path) -> dict[str, float]:
    return {name: value for name, value in read_scores(folder / "scores.json").items() if value and name in MAIN}


def test_tensorboard_opens_on_the_scores(compose_run: Compose, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(compose_run("logger=tensorboard", "trainer.log_every_n_steps=1"))
    folder = tmp_path / "run"
    events = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    scalars = sorted(tags["scalars"])
    assert scalars[:4] == ["Scores/P_MTL", "Scores/parts/P_AU", "Scores/parts/P_EXPR", "Scores/parts/P_VA"]
    rates = [tag for tag in scalars if tag.startswith("train_lr/")]
    assert rates == ["train_lr/Muon_head", "train_lr/Muon_layers", "train_lr/Muon_va_head"]
    assert not any(tag.startswith("lr") or tag == "epoch" for tag in scalars)
    for name, value in main_scores(folder).items():
        assert events.Scalars(f"final/{name}")[-1].value == pytest.approx(value, abs=1e-6)
    assert sorted(tags["images"]) == ["confusion", "faces"]
    shown = Image.open(io.BytesIO(events.Images("faces")[0].encoded_image_string)).convert("RGB")
    assert np.array_equal(shown, Image.open(folder / "faces.png").convert("RGB"))
    texts = {tag: events.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in tags["tensors"]}
    assert "image_size: 32" in texts["config.yaml/text_summary"]
    assert f"| P_MTL | {main_scores(folder)['P_MTL']:.4f} |" in texts["scores/text_summary"]
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert yaml.safe_load((folder / "tensorboard" / "hparams.yaml").read_text()) == config
    written = (folder / "tensorboard").glob("events.*")
    assert any(b"optimiser.base_lr" in path.read_bytes() for path in written)  # HPARAMS


def records(path: Path) -> Iterator[Any]:
    """The records of a Weights & Biases run: LevelDB's log, whose records are cut at blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        if at + 7 + length > len(data):
            return  # it is being written
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


@pytest.fixture
def hydras_overrides(tmp_path: Path) -> Iterator[None]:
    """A command line, as Hydra keeps it."""
    overrides = ["scale=tiny", "model.va_lr=0.01", "seed=3", f"paths.run_dir={tmp_path}", "trainer=cpu"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", overrides=overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    yield
    HydraConfig.instance().cfg = None


@pytest.mark.usefixtures("hydras_overrides")
def test_wandb_has_configuration_scores_and_pictures(
    compose_run: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    train(compose_run("logger=wandb"))
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    kinds: dict[str, list[Any]] = {}
    until = time.monotonic() + 60
    while "exit" not in kinds and time.monotonic() < until:  # a process of wandb's writes the file
        time.sleep(0.1)
        kinds = {}
        for record in records(file):
            kinds.setdefault(record.WhichOneof("record_type"), []).append(record)
    run = kinds["run"][0].run
    assert (run.display_name, run.run_group) == ("emma scale=tiny va_lr=0.01 seed=3", "emma scale=tiny va_lr=0.01")
    settings = {item.key for one in [run.config, *(r.config for r in kinds["config"])] for item in one.update}
    assert {"model", "data", "trainer", "seed"} <= settings
    summary: dict[str, str] = {}
    for record in kinds["summary"]:
        summary |= {item.key or "/".join(item.nested_key): item.value_json for item in record.summary.update}
    for name, value in main_scores(tmp_path / "run").items():
        assert float(summary[name]) == pytest.approx(value, abs=1e-6)
    media = sorted(path.name for path in folder.glob("files/media/images/*"))
    assert [name.split("_")[0] for name in media] == ["confusion", "faces"]
    printed = capfd.readouterr()
    told = [line for line in (printed.out + printed.err).splitlines() if "wandb:" in line]
    assert told == [f"wandb: wandb sync {folder}"]


@pytest.mark.slow
def test_mlflow_has_configuration_scores_and_pictures(
    compose_run: Compose, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracking = pytest.importorskip("mlflow.tracking", reason="the extra `mlflow` is not installed")
    for number in range(2):
        train(compose_run("logger=mlflow", f"paths.output_dir={tmp_path}/logs", f"paths.run_dir={tmp_path}/{number}"))
    client = tracking.MlflowClient(f"sqlite:///{tmp_path}/logs/mlflow.db")
    experiment = client.get_experiment_by_name("emma")
    (run, _) = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time"])
    assert (run.info.status, run.data.tags["group"]) == ("FINISHED", "emma")
    assert run.data.params["model/network/vit/width"] == "32"
    scores = main_scores(tmp_path / "0")
    for name, value in scores.items():
        assert run.data.metrics[name] == pytest.approx(value, abs=1e-6)
    assert f"| P_MTL | {scores['P_MTL']:.4f} |" in run.data.tags["mlflow.note.content"]
    assert len(client.get_metric_history(run.info.run_id, "val/P_MTL")) == 2
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["confusion.png", "faces.png"]
    printed = capfd.readouterr()
    assert "mlflow" not in printed.err.lower() + printed.out.replace(str(tmp_path), "").lower()
    resumed = stored_config([f"ckpt_path={tmp_path}/0", f"paths.output_dir={tmp_path}/other"])
    assert resumed is not None
    assert resumed[0].logger.save_dir == f"{tmp_path}/other"


def test_without_the_extra_mlflow_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE", False)
    node = {"_target_": "runs.dashboards.MLflow", "save_dir": str(tmp_path), "experiment_name": "x"}
    with pytest.raises(ModuleNotFoundError):
        build(node, "logger")


def test_a_family_of_parameters_has_one_rate() -> None:
    logged = {f"lr-AdamW/{name}": rate for rate, name in enumerate(
        ["layer0_no_decay", "layer0", "layer1", "layer2_no_decay", "head", "head_no_decay"])}  # fmt: skip
    assert one_rate_per_family({"train/loss": 0.5, **logged}) == {
        "train/loss": 0.5, "lr-AdamW/layers": 3, "lr-AdamW/head": 5,
    }  # fmt: skip
    assert one_rate_per_family({"lr-Adam": 1.0}) == {"lr-Adam": 1.0}
    views = {f"lr-AdamW/view{view}_{name}": view for view in (1, 2) for name in ("layer0", "layer1", "head")}
    assert list(one_rate_per_family(views)) == [
        f"lr-AdamW/view{view}_{name}" for view in (1, 2) for name in ("layers", "head")
    ]


def test_a_run_is_called_after_what_was_changed() -> None:
    given = [
        "experiment=emma", "data=affwild2_mtl", "data.root=/x", "+data.num_workers=4", "data.batch_size=8", "seed=1",
        "model.network.dan.weights='logs/a b/dan.pth'", "trainer.accelerator=cpu", "trainer.max_epochs=3",
        "logger=wandb", "logger.project=x", "callbacks.progress=null", "paths.run_dir=/y", "scores=all",
    ]  # fmt: skip
    assert told("emma", given) == "emma batch_size=8 seed=1 weights=dan.pth max_epochs=3"
    assert told("emma", given, "seed") == "emma batch_size=8 weights=dan.pth max_epochs=3"
    assert len(told("emma", [f"model.key{number}=1" for number in range(99)])) <= 120


def test_the_group_of_a_sweep_is_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = ["model.va_lr=0.01", "seed=3"]

    def group(folder: str) -> str:
        hydra = OmegaConf.create({"hydra": {"sweep": {"dir": folder}, "overrides": {"task": given}}})
        monkeypatch.setattr(HydraConfig.instance(), "cfg", hydra)
        return grouped("emma", str(tmp_path / "logs"))

    assert group(".") == "emma va_lr=0.01"
    assert group(str(tmp_path / "logs" / "folds" / "emma")) == "folds/emma"
    assert group(str(tmp_path / "elsewhere" / "x")) == "x"
    assert group(str(tmp_path / "logs")) == "logs"
    assert len(group(str(tmp_path / "logs" / ("x" * 200)))) == 120
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert grouped("emma", "logs") == "emma"


def test_hyper_parameters_are_numbers_and_words(compose_run: Compose) -> None:
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(compose_run(), resolve=True, throw_on_missing=False)
    chosen = hyperparameters(plain)
    assert chosen["experiment"] == "emma"
    assert chosen["optimiser.base_lr"] == plain["model"]["optimiser"]["base_lr"]
    assert chosen["va_lr"] == plain["model"]["va_lr"]
    assert chosen["epochs"] == 2
    assert all(np.isscalar(value) for value in chosen.values())
