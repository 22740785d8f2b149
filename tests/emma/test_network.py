"""EMMA's network: shapes, the frozen prior, and where gradients go."""

from __future__ import annotations

import pytest
import torch

from affect.errors import WeightsError
from affect.labels import AFFECTNET_EXPRESSIONS, EXPRESSIONS
from backbones.vit import build_vit
from dan.network import DAN
from emma.network import EMMA
from losses.ccc import ccc_loss


def make(**options: object) -> EMMA:
    torch.manual_seed(0)
    vit = build_vit(image_size=32, patch_size=8, width=32, depth=2, heads=2, weights=None)
    dan = None if options.pop("without_dan", False) else DAN(width=8, image_size=32)
    return EMMA(vit, dan, **options)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("hidden", [None, 16])
@pytest.mark.parametrize("without_dan", [True, False])
def test_shapes(images: torch.Tensor, hidden: int | None, without_dan: bool) -> None:
    output = make(head_hidden=hidden, va_hidden=hidden, without_dan=without_dan)(images)
    assert [tuple(part.shape) for part in output] == [(4, 8), (4, 12), (4, 2)]


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_va_loss_reaches_the_vit_only_without_the_stop(images: torch.Tensor, stop_gradient: bool) -> None:
    network = make(stop_gradient=stop_gradient).train()
    target = torch.rand(4, 2, generator=torch.Generator().manual_seed(2)) * 2 - 1
    ccc_loss(network(images).valence_arousal, target).backward()
    reached = [p.grad is not None and bool(p.grad.ne(0).any()) for p in network.vit.parameters()]
    in_head = [p.grad is not None and bool(p.grad.ne(0).any()) for p in network.head.parameters()]
    assert any(p.grad.ne(0).any() for p in network.va_head.parameters() if p.grad is not None)
    if stop_gradient:
        assert not any(reached + in_head)
    else:
        assert any(reached)
        assert any(in_head)


def test_without_a_dan_the_va_loss_trains_the_vit(images: torch.Tensor) -> None:
    network = make(without_dan=True)
    network(images).valence_arousal.square().sum().backward()
    assert network.vit.cls_token.grad.ne(0).any()


def test_dan_is_in_eval_mode_and_takes_no_gradient_whatever_is_called(images: torch.Tensor) -> None:
    network = make(stop_gradient=False)
    before = {name: value.clone() for name, value in network.dan.state_dict().items()}
    network.train()
    assert not any(module.training for module in network.dan.modules())
    sum(part.square().sum() for part in network(images)).backward()
    assert all(p.grad is None and not p.requires_grad for p in network.dan.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.dan.state_dict().items())


def test_dan_scores_are_added_in_abaw_order(images: torch.Tensor) -> None:
    network = make(expression_scores="vit+dan").eval()
    alone = make().eval()
    with torch.no_grad():
        prior = network.dan(network.dan_normalize(images))[0]
        difference = network(images).expression - alone(images).expression
    for index, name in enumerate(EXPRESSIONS):
        expected = prior[:, AFFECTNET_EXPRESSIONS.index(name)] if name != "other" else torch.zeros(4)
        torch.testing.assert_close(difference[:, index], expected)


def test_vit_plus_dan_without_a_dan_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a DAN"):
        make(without_dan=True, expression_scores="vit+dan")


def test_dan_of_seven_classes_is_refused() -> None:
    vit = build_vit(image_size=32, patch_size=8, width=32, depth=2, heads=2, weights=None)
    with pytest.raises(
        WeightsError, match=r"dan\.num_classes=7: .* 8 classes .*contempt.*model\.network\.dan\.weights"
    ):
        EMMA(vit, DAN(num_classes=7, width=8, image_size=32))
