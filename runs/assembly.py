"""From a checked configuration to the objects of a run: data, module, trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, LambdaCallback, ProgressBar
from pytorch_lightning.loggers import Logger

from affect.errors import ConfigError, UserError
from affect.preprocessing import Preprocessing
from runs.building import build, without_weights
from runs.callbacks import MetricsFile, SeedEpochs, Throughput
from runs.checkpoints import WholeCheckpoints
from runs.dashboards import Describing
from runs.limits import ValidatedEnd
from runs.ranks import TIMEOUT_S, Ranks
from runs.resuming import Resuming
from training.module import TrainedModule

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule


_CALLBACKS: Final = {"progress": {"_target_": "runs.progress.Progress"}}
# of every training: logged as often as the schedule changes it
_RATES: Final = {"learning_rate": {"_target_": "pytorch_lightning.callbacks.LearningRateMonitor"}}


def build_module(model: dict[str, Any], *, initialise: bool = True) -> TrainedModule:
    """Build the method's module and keep in it what rebuilds it from a checkpoint.

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


def build_data(
    plain: Mapping[str, Any], preprocessing: Preprocessing, expressions: Sequence[str] | None = None
) -> FaceDataModule:
    """Build the datamodule in the preprocessing that the weights want; draw the faces where asked to.

    Args:
        plain: the configuration: ``data``; ``render``, which makes the files that the datamodule reads;
            ``augmentation``, of a training, and ``seed``, of it and of the order.
        preprocessing: image size and interpolation.
        expressions: the expression classes of the model; None where it takes any data.

    Raises:
        ConfigError: values of the augmentation that do not go together, or other expression classes than the model's.
    """
    data = dict(plain["data"])
    if plain.get("render") is not None:
        data["root"] = str(build(plain["render"], "render", cache=Path(data["root"])))
    common = {
        "image_size": preprocessing.image_size,
        "interpolation": preprocessing.interpolation,
        "seed": plain.get("seed", 0),
    }
    augmentation = plain.get("augmentation")
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
    plain: Mapping[str, Any],
    folder: Path,
    *,
    on_step: Callable[[], None] | None = None,
    watched_by: Sequence[Callback] = (),
) -> pl.Trainer:
    """Build the Trainer, whose files all go to the run folder.

    Args:
        plain: the configuration: ``trainer``; ``timeout_s``, seconds that its processes wait for one that makes no
            progress; of a training ``callbacks`` (null ones are left out), ``logger`` and ``seed``, too. What is no
            training shows its progress.
        folder: of the run; must exist.
        on_step: of a training: called after each batch.
        watched_by: callbacks beside those of the configuration.
    """
    loggers: list[Logger] = [MetricsFile(folder)]
    if plain.get("logger"):
        with _told("logger"):
            loggers.append(build(plain["logger"], "logger"))
    made: list[Callback] = [
        Ranks(folder, plain.get("timeout_s", TIMEOUT_S)),
        SeedEpochs(plain.get("seed", 0)),
        Throughput(),
        Resuming(),
        Describing(dict(plain)),
        *watched_by,
    ]
    given = {**_RATES, **plain["callbacks"]} if "callbacks" in plain else _CALLBACKS
    nodes = [(name, node) for name, node in given.items() if node]
    # last.ckpt must be written after the others, or what it knows of them would be an epoch old
    for name, node in sorted(nodes, key=lambda item: item[1].get("filename") == "last"):
        is_checkpoint = node["_target_"] == "pytorch_lightning.callbacks.ModelCheckpoint"
        place: dict[str, Any] = {}
        if is_checkpoint:  # a name is replaced, not counted up: the folder is of one run
            place = {"dirpath": folder / "checkpoints", "enable_version_counter": False}
        with _told(f"callbacks.{name}"):
            made.append(build(node, "callbacks", **place))
    with _told("trainer"):
        trainer: pl.Trainer = build(
            plain["trainer"],
            "trainer",
            default_root_dir=folder,
            logger=loggers,
            callbacks=made,
            plugins=[WholeCheckpoints()],
            enable_progress_bar=any(isinstance(one, ProgressBar) for one in made),  # without one of ours, none
            enable_model_summary=False,
            num_sanity_val_steps=0,  # lists and settings are checked before
            # the datamodules shard by themselves: Lightning's sampler would score the padding twice
            use_distributed_sampler=False,
        )
    if on_step is not None:  # after Lightning's own callbacks: max_time is one of them
        ends = [ValidatedEnd(), LambdaCallback(on_train_batch_end=lambda *_: on_step())]
        trainer.callbacks += ends  # type: ignore[attr-defined]
    return trainer


@contextmanager
def _told(node: str) -> Iterator[None]:
    """Turn what a class says of its settings into a configuration error; what is said of files is a ``UserError``."""
    try:
        yield
    except UserError:
        raise
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        raise ConfigError([f"{node}: {error}"]) from error
