"""From a checked configuration to the objects of a run: data, module, trainer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger

from affect.errors import ConfigError, UserError
from affect.preprocessing import Preprocessing
from runs.building import build
from runs.callbacks import MetricsFile, PredictionParts, SeedEpochs, Throughput
from runs.checkpoints import WholeCheckpoints
from runs.ranks import TIMEOUT_S, Ranks
from runs.resuming import Resuming
from runs.stored_config import without_weights
from training.module import TrainedModule

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule


# Lightning advertises its own services at every start
logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(lambda record: "💡" not in record.getMessage())


def build_module(model: dict[str, Any], *, initialise: bool = True) -> TrainedModule:
    """Builds the method's module and keeps in it what rebuilds it from a checkpoint.

    Args:
        model: the node ``model``.
        initialise: load the weights that it names; False where a checkpoint brings them.

    Raises:
        ConfigError: values that do not go together.
    """
    bare = without_weights(model)
    with _told("model"):
        module: TrainedModule = build(model if initialise else bare, "model")
    module.model_config = bare
    return module


def absolute_data(data: dict[str, Any]) -> dict[str, Any]:
    """The node ``data`` with absolute roots, so that a run folder's configuration holds from any folder."""
    made: dict[str, Any] = {
        key: absolute_data(value) if isinstance(value, dict) else value for key, value in data.items()
    }
    return made | {key: _absolute(made[key]) for key in ("root", "store") if key in made}


def _absolute(place: str | Sequence[str]) -> str | list[str]:
    if isinstance(place, str):
        return str(Path(place).expanduser().absolute())
    return [str(Path(one).expanduser().absolute()) for one in place]


def build_data(
    data: Mapping[str, Any],
    render: Mapping[str, Any] | None,
    preprocessing: Preprocessing,
    expressions: Sequence[str] | None,
    *,
    augmentation: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> FaceDataModule:
    """Builds the datamodule in the preprocessing that the weights want; draws the faces where asked to.

    Args:
        data: the node ``data``.
        render: the node ``render``, which makes the files that the datamodule reads, or nothing.
        preprocessing: image size and interpolation.
        expressions: the expression classes of the model; None where it takes any data.
        augmentation: the node ``augmentation``; empty or None where nothing is drawn, or nothing trained.
        seed: of augmentation and order.

    Raises:
        ConfigError: values of the augmentation that do not go together, or other expression classes than the model's.
    """
    data = dict(data)
    if render is not None:
        data["root"] = str(build(render, "render", cache=Path(data["root"])))
    common = {"image_size": preprocessing.image_size, "interpolation": preprocessing.interpolation, "seed": seed}
    with _told("augmentation"):
        made = build(augmentation, "augmentation", **common) if augmentation else None
    datamodule: FaceDataModule = build(data, "data", augmentation=made, **common)
    if expressions is not None and tuple(datamodule.expressions) != tuple(expressions):
        raise ConfigError(
            [
                f"data has the expression classes {', '.join(datamodule.expressions)}, but the model has "
                f"{', '.join(expressions)}: choose data that fits the experiment"
            ]
        )
    return datamodule


def build_trainer(
    trainer: Mapping[str, Any],
    run_folder: Path,
    *,
    seed: int = 0,
    callbacks: Mapping[str, Mapping[str, Any]] | None = None,
    logger: Mapping[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
    **extra: Any,
) -> pl.Trainer:
    """Builds the Trainer, whose files all go to the run folder.

    Args:
        trainer: the node ``trainer``.
        run_folder: must exist.
        seed: of the run.
        callbacks: the nodes under ``callbacks``; null ones are left out.
        logger: the node ``logger``, or nothing.
        timeout_s: seconds that its processes wait for one that makes no progress.
        extra: further arguments of the Trainer.
    """
    loggers: list[Logger] = [MetricsFile(run_folder)]
    if logger:
        with _told("logger"):
            loggers.append(build(logger, "logger"))
    made: list[Callback] = [
        Ranks(run_folder, timeout_s),
        PredictionParts(run_folder / "predictions"),
        SeedEpochs(seed),
        Throughput(),
        Resuming(),
    ]
    nodes = [(name, node) for name, node in (callbacks or {}).items() if node]
    # last.ckpt must be written after the others, or what it knows of them would be an epoch old
    for name, node in sorted(nodes, key=lambda item: item[1].get("filename") == "last"):
        is_checkpoint = node["_target_"] == "pytorch_lightning.callbacks.ModelCheckpoint"
        place: dict[str, Any] = {"dirpath": run_folder / "checkpoints"} if is_checkpoint else {}
        with _told(f"callbacks.{name}"):
            made.append(build(node, "callbacks", **place))
    with _told("trainer"):
        built: pl.Trainer = build(
            trainer,
            "trainer",
            default_root_dir=run_folder,
            logger=loggers,
            callbacks=made,
            plugins=[WholeCheckpoints()],
            # the datamodules shard by themselves: Lightning's sampler would score the padding twice
            use_distributed_sampler=False,
            **extra,
        )
    return built


@contextmanager
def _told(node: str) -> Iterator[None]:
    """Makes what a class says of its settings a configuration error; what is said of files is a ``UserError``."""
    try:
        yield
    except UserError:
        raise
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        raise ConfigError([f"{node}: {error}"]) from error
