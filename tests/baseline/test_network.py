"""The baselines: every row of the tables builds, frozen is frozen, tasks and classes are what was asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from hydra import compose, initialize_config_dir

from affect.errors import ConfigError, WeightsError
from affect.labels import LSD_EXPRESSIONS
from backbones.choices import BACKBONES
from baseline.module import BaselineModule
from baseline.network import Baseline
from losses.multitask import MultiTaskLoss
from runs.assembly import build_module
from runs.config import CONFIG_DIR, resolve
from tests.conftest import small
from training.optimisation import AdamW

ROWS = sorted(name for name, row in BACKBONES.items() if row.name != "???")


def make(backbone: str = "resnet10t", **options) -> Baseline:
    torch.manual_seed(0)
    return Baseline(backbone, **{"image_size": 32, "weights": None, **options})


def composed(*overrides: str):
    given = ["data=affwild2_mtl", "data.root=.", *small("baseline"), *overrides]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=given)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_builds_and_predicts(row: str) -> None:
    module = build_module(resolve(composed(f"backbone={row}"))["model"]).eval()
    size = module.preprocessing.image_size
    with torch.no_grad():
        output = module.network(torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8))
    assert [tuple(part.shape) for part in output] == [(1, 8), (1, 12), (1, 2)]


@pytest.mark.parametrize("row", ROWS)
def test_at_the_papers_size_every_row_names_its_weights_or_asks_for_them(row: str) -> None:
    given = [f"backbone={row}", "scale=paper"]
    if BACKBONES[row].weights == "???":
        with pytest.raises(ConfigError, match=r"model\.network\.weights is not set"):
            resolve(composed(*given))
    else:
        weights = resolve(composed(*given))["model"]["network"]["weights"]
        name = weights.removeprefix("timm:")
        assert weights == name or timm.is_model_pretrained(name)


def test_a_frozen_backbone_stays_as_it_is() -> None:
    network = make(frozen=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1.0)
    sum(part.sum() for part in network(torch.randint(0, 256, (4, 3, 32, 32)))).backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}


def test_a_fine_tuned_one_is_trained_as_a_whole() -> None:
    network = make().train()
    sum(part.sum() for part in network(torch.randint(0, 256, (4, 3, 32, 32)))).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_tasks_and_classes() -> None:
    output = make(tasks=["expression"], expressions="lsd")(torch.zeros(2, 3, 32, 32))
    assert output.expression.shape == (2, 6)
    assert output.action_units is output.valence_arousal is None
    network = make(tasks=["expression"], expressions="lsd")
    assert BaselineModule(network, MultiTaskLoss(), AdamW()).expressions == LSD_EXPRESSIONS
    for tasks in ([], ["age"]):
        with pytest.raises(ValueError, match="Baseline tasks="):
            make(tasks=tasks)


def test_weights_of_a_file_and_their_preprocessing(tmp_path: Path) -> None:
    source = timm.create_model("resnet10t", num_classes=7)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "faces.pth")
    network = make(weights=str(tmp_path / "faces.pth"), mean=[0.1, 0.2, 0.3], std=[1.0, 1.0, 1.0])
    own = network.backbone.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in source.state_dict().items() if name in own)
    assert network.preprocessing.mean == (0.1, 0.2, 0.3)
    assert network.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    with pytest.raises(WeightsError, match="missing"):
        make("resnet14t", weights=str(tmp_path / "faces.pth"))


def test_rates_fall_layer_by_layer_and_every_tensor_has_one() -> None:
    optimiser = AdamW(base_lr=1e-3, layer_decay=0.5, warmup_epochs=0)
    module = BaselineModule(make(), MultiTaskLoss(), optimiser)

    class Trainer:
        accumulate_grad_batches, world_size, estimated_stepping_batches, max_epochs = 1, 1, 10, 2
        datamodule = SimpleNamespace(batch_size=256)

    module._trainer = Trainer()
    groups = module.configure_optimizers()["optimizer"].param_groups
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.network.parameters())
    rate = {id(p): group["initial_lr"] for group in groups for p in group["params"]}
    first, last = next(module.network.backbone.parameters()), module.network.head.weight
    assert rate[id(last)] == 1e-3
    assert rate[id(first)] < 1e-3 * 0.5**3


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(WeightsError, match="backbone 'resnet51': timm has no such model"):
        make("resnet51")
