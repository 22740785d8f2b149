"""Test-time augmentation: what is averaged, and what a run with it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from affect.batch import Batch, Predictions
from affect.errors import ConfigError
from training.tta import averaged, versions


def test_versions_are_moved_and_mirrored() -> None:
    image = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    plain, mirrored, up, _, down, both = versions(image)
    assert plain.dtype == torch.uint8
    assert torch.equal(plain, image)
    assert torch.equal(mirrored, image.flip(3))
    assert torch.equal(up[:, :, :38], image[:, :, 2:])
    assert torch.equal(up[:, :, 38:], image[:, :, 39:].expand(-1, -1, 2, -1))  # the border is repeated
    assert torch.equal(down[:, :, 2:], image[:, :, :38])
    assert torch.equal(down[:, :, :2], image[:, :, :1].expand(-1, -1, 2, -1))
    assert torch.equal(both, down.flip(3))


def test_every_entry_of_every_table_is_averaged() -> None:
    seen: list[Tensor] = []

    def predict(batch: Batch) -> dict[str, Predictions]:
        seen.append(batch["image"])
        place = batch["image"].float().mean(dim=(1, 2))[:, :2]  # differs from version to version
        return {"": Predictions(valence_arousal=place), "other": Predictions(expression=place**2)}

    batch: Batch = {
        "image": torch.rand(3, 3, 20, 20), "row": torch.arange(3), "unreadable": torch.zeros(0, dtype=torch.int64),
        "valence_arousal": torch.zeros(3, 2), "expression": torch.zeros(3, dtype=torch.int64),
        "action_units": torch.zeros(3, 12),
    }  # fmt: skip
    found = averaged(predict, batch)
    places = torch.stack([image.mean(dim=(1, 2))[:, :2] for image in seen])
    assert len(seen) == 6
    assert len({tuple(place.flatten().tolist()) for place in places}) == 6
    assert torch.allclose(found[""]["valence_arousal"], places.mean(dim=0))
    del batch["image"]
    with pytest.raises(ConfigError, match="features"):
        averaged(predict, batch)
    assert torch.allclose(found["other"]["expression"], (places**2).mean(dim=0))
