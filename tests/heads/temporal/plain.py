"""The temporal heads once more, in NumPy and loops, from their weights; in evaluation, so without dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf

Weights = dict[str, Any]


def below(weights: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def linear(weights: Weights, x: np.ndarray) -> np.ndarray:
    return x @ weights["weight"].T + weights["bias"]


def layer_norm(weights: Weights, x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    return centred / deviation * weights["weight"] + weights["bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def attention(weights: Weights, x: np.ndarray, heads: int) -> np.ndarray:
    """Each frame of (T, H) looks at all, head by head."""
    width = x.shape[1] // heads
    query, key, value = np.split(x @ weights["in_proj_weight"].T + weights["in_proj_bias"], 3, axis=1)
    seen = np.zeros_like(x)
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for frame in range(len(x)):
            energy = np.array([query[frame, own] @ other[own] for other in key]) / math.sqrt(width)
            share = np.exp(energy - energy.max())
            seen[frame, own] = (share / share.sum()) @ value[:, own]
    return linear(below(weights, "out_proj."), seen)


def transformer(weights: Weights, x: np.ndarray, heads: int) -> np.ndarray:
    x = layer_norm(below(weights, "project.1."), linear(below(weights, "project.0."), x))
    frames, width = x.shape
    place = np.zeros((frames, width))
    for frame in range(frames):
        for column in range(width):
            angle = frame / 10_000 ** ((column // 2 * 2) / width)
            place[frame, column] = math.cos(angle) if column % 2 else math.sin(angle)
    number = 0
    while layer := below(weights, f"layers.{number}."):
        placed = x + place
        middle = layer_norm(below(layer, "norms.0."), attention(below(layer, "attention."), placed, heads) + placed)
        forward = linear(below(layer, "feed_forward.3."), gelu(linear(below(layer, "feed_forward.0."), middle)))
        x = x + layer_norm(below(layer, "norms.1."), forward + middle)
        number += 1
    return x


def perceptron(weights: Weights, x: np.ndarray) -> np.ndarray:
    return linear(below(weights, "4."), gelu(layer_norm(below(weights, "1."), linear(below(weights, "0."), x))))


def convolution(weights: Weights, x: np.ndarray, dilation: int) -> np.ndarray:
    """A causal convolution over (T, C), with weight norm, frame by frame."""
    size, direction = (weights[f"parametrizations.weight.original{i}"] for i in (0, 1))
    kernel = size * direction / np.sqrt((direction**2).sum(axis=(1, 2), keepdims=True))
    out = np.tile(weights["bias"], (len(x), 1))
    for frame in range(len(x)):
        for tap in range(kernel.shape[2]):
            before = frame - (kernel.shape[2] - 1 - tap) * dilation
            if before >= 0:
                out[frame] += kernel[:, :, tap] @ x[before]
    return out


def convolutions(weights: Weights, x: np.ndarray) -> np.ndarray:
    number = 0
    while block := below(weights, f"convolutions.blocks.{number}."):
        bend: list[Callable[[np.ndarray], np.ndarray]] = [
            lambda h, slope=block[f"bends.{i}.weight"]: np.where(h >= 0, h, slope * h) for i in range(3)
        ]
        hidden = x
        for i in (0, 1):
            hidden = bend[i](convolution(below(block, f"convolutions.{i}."), hidden, 2**number))
        if residual := below(block, "residual."):
            x = x @ residual["weight"][:, :, 0].T + residual["bias"]
        x = bend[2](hidden + x)
        number += 1
    return x


def encoder(weights: Weights, x: np.ndarray, heads: int) -> np.ndarray:
    x = linear(below(weights, "project."), x)
    number = 0
    while layer := below(weights, f"encoder.layers.{number}."):
        x = layer_norm(below(layer, "norm1."), x + attention(below(layer, "self_attn."), x, heads))
        forward = linear(below(layer, "linear2."), np.maximum(linear(below(layer, "linear1."), x), 0))
        x = layer_norm(below(layer, "norm2."), x + forward)
        number += 1
    return x


def normalised(weights: Weights, x: np.ndarray) -> np.ndarray:
    hidden, norm = linear(below(weights, "hidden."), x), below(weights, "norm.")
    hidden = (hidden - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
    return linear(below(weights, "out."), hidden)


def gru(weights: Weights, x: np.ndarray) -> np.ndarray:
    """Layers of a GRU over (T, D), in one direction or two, frame by frame."""
    layer = 0
    while f"gru.weight_ih_l{layer}" in weights:
        ways = []
        for back in ("", "_reverse"):
            if f"gru.weight_ih_l{layer}{back}" not in weights:
                continue
            w_in, w_state = weights[f"gru.weight_ih_l{layer}{back}"], weights[f"gru.weight_hh_l{layer}{back}"]
            b_in, b_state = weights[f"gru.bias_ih_l{layer}{back}"], weights[f"gru.bias_hh_l{layer}{back}"]
            state, out = np.zeros(w_state.shape[1]), [np.zeros(0)] * len(x)
            for frame in reversed(range(len(x))) if back else range(len(x)):
                (r, z, n), (r_, z_, n_) = (
                    np.split(w_in @ x[frame] + b_in, 3),
                    np.split(w_state @ state + b_state, 3),
                )
                reset, update = sigmoid(r + r_), sigmoid(z + z_)
                state = (1 - update) * np.tanh(n + reset * n_) + update * state
                out[frame] = state
            ways.append(np.stack(out))
        x = np.concatenate(ways, axis=1)
        layer += 1
    return x


def forward(name: str, weights: Weights, x: np.ndarray, heads: int) -> dict[str, np.ndarray]:
    """Return the scores, by task, of the (T, D) frames of one video without padding.

    Args:
        name: of the head.
        weights: its state_dict, as arrays.
        x: the features.
        heads: number of attention heads, which the weights do not tell.
    """
    head = perceptron if name == "transformer" else normalised if "tcn" in name else linear
    if name == "transformer":
        hidden = transformer(weights, x, heads)
    elif name in ("bigru", "gru"):
        hidden = gru(weights, x)
    else:
        hidden = convolutions(weights, x)
        hidden = encoder(weights, hidden, heads) if name == "tcn_transformer" else hidden
    tasks = sorted({key.split(".")[1] for key in weights if key.startswith("heads.")})
    scores = {task: head(below(weights, f"heads.{task}."), hidden) for task in tasks}
    if "gru" in name:
        scores["valence_arousal"] = np.tanh(scores["valence_arousal"])
    return scores
