"""The frozen networks behind heads on stored features, rebuilt from what the heads' checkpoint says of their stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from affect.errors import CheckpointError, ConfigError, DataError
from affect.hints import key_errors, value_errors
from datamodules.resizing import Image
from features.extraction import weights_sha256
from features.planning import Laid
from features.store_files import MadeBy
from heads.module import HeadModule
from heads.network import FeatureDescription
from heads.temporal.module import TemporalModule
from runs.asking import Weights, shaped
from runs.building import build
from runs.checkpoints import load_embedder
from runs.folder import checkpoint_of

_KEY = "features.weights"


class Frozen:
    """A network that made a store.

    Args:
        network: a ``features.extraction.Embedder``.
        dtype: of the store's embeddings, to which its own are rounded.
    """

    def __init__(self, network: Any, dtype: str) -> None:
        self.network, self.dtype = network, dtype
        self._last: tuple[Sequence[Image], tuple[Tensor, Tensor]] | None = None

    def __call__(self, faces: Sequence[Image], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the embeddings (B, E) and the network's own scores (B, O) of B crops, as a store would have them.

        Raises:
            DataError: one is not finite.
        """
        if self._last is None or self._last[0] is not faces:  # several heads ask of the same faces
            with torch.autocast(device.type, enabled=False):
                embedding, outputs = self.network.embed(
                    torch.from_numpy(shaped(faces, self.network.preprocessing)).to(device)
                )
            embedding = embedding.float().to(getattr(torch, self.dtype)).float()
            if not (embedding.isfinite().all() and outputs.isfinite().all()):
                raise DataError(f"the features of a face are not finite in {self.dtype}: the network has diverged")
            self._last = faces, (embedding, outputs.float())
        return self._last[1]


Known: TypeAlias = dict[tuple[str, str | None, str], Frozen]
"""Networks that were rebuilt already, by hash, source and type of the store."""


def frozen_networks(module: Any, path: Path, weights: Weights, known: Known) -> tuple[Frozen, ...]:
    """Rebuild the networks that made the features of a head, in the order of the stores.

    Args:
        module: of a checkpoint; one that looks at pictures has none.
        path: of the checkpoint, for messages.
        weights: where their weights are; what is None, is where it was when they made the stores.
        known: takes them up, so that heads on the same features share them.

    Raises:
        CheckpointError: the stores did not say what made them, the weights cannot be had, or they are others.
        ConfigError: not as many weights as stores.
    """
    if not isinstance(module, HeadModule | TemporalModule):
        return ()
    features: Any = module.network.features
    described: list[FeatureDescription] = [features] if isinstance(module, HeadModule) else features
    given = [weights] * len(described) if weights is None else [weights] if isinstance(weights, str) else list(weights)
    if len(given) != len(described):
        raise ConfigError(
            [f"{_KEY} names {len(given)}, but {path} learnt from {len(described)} stores: give as many, in their order"]
        )
    in_time = isinstance(module, TemporalModule)
    laid: Any = module.laid if in_time else None
    if (in_time and laid is None) or not all("made_by" in one for one in described):
        raise CheckpointError(
            f"{path} holds heads on stored features, and does not say what made these, as an earlier version wrote "
            "it: make the store anew (extract.py store=…) and train again, or take evaluate.py for the store"
        )
    wrong = [error for one in described for error in value_errors(one, FeatureDescription, "features")]
    if wrong or not all(set(one["made_by"]) == set(MadeBy.__annotations__) for one in described):
        raise CheckpointError(
            f"{path}: what it says of its stores was changed ({(wrong or ['made_by lacks a key'])[0]})"
        )
    if in_time and (set(laid) != set(Laid.__annotations__) or list(key_errors(laid, Laid))):
        raise CheckpointError(f"{path}: its laid is {laid}, which are no windows: it was changed")
    return tuple(_frozen(one, where, path, known) for one, where in zip(described, given, strict=True))


def _frozen(one: FeatureDescription, given: str | None, path: Path, known: Known) -> Frozen:
    made, dtype = one["made_by"], one.get("dtype", "float16")
    source = made["source"] if given is None else given
    key = one["sha256"], source, dtype
    if key in known:
        return known[key]
    begin, advice = f"{path} needs the network of its features", f"give {_KEY}=<its weights>"
    try:
        network = _rebuilt(made, given).requires_grad_(False).eval()
        size = network.preprocessing.image_size
        with torch.inference_mode():
            embedding, _ = network.embed(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    except Exception as error:  # a file of another making leads to whatever its values lead to
        told = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{begin}, and {source} does not give it ({told}): {advice}") from error
    found = weights_sha256(network)
    if found != one["sha256"]:
        raise CheckpointError(
            f"{begin}, and {source} is another one ({found[:12]}…, not {one['sha256'][:12]}…): {advice}"
        )
    how, names = made["preprocessing"], one["outputs"]
    if (
        _listed(asdict(network.preprocessing)) != _listed(how)
        or embedding.shape[1] != one["embedding"]
        or list(network.output_names) != list(names)
    ):
        raise CheckpointError(f"{begin}, and {source} looks at pictures in another way than it did then: {advice}")
    known[key] = Frozen(network, dtype)
    return known[key]


def _rebuilt(made: MadeBy, given: str | None) -> Any:
    source = made["source"] if given is None else given
    if made["target"] is None:
        return load_embedder(checkpoint_of(_KEY, str(source), "best"))
    return build({"_target_": made["target"], **made["options"], "weights": source}, "model")


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
