"""What dashboards get beside the curves: the configuration at the start, the final scores and pictures at the end."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import yaml
from numpy.typing import NDArray
from PIL import Image
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from affect.frames import Frames
from affect.settings import buildable
from evaluators.faces import FILE as FACES
from evaluators.figures import confusion_picture
from evaluators.names import MAIN, Scores
from evaluators.report import confusion_of, read_scores
from evaluators.table import read_table
from runs.slurm import is_first_process


class Dashboard(Logger):
    """A logger that shows a run: it has one learning rate for each family of parameters, ours are up to twenty."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log what is ``shown``."""
        super().log_metrics(self.shown(metrics), step)  # type: ignore[safe-super]

    def shown(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the values that are shown, by the names under which they are."""
        return one_rate_per_family(metrics)

    def describe(self, config: dict[str, Any]) -> None:
        """Show the resolved configuration."""
        self.log_hyperparams(config)

    def show(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Show a picture, (height, width, 3)."""
        raise NotImplementedError

    def conclude(self, scores: Mapping[str, float], config: dict[str, Any]) -> None:
        """Show the final scores, under the names of scores.json."""
        raise NotImplementedError


@buildable("logger")
class TensorBoard(Dashboard, TensorBoardLogger):
    """TensorBoard, whose first page begins with the scores; its tags are sorted by their names."""

    def shown(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the values by tags whose alphabetical order is that in which they are looked at."""
        values = super().shown(metrics)
        return {tag: value for name, value in values.items() if (tag := _tag(name, values))}

    def describe(self, config: dict[str, Any]) -> None:
        """Show the configuration as text; ``hparams.yaml`` has it, too."""
        self.hparams.update(config)
        text = yaml.safe_dump(config, sort_keys=False)
        self.experiment.add_text("config.yaml", "".join(f"    {line}\n" for line in text.splitlines()))

    def show(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Show a picture."""
        self.experiment.add_image(name, picture, step, dataformats="HWC")

    def conclude(self, scores: Mapping[str, float], config: dict[str, Any]) -> None:
        """Show the scores as text, and the main ones beside the hyper-parameters (HPARAMS)."""
        self.experiment.add_text("scores", _markdown(scores))
        self.log_hyperparams(hyperparameters(config), {f"final/{name}": value for name, value in _main(scores).items()})
        self.experiment.flush()


@buildable("logger")
class WandB(Dashboard, WandbLogger):
    """Weights & Biases, without its own lines in the terminal.

    Args:
        offline: keep the run in its folder; ``wandb sync`` uploads it later.
        **options: keywords of ``WandbLogger`` and ``wandb.init``.
    """

    def __init__(self, offline: bool = True, **options: Any) -> None:
        super().__init__(offline=offline, **options)
        del self._wandb_init["anonymous"]  # without effect, and wandb warns of it
        self._wandb_init.setdefault("settings", {"silent": True} if offline else {"quiet": True})

    def show(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Show a picture."""
        self.log_image(name, [picture], step)

    def conclude(self, scores: Mapping[str, float], config: dict[str, Any]) -> None:
        """Put the scores into the run's summary."""
        self.experiment.summary.update(dict(scores))
        if self._offline:
            print(f"wandb: wandb sync {Path(self.experiment.dir).parent}")


@buildable("logger")
class MLflow(Dashboard, MLFlowLogger):
    """MLflow in a local SQLite file, ``mlflow.db``, that all runs share; pictures are in ``mlflow/`` beside it.

    Args:
        save_dir: folder of both.
        experiment_name: to which the run belongs.
        run_name: of the run.
        group: of runs, by which the pages can group them: the tag ``group``.
    """

    def __init__(
        self, save_dir: str, experiment_name: str, run_name: str | None = None, group: str | None = None
    ) -> None:
        folder = Path(save_dir).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        # the other processes log nothing: they must not create the tables at the same time
        store = folder / "mlflow.db" if is_first_process() else ":memory:"
        pictures = (folder / "mlflow").as_uri()
        tags = None if group is None else {"group": group}
        super().__init__(experiment_name, run_name, f"sqlite:///{store}", tags, artifact_location=pictures)

    def show(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Keep a picture among the run's artifacts."""
        self.experiment.log_image(self.run_id, picture, artifact_file=f"{name}.png")

    def conclude(self, scores: Mapping[str, float], config: dict[str, Any]) -> None:
        """Log the scores as metrics; the main ones stand in the run's description, too."""
        self.log_metrics(scores)
        self.experiment.set_tag(self.run_id, "mlflow.note.content", _markdown(_main(scores)))


class Describing(Callback):
    """Show the configuration in the dashboards that a run has when its training starts.

    Args:
        config: resolved.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for dashboard in _dashboards(trainer) if stage == "fit" else []:
            dashboard.describe(self.config)


def conclude(trainer: pl.Trainer, config: dict[str, Any], folder: Path, frames: Frames) -> None:
    """Show the final scores and the pictures of a run in its dashboards: the confusion of expressions, faces.

    Args:
        trainer: of the training.
        config: resolved.
        folder: of the run, which has its result.
        frames: of the validation split.
    """
    dashboards = _dashboards(trainer)
    if not dashboards:
        return
    scores: Scores = read_scores(folder / "scores.json")
    pictures = _pictures(folder, frames)
    for dashboard in dashboards:
        for name, picture in pictures.items():
            dashboard.show(name, picture, trainer.global_step)
        dashboard.conclude({name: value for name, value in scores.items() if value is not None}, config)


def _dashboards(trainer: pl.Trainer) -> list[Dashboard]:
    return [one for one in trainer.loggers if isinstance(one, Dashboard)] if trainer.is_global_zero else []


def _pictures(folder: Path, frames: Frames) -> dict[str, NDArray[np.uint8]]:
    """Return the pictures of a run by their names."""
    files = {}
    if (folder / FACES).is_file():
        files["faces"] = (folder / FACES).read_bytes()
    made = [folder / "predictions" / name for name in ("val-postprocessed.parquet", "val.parquet")]
    table = next((read_table(path) for path in made if path.is_file()), None)
    if table is not None and "expression" in table.predictions and (frames.expression >= 0).any():
        files["confusion"] = confusion_picture(confusion_of(table, frames), table.expressions)
    return {name: np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for name, content in files.items()}


def _main(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the main scores; losses all are."""
    return {name: value for name, value in scores.items() if name in MAIN} or dict(scores)


def _markdown(scores: Mapping[str, float]) -> str:
    """Write a table of scores."""
    rows = [f"| {name} | {value:.4f} |\n" for name, value in scores.items()]
    return "".join(["| score | value |\n|---|---|\n", *rows])


def one_rate_per_family(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return values with one learning rate for each head and each stack of layers, that of its topmost layer."""
    values: dict[str, float] = {}
    for name, value in metrics.items():
        found = re.fullmatch(r"(lr-.*?)(layer\d+)?(?:_no_decay)?", name)
        if found is None:
            values[name] = value
        else:
            values[f"{found[1]}layers" if found[2] else found[1]] = value  # the topmost one is the last
    return values


def _tag(name: str, metrics: Mapping[str, float]) -> str:
    """Return the tag of a value; empty where it is shown already, as the epoch and a sum of one part are."""
    split, _, short = name.rpartition("/")
    sums = [key for key in metrics if key.removeprefix("val/") in MAIN]
    if name == "epoch" or (name == "val/score" and sums):
        return ""
    if split == "val" and short in MAIN and short != "P_MTL" and "val/P_MTL" in metrics:
        return f"Scores/parts/{short}"  # below P_MTL: tags are sorted, capitals first
    if split == "val" and (short in (*MAIN, "score") or short.islower()):
        return f"Scores/{short}"
    return f"train_lr/{name[3:].replace('/', '_')}" if name.startswith("lr-") else name


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training is tuned by, from its configuration: numbers and words of the model, and how long."""
    model = config["model"]
    nodes = {"": model, "optimiser.": model.get("optimiser", {}), "loss.": model.get("loss", {})}
    values = {
        f"{prefix}{key}": value
        for prefix, node in nodes.items()
        for key, value in node.items()
        if key not in ("_target_", "compile") and isinstance(value, str | int | float)
    }
    whole = {
        "experiment": config["name"],
        "scale": config.get("scale"),
        "seed": config.get("seed"),
        "batch_size": config["data"].get("batch_size"),
        "epochs": config["trainer"].get("max_epochs"),
    }
    return {**whole, **values}
