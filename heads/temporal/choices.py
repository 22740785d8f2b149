"""The networks for ``head=…``, each with its published loss, optimiser, schedule and windows, and as small ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Head:
    """A temporal head as it was published, and what differs at ``scale=tiny``.

    Attributes:
        what: it is, in a sentence.
        target: its class.
        network: keywords of it, of its own sizes at ``scale=paper``.
        small: the same at ``scale=tiny``, where windows have 64 frames, a batch 16 of them, and a run 12 epochs.
        optimiser: keywords of AdamW.
        loss: keywords of ``losses.windows.WindowLoss``.
        window: frames.
        hop: from window to window, in training.
        batch: windows.
        epochs: their number, at most.
        patience: epochs without a better ``val/score`` after which the training stops; None: it goes on to the end.
        causal: it never looks ahead, so a missing frame takes the features of the one before.
        one_pass: validation and prediction go through whole videos, not through windows.
    """

    what: str
    target: str
    network: Mapping[str, Any]
    small: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    loss: Mapping[str, Any]
    window: int
    hop: int
    batch: int
    epochs: int
    patience: int | None = None
    causal: bool = False
    one_pass: bool = False


SMALL_WINDOW: Final = 64
SMALL_HOP: Final = 32
SMALL_BATCH: Final = 16
SMALL_EPOCHS: Final = 12
SMALL_WARMUP: Final = 0.5  # at most
SMALL_RATE: Final = 1e-3  # nothing is large, and epochs have few steps

LONGEST: Final = 4096
"""Frames that a head which goes through whole videos is given at a time."""

# How a source trains, which the head that is without what looks ahead shares.
# 40 epochs are those of valence and arousal; published for expressions: 10, for action units: 30
_CTYUN: Final[dict[str, Any]] = {
    "optimiser": {"base_lr": 3e-5, "weight_decay": 1e-5, "warmup_epochs": 2},  # the code's; the paper has no warm-up
    "loss": {},
    "window": 300,
    "hop": 200,
    "batch": 32,
    "epochs": 40,
}
_CPRL: Final[dict[str, Any]] = {
    "optimiser": {"base_lr": 1e-3, "weight_decay": 1e-4, "warmup_epochs": 0},
    "loss": {
        "va_weight": 0.5,
        "focal_gamma": 2.0,
        "expression_weight": "train",
        "au_pos_weight": "train",
        "uncertainty": True,
    },
    "window": 64,
    "hop": 32,
    "batch": 32,
    "epochs": 25,
}

HEADS: Final[Mapping[str, Head]] = {
    "transformer": Head(
        "RAS' Transformer of 5 layers, first in ABAW10's valence and arousal",
        "heads.temporal.bidirectional.Transformer",
        {"width": 256, "layers": 5, "heads": 8, "dropout": 0.1},
        {"width": 64, "layers": 2, "heads": 4, "dropout": 0.1},
        {"base_lr": 1e-4, "weight_decay": 0.01, "warmup_epochs": 0, "plateau": 5},
        {"ccc": "window", "va_weight": 0.5},
        window=400,
        hop=150,
        batch=8,
        epochs=100,
        patience=15,
    ),
    "tcn_transformer": Head(
        "CtyunAI's convolutions with a Transformer behind them (ABAW6)",
        "heads.temporal.bidirectional.TcnTransformer",
        {
            "variant": "paper",
            "channels": [768, 256, 128],
            "kernel": 5,
            "width": 512,
            "heads": 4,
            "layers": None,
            "dropout": None,
        },
        {
            "variant": "paper",
            "channels": [32, 32, 32],
            "kernel": 5,
            "width": 64,
            "heads": 4,
            "layers": 2,
            "dropout": 0.1,
        },
        **_CTYUN,
    ),
    "bigru": Head(
        "cprl's GRU in both directions, of three tasks at once (ABAW11)",
        "heads.temporal.bidirectional.BiGru",
        {"width": 256, "layers": 2, "dropout": 0.2},
        {"width": 48, "layers": 1, "dropout": 0.2},
        **_CPRL,
        one_pass=True,
    ),
    "gru": Head(
        "bigru in one direction: it never looks ahead",
        "heads.temporal.causal.Gru",
        {"width": 256, "layers": 2, "dropout": 0.2},
        {"width": 64, "layers": 1, "dropout": 0.2},
        **_CPRL,
        causal=True,
        one_pass=True,
    ),
    "tcn": Head(
        "tcn_transformer without its Transformer: it never looks ahead",
        "heads.temporal.causal.Tcn",
        {"channels": [768, 256, 128], "kernel": 5, "dropout": 0.3},
        {"channels": [32, 32, 32], "kernel": 5, "dropout": 0.1},
        **_CTYUN,
        causal=True,
        one_pass=True,
    ),
}


def settings(head: Head, scale: str) -> dict[str, Any]:
    """Return the keys of a training configuration that a head decides.

    Args:
        head: which.
        scale: ``paper`` or ``tiny``.
    """
    small = scale == "tiny"
    optimiser = {"scale_lr": False, "min_lr": 0.0, **head.optimiser}
    if small:
        optimiser |= {"base_lr": SMALL_RATE}
    warmup = optimiser.pop("warmup_epochs")
    if small:
        warmup = min(warmup, SMALL_WARMUP)
    stop = {
        "_target_": "pytorch_lightning.callbacks.EarlyStopping",
        "monitor": "val/score",
        "mode": "max",
        "patience": head.patience,
        "check_finite": False,  # without labels no epoch is the best one, and there is nothing to stop for
    }
    return {
        "warmup_epochs": warmup,  # at the top, where debug=fast takes it away
        "model": {
            "network": {"_target_": head.target, **(head.small if small else head.network), "causal": head.causal},
            "optimiser": {
                "_target_": "training.optimisation.AdamW",
                **optimiser,
                "warmup_epochs": "${warmup_epochs}",
            },
            "loss": {"_target_": "losses.windows.WindowLoss", **head.loss},
        },
        "data": {
            "window": SMALL_WINDOW if small else head.window,
            "hop": SMALL_HOP if small else head.hop,
            "batch_size": SMALL_BATCH if small else head.batch,
            **({"fill": "previous"} if head.causal else {}),
            **({"max_frames": LONGEST} if head.one_pass else {}),
        },
        "trainer": {"max_epochs": SMALL_EPOCHS if small else head.epochs},
        "callbacks": {} if head.patience is None else {"stop": stop},
    }
