"""What EMMA's scores on rendered faces stand beside: its ceiling, its floor, and the same without a network.

    python -m benchmarks.studies.controls <run folder> [--skip-training]

The folder is that of an EMMA run on ``data=synthetic``, such as ``make demo`` leaves; weights that its configuration
names by a relative path are looked for from the current folder. On the rows of the validation split that the run was
scored on, one column each:

* ``oracle``: who knows the rendered state, but not the annotators' noise;
* ``EMMA``: the run's own scores.json;
* ``frequencies``: who knows only how often each label is in the training split (``evaluators.chance``);
* ``shuffled labels``: the run's own training once more, with whole label rows of the training file dealt out anew
  among its images, in ``<run folder>/controls/``. One that is finished there is not trained again;
* ``linear on pixels``: ridge regression for valence and arousal, logistic regression with balanced classes for the
  expression and each action unit, on standardised pixels at the network's resolution, each from the training rows
  with its label; C by cross-validation over identities (videos) within the training split.

Prints the table and two conditions, and writes both to ``<run folder>/controls.json``. The pixels of the whole training
split are held in memory, so this is for ``scale=tiny``: about 2.6 GB there.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from affect.errors import ConfigError
from benchmarks.studies.linear import EXPONENTS, linear_predictions
from benchmarks.studies.running import trained
from datamodules.affwild2_mtl import MTLDataModule
from datamodules.base import Split
from evaluators.chance import frequency_baseline
from evaluators.names import Scores
from evaluators.predictions import score_rows
from evaluators.report import NO_LABELS, aligned, read_scores
from rendering.oracle import oracle_predictions
from runs.assembly import build_data
from runs.checkpoints import load_module
from runs.config import resolve
from runs.ending import clear_errors

MARGIN: Final = 0.3
TOLERANCE: Final = 0.1


def read_pixels(data: MTLDataModule, split: Split) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Load the faces of a split as the network sees them in evaluation.

    Returns:
        (N,) numbers of the rows whose image can be read, and their (N, 3 · size²) pixels, 0 to 255.
    """
    data.predict_split = split
    batches = list(data.predict_dataloader())
    rows = torch.cat([batch["row"] for batch in batches]).numpy()
    return rows, torch.cat([batch["image"].flatten(1) for batch in batches]).numpy().astype(np.float32)


def shuffle_labels(source: Path, destination: Path, *, seed: int) -> None:
    """Copy a label file with its label rows, each as a whole, dealt out anew; the images keep their order.

    Every frequency and every relation between labels stays; only what they have to do with the faces is gone.
    """
    header, *lines = source.read_text(encoding="utf-8-sig").rstrip().splitlines()
    images, _, labels = zip(*(line.partition(",") for line in lines), strict=True)
    order = np.random.default_rng([seed, zlib.crc32(b"shuffled labels")]).permutation(len(lines))
    rows = [f"{image},{labels[other]}" for image, other in zip(images, order, strict=True)]
    destination.parent.mkdir(parents=True, exist_ok=True)
    destination.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def train_shuffled(config: DictConfig, data: MTLDataModule, folder: Path) -> Scores:
    """Repeat a run with shuffled training labels; same seed, same weights to start from.

    Args:
        config: the run's own.
        data: what it was trained on.
        folder: gets the label file and the run folder.

    Returns:
        Its scores; those of an earlier call where it finished.
    """
    annotations = folder / "shuffled_labels.txt"
    name = data.annotations["train"] or next(iter(data.frames("train").files))
    shuffle_labels(Path(str(data.root)) / name, annotations, seed=config.seed)
    config = config.copy()
    config.data.root, config.data.train_annotations = data.root, str(annotations.absolute())
    config.render = None  # the faces are there, and nothing else may be read than the file above
    config.logger = {}  # the stored one writes into the folder of the run
    return trained(folder / "shuffled_labels", config)


def conditions(scores: Mapping[str, Scores]) -> dict[str, bool]:
    """Say which of the two conditions on ``SCORE``, which is P_MTL where every task has labels, hold."""
    total = {name: of_one["SCORE"] or 0.0 for name, of_one in scores.items()}
    lead = total["EMMA"] - total["linear on pixels"]
    holds = {f"EMMA - linear on pixels = {lead:.4f} >= {MARGIN}": lead >= MARGIN}
    if "shuffled labels" in total:
        gap = abs(total["shuffled labels"] - total["frequencies"])
        holds[f"|shuffled labels - frequencies| = {gap:.4f} <= {TOLERANCE}"] = gap <= TOLERANCE
    return holds


def format_controls(scores: Mapping[str, Scores]) -> str:
    """Return the table: a line per score, a column per predictor."""
    rows = [["", *scores]]
    for name in next(iter(scores.values())):
        values = [of_one[name] for of_one in scores.values()]
        rows.append([name, *(NO_LABELS if value is None else f"{value:.4f}" for value in values)])
    return aligned(rows)


def run_controls(folder: Path, *, skip_training: bool) -> None:
    """Score all predictors, print and write the result.

    Args:
        folder: of the run.
        skip_training: leave ``shuffled labels`` out.

    Raises:
        CheckpointError: there is no finished run.
        ConfigError: the run is not one of EMMA's.
        FileNotFoundError: its faces were not rendered.
    """
    module = load_module(folder / "checkpoints" / "best.ckpt")
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    plain = resolve(config)
    data = build_data(plain, module.preprocessing, module.expressions)
    if not isinstance(data, MTLDataModule):
        raise ConfigError(
            [f"data._target_ is {plain['data']['_target_']}: give the folder of an EMMA run"], str(folder)
        )
    oracle = oracle_predictions(Path(str(data.root)), "validation")
    train_rows, train_pixels = read_pixels(data, "train")
    rows, pixels = read_pixels(data, "val")
    labels, validation = data.frames("train").select(train_rows), data.frames("val").select(rows)
    scores = {
        "oracle": score_rows({task: values[rows] for task, values in oracle.items()}, validation),
        "EMMA": read_scores(folder / "scores.json"),
        "frequencies": frequency_baseline(labels, validation),
    }
    if not skip_training:
        scores["shuffled labels"] = train_shuffled(config, data, folder / "controls")
    start = time.perf_counter()
    linear = linear_predictions(train_pixels, labels, pixels)
    seconds = time.perf_counter() - start
    scores["linear on pixels"] = score_rows(linear.predictions, validation)
    holds = conditions(scores)

    print(format_controls(scores))
    print(f"linear on pixels: {seconds:.0f} s; C " + ", ".join(f"{name} {c:g}" for name, c in linear.chosen.items()))
    edges = [name for name, c in linear.chosen.items() if c in (10.0 ** EXPONENTS[0], 10.0 ** EXPONENTS[-1])]
    if edges:
        print(f"linear on pixels: C is at the edge of what was tried for {', '.join(edges)}")
    for condition, met in holds.items():
        print(f"{condition}: {'holds' if met else 'DOES NOT HOLD'}")
    words = {name: {key: NO_LABELS if v is None else v for key, v in one.items()} for name, one in scores.items()}
    content = {"scores": words, "conditions": holds, "linear_c": linear.chosen, "linear_seconds": seconds}
    (folder / "controls.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path, help="folder of an EMMA run on data=synthetic")
    parser.add_argument("--skip-training", action="store_true", help="leave out the training on shuffled labels")
    options = parser.parse_args()
    run_controls(options.run, skip_training=options.skip_training)


if __name__ == "__main__":
    with clear_errors():
        main()
