"""EMMA's losses on partial labels, its parameter groups, and its options."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from affect.batch import Batch
from affect.errors import WeightsError
from backbones.vit import build_vit
from dan.network import DAN
from emma.module import EMMAModule
from emma.network import EMMA
from losses.multitask import MultiTaskLoss
from training.optimisation import AdamW


def make(optimiser: AdamW | None = None, **options: object) -> EMMAModule:
    torch.manual_seed(0)
    vit = build_vit(image_size=32, patch_size=8, width=32, depth=2, heads=2, weights=None)
    network = EMMA(vit, DAN(width=8, image_size=32))
    return EMMAModule(network=network, loss=MultiTaskLoss(), optimiser=optimiser or AdamW(), **options)


def batch() -> Batch:
    torch.manual_seed(1)
    return {
        "image": torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8),
        "valence_arousal": torch.rand(6, 2) * 2 - 1,
        "expression": torch.randint(0, 8, (6,)),
        "action_units": torch.randint(0, 2, (6, 12)).float(),
        "row": torch.arange(6),
        "unreadable": torch.zeros(0, dtype=torch.int64),
    }


MISSING = {"valence_arousal": float("nan"), "expression": -1, "action_units": float("nan")}


@pytest.mark.parametrize("missing", [[], *([task] for task in MISSING), list(MISSING)])
def test_missing_labels_give_a_finite_loss_and_zero_for_their_task(missing: list[str]) -> None:
    module, one = make(), batch()
    for task in missing:
        one[task] = torch.full_like(one[task], MISSING[task])
    losses = module.losses(one)
    sum(losses.values()).backward()
    for task, loss in losses.items():
        assert torch.isfinite(loss)
        assert (loss == 0) == (task in missing)
    gradients = [p.grad for p in module.network.parameters() if p.requires_grad]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert any(g.ne(0).any() for g in gradients) == (len(missing) < 3)


def test_every_trainable_tensor_is_in_one_group_with_its_own_rate() -> None:
    module = make(AdamW(base_lr=1e-3, layer_decay=0.5, warmup_epochs=1), va_lr=1e-4)

    class Trainer:
        accumulate_grad_batches, world_size, estimated_stepping_batches, max_epochs = 2, 1, 100, 4
        datamodule = SimpleNamespace(batch_size=128)

    module._trainer = Trainer()
    configured = module.configure_optimizers()
    groups = configured["optimizer"].param_groups
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in module.parameters() if p.requires_grad)
    by_name = {group["name"]: group for group in groups}
    assert by_name["head"]["initial_lr"] == pytest.approx(1e-3 * 128 * 2 / 256)
    assert by_name["layer2"]["initial_lr"] == pytest.approx(0.5e-3)
    assert by_name["va_head"]["lr"] == pytest.approx(1e-4)
    assert by_name["va_head"]["weight_decay"] == 0
    assert by_name["head"]["lr"] == 0  # warm-up starts at 0


def test_predictions_are_probabilities_and_clamped() -> None:
    module = make().eval()
    with torch.no_grad():
        module.network.va_head[-1].bias.fill_(5.0)
        predictions = module.predict(batch())
    assert predictions["valence_arousal"].max() == 1
    torch.testing.assert_close(predictions["expression"].sum(dim=1), torch.ones(6))
    assert ((predictions["action_units"] > 0) & (predictions["action_units"] < 1)).all()


def test_compile_keeps_the_names_of_the_state_dict() -> None:
    assert make(compile=True).state_dict().keys() == make().state_dict().keys()


def test_networks_that_want_other_images_are_refused() -> None:
    vit = build_vit(image_size=32, patch_size=8, width=32, depth=2, heads=2, weights=None)
    with pytest.raises(WeightsError, match="64 px"):
        EMMA(vit, DAN(width=8, image_size=64))
