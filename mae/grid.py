"""Show the reconstructions of a masked autoencoder while it is trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.nn import functional as F

from affect.batch import Batch
from affect.files import whole_file
from affect.settings import Count, buildable
from mae.module import MAEModule


@buildable("callbacks")
class ReconstructionGrid(Callback):
    """Save ``reconstructions/epoch_<n>.png`` in the run folder and log it.

    The picture shows the first validation faces: a row of originals, a row of masked faces, a row of reconstructions.

    Args:
        every_n_epochs: number of epochs from one picture to the next; the last epoch always has one.
        images: number of faces in the picture, at most a batch.
    """

    def __init__(self, every_n_epochs: Count = 20, images: Count = 8) -> None:
        self.every_n_epochs, self.images = every_n_epochs, images

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: MAEModule,  # type: ignore[override]
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        epoch = trainer.current_epoch + 1
        due = epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        if batch_idx or not due or not trainer.is_global_zero or trainer.state.fn != TrainerFn.FITTING:
            return
        few: Batch = {**batch, "image": batch["image"][: self.images], "row": batch["row"][: self.images]}
        picture = grid(pl_module.reconstruct(few))
        path = Path(trainer.default_root_dir) / "reconstructions" / f"epoch_{epoch:04d}.png"
        with whole_file(path) as beside:
            beside.write_bytes(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes())
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("reconstructions", [picture], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("reconstructions", picture, trainer.global_step, dataformats="HWC")
            elif isinstance(logger, MLFlowLogger):
                logger.experiment.log_image(logger.run_id, picture, f"reconstructions/epoch_{epoch:04d}.png")


def grid(rows: Tensor, gap: int = 2) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Join (R, B, 3, H, W) uint8 images into one (height, width, 3) picture, with white gaps."""
    tiles = F.pad(rows, (0, gap, 0, gap), value=255)
    picture = torch.cat([torch.cat(list(row), dim=2) for row in tiles], dim=1)
    return picture.permute(1, 2, 0).cpu().numpy()
