"""The training step of masked CoTEX: loss, masks, agreement."""

import numpy as np
import pytest
import torch

from affect.errors import ConfigError
from cotex.module import CoTEXModule, agreement
from cotex.network import build_cotex
from losses.divergence import cotex_loss
from runs.config import masked_batch
from training.optimisation import AdamW

SMALL = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 1, "heads": 2, "drop_path": 0.0}


def make(views=2, **options):
    torch.manual_seed(0)
    module = CoTEXModule(build_cotex(**SMALL, views=views, weights=None), optimiser=AdamW(), **options)
    module.log_losses = lambda total, parts, size: None
    return module


def batch(rows=8, labels=None):
    generator = torch.Generator().manual_seed(1)
    return {
        "image": torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8, generator=generator),
        "expression": torch.randint(0, 6, (rows,), generator=generator) if labels is None else torch.tensor(labels),
        "row": torch.arange(rows),
    }


def test_views_draw_different_masks():
    first, second = make(mask_ratio=0.75).masks(torch.arange(100), 0)
    assert first.shape == (100, 4)
    assert (first.sort(dim=1).values != second.sort(dim=1).values).any(dim=1).float().mean() > 0.95


def test_without_a_mask_training_sees_what_evaluation_sees():
    module = make(mask_ratio=0.0)
    assert module.masks(torch.arange(4), 0) is None
    logits = module.network(batch()["image"])
    expected = cotex_loss(logits, batch()["expression"], js_weight=100 / 3)
    torch.testing.assert_close(module.training_step(batch(), 0), expected)


def test_without_agreement_the_views_are_independent():
    """With lambda 0 a view's gradient is what it is without the other one; with lambda it is not."""
    gradients = {}
    for weight in (0.0, 10.0):
        module = make(mask_ratio=0.5, js_weight=weight)
        module.training_step(batch(), 0).backward()
        gradients[weight] = [p.grad.clone() for p in module.network.vits[0].parameters()]
        module.zero_grad()
        keep = module.masks(batch()["row"], 0)
        logits = module.network(batch()["image"], keep)
        cotex_loss(logits[:1], batch()["expression"], js_weight=0.0).backward()
        alone = [p.grad for p in module.network.vits[0].parameters()]
        same = all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients[weight], alone, strict=True))
        assert same == (weight == 0)


def test_reference_form_is_half_of_the_papers():
    """Twice (H1 + H2) / 2 + 100 JS' is H1 + H2 + (100 / 3) JS (recipes of the published code)."""
    paper = make(js_weight=100 / 3).training_step(batch(), 0)
    code = make(js_weight=100, reference_js=True).training_step(batch(), 0)
    torch.testing.assert_close(2 * code, paper, rtol=1e-4, atol=1e-5)


def test_repeats_average_over_masks():
    module = make(mask_ratio=0.75, repeats=3)
    losses = []
    for repeat in range(3):
        logits = module.network(batch()["image"], module.masks(batch()["row"], repeat))
        losses.append(cotex_loss(logits, batch()["expression"], js_weight=100 / 3).item())
    assert len(set(losses)) == 3
    assert module.training_step(batch(), 0).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_batch_without_labels_is_finite():
    loss = make(js_weight=0.0).training_step(batch(4, labels=[-1] * 4), 0)
    assert loss.item() == 0
    loss.backward()


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_tables_of_the_views_and_of_their_mean(average):
    module = make(average=average).eval()
    with torch.no_grad():
        tables = {name: table["expression"] for name, table in module.predict_tables(batch()).items()}
        logits = module.network(batch()["image"])
    assert list(tables) == ["", "view1", "view2"]
    expected = (tables["view1"] + tables["view2"]) / 2 if average == "probabilities" else sum(logits).softmax(dim=1)
    torch.testing.assert_close(tables[""], expected)
    assert list(make(views=1).predict_tables(batch())) == [""]


def test_agreement():
    views = [torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[0.6, 0.4], [0.7, 0.3]])]
    assert agreement(views) == 0.5
    assert agreement(views[:1]) == 1
    assert agreement([view[:0] for view in views]) == 1  # weighs nothing, but must not be NaN


def test_batch_rule():
    """Table 6 of the paper with base 256, and the published code's default of 64."""
    assert [masked_batch(256, ratio, 4096) for ratio in (0.75, 0.85, 0.90, 0.95)] == [1024, 1536, 2560, 4096]
    assert [masked_batch(64, ratio, 4096) for ratio in (0, 0.5, 0.75, 0.85, 0.9, 0.95)] == [
        64,
        128,
        256,
        384,
        640,
        1216,
    ]


@pytest.mark.parametrize("ratio", [-0.1, 0.95, 1.0])
def test_a_ratio_that_leaves_no_patch(ratio):
    with pytest.raises(ConfigError, match=r"model\.mask_ratio"):
        make(mask_ratio=ratio)
