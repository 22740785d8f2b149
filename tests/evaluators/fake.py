"""Frame lists and predictions for the tests of the evaluators."""

from __future__ import annotations

import numpy as np
import torch

from affect.frames import Frames
from affect.labels import EXPRESSIONS


def make_frames(rows: int, *, videos: int = 3, seed: int = 0, missing: float = 0.2) -> Frames:
    """Frames with sparse numbers in a few videos, each task's labels missing in a share of the rows."""
    random = np.random.default_rng(seed)
    video = [f"video{i}" for i in sorted(random.integers(videos, size=rows).tolist())]
    frame = np.sort(random.choice(rows * 5, size=rows, replace=False)) + 1
    affect = random.uniform(-1, 1, (rows, 2)).astype(np.float32)
    affect[random.random(rows) < missing] = np.nan
    expression = random.integers(len(EXPRESSIONS), size=rows)
    expression[random.random(rows) < missing] = -1
    units = (random.random((rows, 12)) < np.linspace(0.05, 0.7, 12)).astype(np.float32)
    units[random.random((rows, 12)) < missing] = np.nan
    image = [f"{name}/{number:05d}.jpg" for name, number in zip(video, frame, strict=True)]
    return Frames(video, frame, image, affect, expression, units, {"validation.txt": f"{rows:032x}{seed:032x}"})


def make_predictions(frames: Frames, *, seed: int = 1, skill: float = 0.5) -> dict[str, torch.Tensor]:
    """Predictions of all three tasks that agree with the labels to some degree."""
    random = np.random.default_rng(seed)
    rows = len(frames.frame)
    affect = skill * np.nan_to_num(frames.valence_arousal) + 0.3 * random.standard_normal((rows, 2))
    logits = random.standard_normal((rows, 8)) + 2 * skill * np.eye(8)[frames.expression] * 2
    units = random.standard_normal((rows, 12)) + 3 * skill * (np.nan_to_num(frames.action_units) - 0.5)
    return {
        "valence_arousal": torch.from_numpy(affect.clip(-1, 1)).float(),
        "expression": torch.from_numpy(logits).float().softmax(dim=1),
        "action_units": torch.from_numpy(units).float().sigmoid(),
    }


def labels_of(frames: Frames) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(getattr(frames, key)) for key in ("valence_arousal", "expression", "action_units")}
