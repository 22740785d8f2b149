"""Models as version 3aa692f stored them, with an option a key, and the keys that its users type."""

from __future__ import annotations

from typing import Any

import pytest

from affect.errors import ConfigError
from runs.building import check_targets
from runs.config import check_command_line
from runs.earlier import GATHERED, upgraded

ADAM, ADAMW = "training.optimisation.Adam", "training.optimisation.AdamW"
LOSS = "losses.multitask.MultiTaskLoss"
SCHEDULE = {"weight_decay": 0.1, "min_lr": 1e-6, "warmup_epochs": 1}
STEPS = {"batch_size": 128, "epochs": 6}
EMMA_LOSS = {"au_pos_weight": "train", "expression_weight": "train", "au_reduction": "sum_batch"}
EMMA_LOSS |= {"reference_ccc": True, "label_smoothing": 0.2}

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "emma.module.EMMAModule": (
        {"base_lr": 1e-3, "layer_decay": 0.7, "va_lr": 2e-3, **SCHEDULE, **STEPS, **EMMA_LOSS, "compile": False},
        {
            "optimiser": {"_target_": ADAMW, "base_lr": 1e-3, "layer_decay": 0.7, **SCHEDULE},
            "loss": {"_target_": LOSS, **EMMA_LOSS},
            "va_lr": 2e-3,
            "compile": False,
        },
    ),
    "baseline.module.BaselineModule": (
        {"base_lr": 1e-3, "layer_decay": 0.7, **SCHEDULE, **STEPS, **EMMA_LOSS},
        {
            "optimiser": {"_target_": ADAMW, "base_lr": 1e-3, "layer_decay": 0.7, **SCHEDULE},
            "loss": {"_target_": LOSS, **EMMA_LOSS},
        },
    ),
    "cotex.module.CoTEXModule": (
        {"mask_ratio": 0.5, "lr": 1e-3, "scale_lr": False, "layer_decay": 0.7, **SCHEDULE, **STEPS, "seed": 3},
        {
            "mask_ratio": 0.5,
            "optimiser": {"_target_": ADAMW, "base_lr": 1e-3, "scale_lr": False, "layer_decay": 0.7, **SCHEDULE},
            "seed": 3,
        },
    ),
    "mae.module.MAEModule": (
        {"mask_ratio": 0.5, "base_lr": 1e-3, **SCHEDULE, **STEPS},
        {"mask_ratio": 0.5, "optimiser": {"_target_": ADAMW, "base_lr": 1e-3, **SCHEDULE, "beta2": 0.95}},
    ),
    "dan.module.DANModule": (
        {"lr": 1e-3, "lr_decay": 0.7, "affinity_weight": 0.0},
        {"optimiser": {"_target_": ADAM, "lr": 1e-3, "lr_decay": 0.7}, "affinity_weight": 0.0},
    ),
    "emotieffnet.module.EmotiEffNetModule": (
        {"lr": 1e-3, "head_lr": 1e-2, "head_epochs": 2, "sam_rho": None, "expression_weight": "train"},
        {
            "optimiser": {"_target_": ADAM, "lr": 1e-3, "sam_rho": None},
            "head_lr": 1e-2,
            "head_epochs": 2,
            "loss": {"_target_": LOSS, "expression_weight": "train", "va_weight": 0.5},
        },
    ),
    "emotieffnet.finetune.FineTuneModule": (
        {"lr": 1e-3, "sam_rho": 0.05, "expression_weight": "train", "label_smoothing": 0.2, "compile": False},
        {
            "_target_": "training.multitask.MultiTaskModule",
            "optimiser": {"_target_": ADAM, "lr": 1e-3, "sam_rho": 0.05},
            "loss": {
                "_target_": LOSS,
                "expression_weight": "train",
                "expression_reduction": "mean_valid",
                "label_smoothing": 0.2,
            },
            "keep_logits": True,
            "compile": False,
        },
    ),
    "emotieffnet.head_module.HeadModule": (
        {
            "lr": 1e-3,
            "l2": {"expression": 0.1},
            "expression_weight": "train",
            "expression_reduction": "mean_weight",
            "au_weight": "train",
        },
        {
            "_target_": "heads.module.HeadModule",
            "optimiser": {"_target_": ADAM, "lr": 1e-3, "eps": 1e-7},
            "loss": {
                "_target_": LOSS,
                "expression_weight": "relative",
                "expression_reduction": "mean_weight",
                "au_pos_weight": "balanced",
                "va_weight": 0.5,
            },
            "l2": {"expression": 0.1},
        },
    ),
}


@pytest.mark.parametrize("target", MODELS)
def test_single_options_are_gathered_into_objects(target: str) -> None:
    options, expected = MODELS[target]
    made = upgraded({"_target_": target, **options})
    assert made == {"_target_": target, **expected}
    check_targets(made, "model")  # and the classes take every key, and every value
    assert upgraded(made) == made


def test_the_table_stays_as_it_is() -> None:
    """Or what one model stored would be found in the next."""
    upgraded({"_target_": "dan.module.DANModule", "lr": 7.0})
    assert upgraded({"_target_": "dan.module.DANModule"})["optimiser"] == {"_target_": ADAM}
    assert GATHERED["dan.module.DANModule"].fixed == {"optimiser": {"_target_": ADAM}}


@pytest.mark.parametrize("value", [[1], {"a": 1}, None])
def test_values_of_another_making_are_left_to_the_checks(value: object) -> None:
    made = upgraded({"_target_": "heads.module.HeadModule", "expression_weight": value})
    assert made["loss"]["expression_weight"] == value


@pytest.mark.parametrize(
    ("experiment", "old", "new"),
    [
        ("emma", "model.base_lr=1e-3", "model.optimiser.base_lr"),
        ("emma", "+model.layer_decay=0.7", "model.optimiser.layer_decay"),
        ("emma", "model.batch_size=16", "data.batch_size"),
        ("emma", "model.epochs=3", "trainer.max_epochs"),
        ("baseline", "model.au_pos_weight=train", "model.loss.au_pos_weight"),
        ("cotex", "model.lr=1e-3", "model.optimiser.base_lr"),
        ("dan", "model.lr=1e-3", "model.optimiser.lr"),
        ("mae", "model.warmup_epochs=1", "model.optimiser.warmup_epochs"),
        ("emotieffnet_finetune", "model.sam_rho=0.1", "model.optimiser.sam_rho"),
        ("heads_va", "model.au_weight=train", "model.loss.au_pos_weight now, and its value train is balanced"),
    ],
)
def test_an_old_key_of_the_command_line_ends_in_the_new_one(experiment: str, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_command_line("train", [f"experiment={experiment}", old])
    key = old.partition("=")[0].lstrip("+")
    assert f"1 error in the command line:\n  - unknown key '{key}'; it is {new}" in str(caught.value)
