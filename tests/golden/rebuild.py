"""Weights and inputs of the golden numbers, rebuilt with NumPy from their names alone.

The numbers are outputs of the published reference implementations (github.com/JackYFL/EMMA_CoTEX_ABAW4,
github.com/facebookresearch/mae, github.com/wtomin/ABAW3_MultiEmotionNet) on these weights and inputs.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SEED = 0
FOLDER = Path(__file__).parent


def rs(name: str) -> np.random.RandomState:
    """The generator that belongs to a name."""
    return np.random.RandomState((zlib.crc32(name.encode()) ^ SEED) & 0xFFFFFFFF)


def input(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Input called ``name``, for example ``input/dan``."""
    return rs(name).standard_normal(shape).astype(np.float32)


def state_dict(network: str) -> dict[str, Tensor]:
    """State dict of a reference network, which state_dict_names.json lists: ``dan8``, ``emotionnet`` and so on."""
    names = json.loads((FOLDER / "state_dict_names.json").read_text())[network]
    return {name: entry(name, tuple(shape)) for name, shape in names}


def entry(name: str, shape: tuple[int, ...]) -> Tensor:
    """One tensor of a state dict."""
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if name == "positional_encoding.pos_embedding":  # fixed: sine and cosine by turns
        angle = np.arange(shape[0])[:, None] / 10_000.0 ** (np.arange(shape[2])[None] // 2 * 2 / shape[2])
        wave = np.where(np.arange(shape[2]) % 2, np.cos(angle), np.sin(angle))
        return torch.from_numpy(wave[:, None].astype(np.float32))
    z = np.asarray(rs(name).standard_normal(shape)).astype(np.float32)
    if last == "running_var":
        z = np.float32(0.5) + np.abs(z)
    elif last == "weight" and len(shape) >= 2:
        z = z * np.float32(np.prod(shape[1:]) ** -0.5)
    elif last == "weight":
        z = np.float32(1) + np.float32(0.1) * z
    else:
        z = np.float32(0.02) * z
    return torch.from_numpy(np.ascontiguousarray(z, dtype=np.float32))


def numbers(file: str) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Every array of ``<file>.npz``."""
    with np.load(FOLDER / f"{file}.npz") as archive:
        return dict(archive)


def relative_error(actual: Any, expected: Any) -> float:
    """``max|a - b| / max|b|``, bounded by 1e-5 for networks and 1e-6 for losses and metrics."""
    actual = actual.detach().numpy() if isinstance(actual, Tensor) else np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    return float(np.abs(actual.astype(np.float64) - expected).max() / np.abs(expected).max())
