"""Entry points as a command line starts them, in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

SMALL = (
    *(
        "trainer=cpu",
        "trainer.precision=32-true",
        "callbacks.progress=null",
        "trainer.max_epochs=2",
        "data.batch_size=8",
    ),
    *("scale=tiny", "model.loss.au_pos_weight=none", "model.loss.expression_weight=none", "model.network.dan.width=8"),
    *(f"model.network.vit.{key}" for key in ("image_size=32", "width=16", "depth=1", "heads=2")),
    *("model.network.vit.weights=random", "model.network.dan.weights=random"),
)
"""Overrides of train.py that give the quickest training of EMMA."""


def run(script: str, arguments: Sequence[str]) -> None:
    """Does what ``python <script>.py <arguments>`` does, whose errors are raised.

    Args:
        script: ``train``, ``evaluate``, ``extract`` or ``automl``.
        arguments: of its command line.
    """
    from runs.config import check_command_line
    from runs.stored_config import stored_config

    module: Any = importlib.import_module(f"runs.{script}")
    former, sys.argv = sys.argv, [f"{script}.py", *arguments]
    try:
        stored = stored_config(list(arguments)) if script == "train" else None
        if stored is not None:
            module.train(*stored)
        else:
            check_command_line(script, list(arguments))
            getattr(module, script)(_composed(script, arguments))
    finally:
        sys.argv = former


def _composed(name: str, arguments: Sequence[str]) -> Any:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from runs.config import CONFIG_DIR

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose(name, overrides=list(arguments))
