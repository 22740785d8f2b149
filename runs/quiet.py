"""A quiet terminal: what is ours, or needs an answer, is shown; what other packages say at every run is not.

Each entry of the two lists has its reason. The tests run with the same list (tests/conftest.py), and with no other.
``python -W default train.py …`` shows everything.
"""

from __future__ import annotations

import logging
import re
import sys
import warnings
from typing import Final

from runs.building import PACKAGES

WARNINGS: Final = (
    # of Lightning 2.6 about itself, with torch 2.14
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # a login node has srun, too; docs/training.md says where it is needed
    r"The `srun` command is available on your system but is not used",
    # data.num_workers is the user's choice, and 0 is quick for few pictures
    r"The '\w+' does not have many workers",
    # trainer.log_every_n_steps: means over the epoch are logged, however short it is
    r"The number of training batches \(\d+\) is smaller than the logging interval",
    # EMMA's DAN, and backbones with `frozen`, are meant to be
    r"Found \d+ module\(s\) in eval mode at the start of training",
    # resuming goes on in its own folder; runs/folder.py refuses any other that has something in it
    r"Checkpoint directory .* exists and is not empty",
    # no default of scale=paper is `random` but that of pre-training: whoever has it has chosen it
    r"weights=random",
)
"""Beginnings of warnings, as regular expressions; none has a colon, at which pytest would cut it."""

LINES: Final = (
    # config.yaml says them: trainer.accelerator, trainer.precision, trainer.strategy, the number of processes
    r"GPU available",
    r"TPU available",
    r"Using \S+ Automatic Mixed Precision",
    r"Initializing distributed",
    r"-+\ndistributed_backend",
    r"LOCAL_RANK",
    # float32 is meant where trainer.precision says so: it gives the same numbers on every machine
    r"You are using a CUDA device .* that has Tensor Cores",
    # the schedule needs the length of an epoch
    r"Loading `train_dataloader` to estimate number of stepping batches",
    # what was asked for; without batches, or stopped by something else, it is told
    r"`Trainer.fit` stopped: `max_(epochs|steps)",
    # the command line says which checkpoint
    r"Restor(ing|ed all) states from the checkpoint",
    # logger=mlflow, at its first run
    r"Experiment with name .* not found. Creating it",
    r"(Creating initial MLflow|Updating) database tables",
    # Lightning advertises its own services
    r".*💡",
)
"""Beginnings of lines that Lightning and MLflow log, as regular expressions."""

_LOGGERS: Final = (
    "pytorch_lightning.utilities.rank_zero",
    "pytorch_lightning.accelerators.cuda",
    "pytorch_lightning.loggers.mlflow",
    "lightning_fabric.utilities.distributed",
    "mlflow.store.db.utils",
)
_LINE: Final = re.compile("|".join(LINES))


def _is_shown(record: logging.LogRecord) -> bool:
    return _LINE.match(record.getMessage()) is None


def quiet(*, first: bool) -> None:
    """Leave out what is listed here from now on; with Python's option ``-W``, nothing.

    Args:
        first: whether this is the first process of the run. What the others tell of lists and settings is the same,
            so they only warn.
    """
    if sys.warnoptions:
        return
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message)
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_is_shown)
    if not first:
        for package in PACKAGES:
            logging.getLogger(package).setLevel(logging.WARNING)
