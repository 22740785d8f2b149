"""Rendered faces and small runs that several tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from rendering.cache import draw as draw_faces
from runs.building import PACKAGES
from runs.config import CONFIG_DIR
from runs.quiet import WARNINGS

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest-xdist already uses both cores

_VIT = ("image_size=32", "width=32", "depth=2", "heads=2")
_SMALLER: Final = {
    "emma": (*(f"vit.{one}" for one in _VIT), "dan.width=8"),
    "dan": ("image_size=32", "width=8"),  # oneDNN (torch 2.14, AVX2) crashes if channels are no multiple of 8
    "cotex": _VIT,
    "mae": _VIT,
    "emotionnet": ("image_size=32", "width_divisor=16"),
    "emotieffnet_backbone": ("image_size=32",),
    "emotieffnet_finetune": ("image_size=32",),
}
"""What a network's own options add."""


def small(experiment: str) -> list[str]:
    """Overrides that make a run of an experiment a matter of seconds."""
    unweighted = ("au_pos_weight", "expression_weight") if experiment in ("emma", "emotionnet", "baseline") else ()
    return [
        *(f"experiment={experiment}", "scale=tiny", "trainer=cpu", "trainer.precision=32-true", "data.batch_size=16"),
        *("trainer.max_epochs=2", "callbacks.progress=null"),
        *(f"model.network.{one}" for one in _SMALLER.get(experiment, ())),
        *(f"model.loss.{key}=none" for key in unweighted),
    ]


SMALL = small("emma")


def raising(error: BaseException) -> Callable[[], object]:
    """Return how a made-up training ends: it raises this."""

    def end() -> object:
        raise error

    return end


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the warnings that a run leaves out, and no others."""
    for message in WARNINGS:
        config.addinivalue_line("filterwarnings", f"ignore:{message}")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """Give loggers their levels back, which a test that stands for another process than the first has raised."""
    loggers = [logging.getLogger(package) for package in PACKAGES]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered s-Aff-Wild2 folder, with an odd number of validation rows."""
    root = tmp_path_factory.mktemp("faces") / "mtl"
    return draw_faces(root, "mtl", seed=1, train_videos=6, val_videos=3, frames_per_video=11, workers=1)


@pytest.fixture(scope="session")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered AffectNet class folders."""
    return draw_faces(
        tmp_path_factory.mktemp("faces") / "affectnet", "affectnet", seed=1, train_faces=48, val_faces=16, workers=1
    )


@pytest.fixture
def compose_run(faces: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Composes a small run of train.py on the rendered faces, in ``tmp_path/run``."""

    def compose_(*overrides: str) -> DictConfig:
        common = ["data=affwild2_mtl", f"data.root={faces}", *SMALL, f"paths.run_dir={tmp_path}/run"]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose("train", overrides=[*common, *overrides])

    return compose_
