"""The presets of ``head=``: published values, small sizes, and how a configuration is composed of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from affect.errors import ConfigError
from affect.labels import TASKS
from heads.temporal.choices import HEADS, settings
from runs.building import build, target_errors
from runs.config import CONFIG_DIR, check_command_line
from tests.features.windows import INFO, write_store

PUBLISHED = {  # ../shared/temporal.md: rate, decay, window, hop, batch, epochs
    "transformer": (1e-4, 0.01, 400, 150, 8, 100),
    "tcn_transformer": (3e-5, 1e-5, 300, 200, 32, 40),
    "bigru": (1e-3, 1e-4, 64, 32, 32, 25),
    "gru": (1e-3, 1e-4, 64, 32, 32, 25),
    "tcn": (3e-5, 1e-5, 300, 200, 32, 40),
}


@pytest.mark.parametrize("head", HEADS)
def test_paper_is_as_published(head: str) -> None:
    node = settings(HEADS[head], "paper")
    optimiser, data = node["model"]["optimiser"], node["data"]
    assert (
        optimiser["base_lr"], optimiser["weight_decay"], data["window"], data["hop"], data["batch_size"],
        node["trainer"]["max_epochs"],
    ) == PUBLISHED[head]  # fmt: skip
    assert (optimiser["scale_lr"], optimiser["min_lr"]) == (False, 0.0)
    assert data.get("fill") == ("previous" if HEADS[head].causal else None)
    assert data.get("max_frames") == (4096 if head in ("bigru", "gru", "tcn") else None)  # in one pass


def test_what_only_some_have() -> None:
    nodes = {name: settings(head, "paper") for name, head in HEADS.items()}
    stops = {name: node["callbacks"]["stop"]["patience"] for name, node in nodes.items() if node["callbacks"]}
    assert stops == {"transformer": 15}
    plateaus = {name: node["model"]["optimiser"].get("plateau") for name, node in nodes.items()}
    assert plateaus == {**dict.fromkeys(HEADS), "transformer": 5}
    assert {name: node["warmup_epochs"] for name, node in nodes.items() if node["warmup_epochs"]} == {
        "tcn_transformer": 2,
        "tcn": 2,
    }


@pytest.mark.parametrize("scale", ["paper", "tiny"])
@pytest.mark.parametrize("head", HEADS)
def test_presets_build(head: str, scale: str) -> None:
    node = settings(HEADS[head], scale)
    stores = [{"sha256": "x", "embedding": 64, "outputs": []}]
    model: Any = {"_target_": "heads.temporal.module.TemporalModule", **node["model"]}
    model["network"] = {**model["network"], "features": stores, "tasks": list(TASKS)}
    model["optimiser"] = {**model["optimiser"], "warmup_epochs": node["warmup_epochs"]}
    assert list(target_errors({"model": model, "callbacks": node["callbacks"]})) == []
    module = build(model, "model")
    assert module.network.causal == HEADS[head].causal
    (group,) = module.parameter_groups(1.0)
    assert group["weight_decay"] == model["optimiser"]["weight_decay"]
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in group["params"])
    parameters = sum(p.numel() for p in module.network.parameters())
    assert (5_000 < parameters < 200_000) == (scale == "tiny"), parameters


def test_a_command_line_is_composed(tmp_path: Path) -> None:
    given = ["experiment=temporal", f"data.store={write_store(tmp_path / 'store', {}, INFO)}", "head=tcn",
             "data.labels.root=/nowhere", "data.labels.task=va", "scale=tiny", "debug=fast"]  # fmt: skip
    check_command_line("train", given)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("train", overrides=given)
    plain: Any = OmegaConf.to_container(config.model, resolve=True)
    assert plain["network"]["_target_"] == HEADS["tcn"].target
    assert plain["network"]["channels"] == [32, 32, 32]
    assert plain["network"]["tasks"] == ["valence_arousal"]
    assert plain["optimiser"]["warmup_epochs"] == 0  # debug=fast takes it away
    assert (config.data.window, config.data.fill, config.data.max_frames) == (64, "previous", 4096)
    with pytest.raises(ConfigError, match="head=grus: no such option; did you mean gru"):
        check_command_line("train", ["experiment=temporal", "head=grus"])
