"""SAM against a hand-written computation of its two gradients, its state, and what it refuses."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from affect.errors import ConfigError
from training.sam import SAM, with_sam

ROWS, TARGET = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def grouped(model: nn.Sequential) -> list[dict[str, Any]]:
    return [{"params": list(model[0].parameters()), "lr": 0.05}, {"params": list(model[2].parameters()), "lr": 0.01}]


def closure_of(model: nn.Module, optimizer: torch.optim.Optimizer, losses: list[float] | None = None):
    def closure() -> Tensor:
        loss = nn.functional.cross_entropy(model(ROWS), TARGET)
        optimizer.zero_grad()
        loss.backward()
        if losses is not None:
            losses.append(loss.item())
        return loss.detach()

    return closure


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for _ in range(count):
        optimizer.step(closure_of(model, optimizer))


def by_hand(count: int, rho: float) -> dict[str, Tensor]:
    """The parameters after some steps: gradients by autograd, the climb and Adam written out."""
    model = network()
    parameters = dict(model.named_parameters())
    rates = {name: 0.05 if name.startswith("0.") else 0.01 for name in parameters}
    values = {name: value.detach().double().clone() for name, value in parameters.items()}
    first = {name: torch.zeros_like(value) for name, value in values.items()}
    second = {name: torch.zeros_like(value) for name, value in values.items()}

    def gradient(at: dict[str, Tensor]) -> dict[str, Tensor]:
        leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
        hidden = torch.tanh(ROWS.double() @ leaves["0.weight"].T + leaves["0.bias"])
        scores = hidden @ leaves["2.weight"].T + leaves["2.bias"]
        loss = -scores.log_softmax(dim=1)[torch.arange(len(ROWS)), TARGET].mean()
        return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))

    for step in range(1, count + 1):
        uphill = gradient(values)
        norm = sum(g.square().sum() for g in uphill.values()) ** 0.5
        there = gradient({name: value + rho * uphill[name] / norm for name, value in values.items()})
        for name, g in there.items():
            first[name] = 0.9 * first[name] + 0.1 * g
            second[name] = 0.999 * second[name] + 0.001 * g**2
            root = (second[name] / (1 - 0.999**step)).sqrt() + 1e-8
            values[name] = values[name] - rates[name] * first[name] / (1 - 0.9**step) / root
    return values


@pytest.mark.parametrize("rho", [0.05, 1.0])
def test_several_steps_are_those_written_by_hand(rho: float) -> None:
    model = network()
    steps(model, SAM(torch.optim.Adam(grouped(model)), rho=rho), 4)
    for name, value in by_hand(4, rho).items():
        torch.testing.assert_close(dict(model.named_parameters())[name].double(), value, rtol=1e-4, atol=1e-5)
    plain = network()
    steps(plain, torch.optim.Adam(grouped(plain)), 4)
    assert not torch.allclose(plain[0].weight, model[0].weight, atol=1e-4)


def test_the_loss_is_that_before_the_climb_and_the_second_pass_is_marked() -> None:
    model, losses, marks = network(), [], []
    optimizer = SAM(torch.optim.SGD(grouped(model)), rho=0.5)
    inner = closure_of(model, optimizer, losses)

    def closure() -> Tensor:
        marks.append(optimizer.climbed)
        return inner()

    returned = optimizer.step(closure)
    assert marks == [False, True]
    assert not optimizer.climbed
    assert returned.item() == losses[0] < losses[1]


def test_parameters_return_exactly_and_those_without_a_gradient_stay() -> None:
    model = network()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    steps(model, SAM(torch.optim.SGD([{"params": list(model.parameters()), "lr": 0.0}]), rho=3.0), 3)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name

    optimizer = SAM(torch.optim.SGD(grouped(model)), rho=3.0)
    broken = closure_of(model, optimizer)

    def closure() -> Tensor:
        if optimizer.climbed:
            raise ArithmeticError
        return broken()

    with pytest.raises(ArithmeticError):
        optimizer.step(closure)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def stored(content: object) -> Any:
    """Through a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def scheduled(model: nn.Sequential) -> tuple[SAM, LambdaLR]:
    optimizer = SAM(torch.optim.Adam(grouped(model)), rho=0.1)
    return optimizer, LambdaLR(optimizer, lambda step: 0.5**step)


def test_a_schedule_and_a_stored_state_act_on_the_base_optimiser() -> None:
    whole = network()
    optimizer, scheduler = scheduled(whole)
    half = None
    for step in range(4):
        if step == 2:
            half = stored([part.state_dict() for part in (whole, optimizer, scheduler)])
        steps(whole, optimizer, 1)
        scheduler.step()
    assert [group["lr"] for group in optimizer.base.param_groups] == pytest.approx([0.05 / 16, 0.01 / 16])

    assert half is not None
    resumed = network()
    optimizer, scheduler = scheduled(resumed)
    for part, state in zip((resumed, optimizer, scheduler), half, strict=True):
        part.load_state_dict(state)
    assert optimizer.param_groups is optimizer.base.param_groups
    assert optimizer.state is optimizer.base.state
    for _ in range(2):
        steps(resumed, optimizer, 1)
        scheduler.step()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_without_a_closure_it_refuses() -> None:
    with pytest.raises(RuntimeError, match="closure"):
        SAM(torch.optim.SGD(network().parameters(), lr=0.1)).step()
    with pytest.raises(ValueError, match="rho=0"):
        SAM(torch.optim.SGD(network().parameters(), lr=0.1), rho=0)


def trainer(**changed: object) -> Any:
    plain = {"accumulate_grad_batches": 1, "precision": "32-true", "precision_plugin": object(), "strategy": object()}
    return SimpleNamespace(**{**plain, **changed})


def test_what_lightning_cannot_do_with_it_is_told_at_once() -> None:
    base = torch.optim.SGD(network().parameters(), lr=0.1)
    assert with_sam(base, None, trainer(accumulate_grad_batches=4)) is base
    assert isinstance(with_sam(base, 0.05, trainer(precision_plugin=SimpleNamespace(scaler=None))), SAM)
    wrong = trainer(
        accumulate_grad_batches=4,
        precision="16-mixed",
        precision_plugin=SimpleNamespace(scaler=object()),
        strategy=FSDPStrategy(),
    )
    with pytest.raises(ConfigError) as caught:
        with_sam(base, -1.0, wrong)
    for expected in ("model.optimiser.sam_rho=-1.0", "accumulate_grad_batches=4", "precision=16-mixed", "FSDP"):
        assert expected in str(caught.value)


def _process(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = network()
    parallel = nn.parallel.DistributedDataParallel(model)
    optimizer = SAM(torch.optim.Adam(grouped(model)), rho=0.5)
    rows, target = ROWS[rank::2], TARGET[rank::2]

    def closure() -> Tensor:
        loss = nn.functional.cross_entropy(parallel(rows), target)
        optimizer.zero_grad()
        loss.backward()
        return loss.detach()

    for _ in range(3):
        optimizer.step(closure)
    torch.save(model.state_dict(), f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_step_as_one_with_all_rows(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=2)
    one = network()
    steps(one, SAM(torch.optim.Adam(grouped(one)), rho=0.5), 3)
    first, second = (torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2))
    for name, value in one.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-4, atol=1e-5)
