"""Several processes that train one network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from runs.strategies import OwnBuffers
from tests.conftest import small
from tests.test_train import command


def test_no_buffer_is_sent(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        strategy = OwnBuffers(parallel_devices=[torch.device("cpu")])
        wrapped = strategy._setup_model(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
        assert isinstance(wrapped, DistributedDataParallel)
        names = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
        assert wrapped.parameters_to_ignore == names
        assert wrapped.modules_buffers == []
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_training_is_what_it_was_with_broadcast_buffers_false(portraits: Path, tmp_path: Path) -> None:
    former = [
        "trainer.strategy._target_=pytorch_lightning.strategies.DDPStrategy",
        "+trainer.strategy.broadcast_buffers=false",
    ]
    states, outputs = [], []
    for name, more in (("new", []), ("former", former)):
        done = command(
            "train.py", *small("dan"), "data=affectnet", f"data.root={portraits}", "trainer=ddp",
            "trainer.accelerator=cpu", "trainer.sync_batchnorm=false", "trainer.devices=2", "data.batch_size=8",
            *more, f"paths.run_dir={tmp_path}/{name}", f"paths.cache_dir={tmp_path}/cache",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        states.append(torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
        outputs.append(done.stdout)
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert "broadcast_buffers" not in outputs[0]
