"""Sharpness-aware minimisation, an optimiser that wraps another one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch import Tensor
from torch.optim import Optimizer

from affect.errors import ConfigError

_TINY = 1e-12


class SAM(Optimizer):
    """Steps with the gradient at the worst point nearby (Foret et al. 2021, arXiv:2010.01412, not adaptive).

    A step first computes the gradient g. The parameters climb by ``rho * g / ||g||``, with the norm over all of them,
    and the gradient is computed there. Then the parameters return to where they were, and the base optimiser steps with
    the second gradient. Batch normalisation counts both passes.

    Under DDP the gradients of both passes are means over the processes, so all processes climb alike.

    Args:
        base: the optimiser that steps. SAM shares its parameter groups and state, so a schedule acts on it, and a
            checkpoint is the same as without SAM.
        rho: distance to climb.

    Attributes:
        climbed: true while the closure runs for the second time.

    Raises:
        ValueError: ``rho`` is not above 0.
    """

    def __init__(self, base: Optimizer, *, rho: float = 0.05) -> None:
        if rho <= 0:
            raise ValueError(f"SAM rho={rho}: must be above 0; without SAM, use the base optimiser by itself")
        super().__init__(base.param_groups, dict(base.defaults))
        self.base, self.rho, self.climbed = base, rho, False
        self._share()

    def _share(self) -> None:
        self.param_groups, self.state = self.base.param_groups, self.base.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Take one step.

        Args:
            closure: zeroes the gradients, computes the loss and its gradients, and returns the loss. It is called
                twice.

        Returns:
            The loss before the climb.

        Raises:
            RuntimeError: there is no closure, because a gradient scaler took the step.
        """
        if closure is None:
            raise RuntimeError("SAM needs a closure, which no gradient scaler (16-mixed) passes on")
        with torch.enable_grad():
            loss = closure()
        places = self._climb()
        self.climbed = True
        try:
            with torch.enable_grad():
                closure()
        finally:
            self.climbed = False
            for parameter, place in places:
                parameter.copy_(place)
        self.base.step()
        return loss

    def _climb(self) -> list[tuple[Tensor, Tensor]]:
        """Move every parameter that has a gradient; return these parameters with copies of their old values."""
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters if p.grad is not None]
        places = [(p, p.detach().clone()) for p in parameters]
        scale = self.rho / (torch.nn.utils.get_total_norm(gradients) + _TINY)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.add_(gradient * scale.to(gradient.device))
        return places

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the base optimiser."""
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of the base optimiser, whether it was saved with or without SAM."""
        self.base.load_state_dict(state_dict)
        self._share()  # torch has replaced the two objects

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base optimiser."""
        if hasattr(self, "base"):
            self.base.add_param_group(param_group)
        else:  # called by torch's constructor; its copy of the groups is replaced afterwards
            super().add_param_group(param_group)


def with_sam(base: Optimizer, rho: float | None, trainer: pl.Trainer) -> Optimizer:
    """Wrap an optimiser in SAM, for Lightning's automatic optimisation.

    Args:
        base: the optimiser.
        rho: distance that SAM climbs; None: return the base optimiser.
        trainer: the run's trainer.

    Raises:
        ConfigError: ``rho`` is not above 0, or the trainer has settings that do not work with SAM; the message names
            them all.
    """
    if rho is None:
        return base
    errors = []
    if rho <= 0:
        errors.append(f"model.optimiser.sam_rho={rho}: must be above 0, or null for training without SAM")
    if trainer.accumulate_grad_batches > 1:
        errors.append(
            f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}: SAM climbs along the gradient of one "
            "batch; set it to 1 and raise data.batch_size, or set model.optimiser.sam_rho=null"
        )
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        errors.append(
            f"trainer.precision={trainer.precision}: its gradient scaler takes one gradient per batch, SAM needs two; "
            "set bf16-mixed or 32-true, or model.optimiser.sam_rho=null"
        )
    if isinstance(trainer.strategy, FSDPStrategy):
        errors.append(
            "trainer.strategy: FSDP has parts of the gradient only; use DDP, or set model.optimiser.sam_rho=null"
        )
    if errors:
        raise ConfigError(errors)
    return SAM(base, rho=rho)


def has_climbed(module: pl.LightningModule) -> bool:
    """Return whether this is SAM's second pass, at parameters that the training does not keep."""
    optimizer = module.optimizers(use_pl_optimizer=False)
    return isinstance(optimizer, SAM) and optimizer.climbed
