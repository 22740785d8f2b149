"""How several processes train one network."""

from __future__ import annotations

from pytorch_lightning.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from affect.settings import buildable


@buildable("trainer")
class OwnBuffers(DDPStrategy):
    """DDP whose processes send one another gradients, and no buffer, such as the statistics of BatchNorm, ever.

    ``broadcast_buffers=False`` was that; torch 2.13 replaces it with options that send buffers once, at the start.
    """

    def _setup_model(self, model: nn.Module) -> DistributedDataParallel:
        own = [name for name, _ in model.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, own)  # type: ignore[no-untyped-call]
        return super()._setup_model(model)
