"""A file of ``export.py to=safetensors`` as the checkpoint that it was made from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open

from affect.errors import CheckpointError
from affect.preprocessing import IMAGENET, Preprocessing
from backbones.state import read_state
from evaluators.names import LEARNT
from runs.plain import check_plain


def read_stored(path: Path) -> dict[str, Any]:
    """Return what ``runs.checkpoints.load_module`` needs; nothing in the file is run.

    Raises:
        CheckpointError: the file is damaged or not one of export.py, or its metadata are.
        UserError: the metadata ask for more than plain values, or a weight is not finite.
    """
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} is not a readable safetensors file (cut off, or another): {reason}") from error
    if "made_by" not in told or "network" not in told:
        raise CheckpointError(
            f"{path} was not written by export.py: nothing says which network its weights are of; bare weight files go "
            "to model.….weights="
        )
    if "module" not in told:
        raise CheckpointError(f"{path} is of an earlier version, which did not say all: write it anew with export.py")
    try:
        read = {name: json.loads(told[name]) for name in ("module", "network", LEARNT)}
        model = {**read["module"], "network": read["network"]}
        prepared = asdict(IMAGENET)  # of heads on features, without effect
        if "preprocessing" in told:
            wanted = json.loads(told["preprocessing"])
            prepared = {name: tuple(one) if isinstance(one := wanted[name], list) else one for name in prepared}
        Preprocessing(**prepared)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} does not say what it is, or is something else: {error}") from error
    check_plain(model, str(path))
    state = {f"network.{name}": tensor for name, tensor in read_state(path).items()}
    return {"model_config": model, "state_dict": state, "preprocessing": prepared, LEARNT: read[LEARNT]}
