"""Temporal heads the plain way: windows one after the other, and a causal head frame by frame."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def train(network: nn.Module, loss: nn.Module, optimiser: torch.optim.Optimizer, batch: dict[str, Tensor]) -> None:
    """Take a step along the mean gradient of the windows, each by itself."""
    optimiser.zero_grad()
    windows = len(batch["features"])
    for window in range(windows):
        one: dict[str, Any] = {name: values[window : window + 1] for name, values in batch.items()}
        losses = loss(network(one["features"], one["present"]), one)
        (torch.stack(list(losses.values())).sum() / windows).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@torch.no_grad()
def predict(network: Any, features: Tensor, present: Tensor) -> Tensor:
    """Return valence and arousal of (B, T, D) windows, (B, T, 2): window by window; a causal head frame by frame."""
    found = []
    for window in range(len(features)):
        if not network.causal:
            found.append(network(features[window : window + 1], present[window : window + 1]).valence_arousal)
            continue
        state, frames = network.initial(1), []
        for frame in range(features.shape[1]):
            scores, state = network.advance(features[window : window + 1, frame : frame + 1], state)
            frames.append(scores.valence_arousal)
        found.append(torch.cat(frames, dim=1))
    return torch.cat(found)
