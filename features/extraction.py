"""Extract features of faces into a store: a frozen network sees every frame once, each process takes whole videos."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from affect.batch import Batch
from affect.errors import DataError
from affect.frames import rows_by_video
from affect.preprocessing import Preprocessing
from features.store import FeatureStore, share
from features.store_files import FeatureWriter

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule, Split

_log = logging.getLogger(__name__)


class Embedder(Protocol):
    """A network that computes features.

    Attributes:
        preprocessing: how its images must be prepared.
        output_names: names of its own scores, in order; none if it has no classifier.
    """

    preprocessing: Preprocessing
    output_names: tuple[str, ...]

    def embed(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return embedding (B, E) and scores (B, O) of (B, 3, H, W) images, uint8 or 0..255."""


def weights_sha256(network: nn.Module) -> str:
    """Hash all names and values of a network's state, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


class Extraction(pl.LightningModule):
    """Writes those features of a split that a store does not have; run it with ``Trainer.predict``.

    Args:
        network: a network that is an ``Embedder``.
        data: data module with the images.
        split: split to extract.
        store: store that the features go to.

    Attributes:
        unreadable: number of images that this process could not read so far.
    """

    def __init__(self, network: nn.Module, data: FaceDataModule, split: Split, store: FeatureStore) -> None:
        super().__init__()
        self.network = network
        self.data, self.split, self.store = data, split, store
        self.frames = data.frames(split)
        self.unreadable = 0
        self._left: dict[str, int] = {}
        self._writer: FeatureWriter | None = None

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return a loader of this process's videos, one after the other."""
        missing = missing_rows(self.data, self.split, self.store)
        names, sizes = list(missing), [len(rows) for rows in missing.values()]
        mine = [names[number] for number in share(sizes, self.trainer.world_size)[self.trainer.global_rank]]
        self._left = {name: len(missing[name]) for name in mine}
        size = self.data.eval_batch_size
        # no batch holds two videos: neighbours in a batch change the last digits, and would differ after a kill
        batches = [missing[name][start : start + size] for name in mine for start in range(0, len(missing[name]), size)]
        return self.data.loader_of(self.split, batches)

    def predict_step(self, batch: Batch, batch_index: int) -> None:
        """Embed a batch, in float32 whatever the trainer's precision, and write it."""
        with torch.autocast(self.device.type, enabled=False):
            embedded = self.network.embed(batch["image"])  # type: ignore[operator]
        embedding, outputs = (values.float().cpu().numpy() for values in embedded)
        rows, unreadable = batch["row"].cpu().numpy(), batch["unreadable"].cpu().numpy()
        self.unreadable += len(unreadable)
        video = self.frames.video[(*rows, *unreadable)[0]]
        if self._writer is None:
            self._writer = FeatureWriter(self.store.root, video, self.store.info)
        self._writer.add(self.frames.frame[rows], embedding, outputs)
        self._left[video] -= len(rows) + len(unreadable)
        if not self._left[video]:
            self._writer.finish()
            self._writer = None


def missing_rows(data: FaceDataModule, split: Split, store: FeatureStore) -> dict[str, np.ndarray[Any, Any]]:
    """Find, by video, the rows with an image whose features are not in the store; a frame listed twice counts once.

    Raises:
        DataError: the list is of single pictures, which belong to no video.
    """
    frames, found = data.frames(split), data.has_image(split)
    missing = {}
    for video, rows in rows_by_video(frames.video).items():
        if not video or video.startswith("."):
            raise DataError(
                f"the {split} split has rows of no video (row {rows[0]}: {frames.image[rows[0]]}): a feature store is "
                "of videos, or of photographs in folders, as in Aff-Wild2's layouts"
            )
        there = rows[found[rows]]
        first = np.unique(frames.frame[there], return_index=True)[1]
        wanted = there[np.sort(first)]
        wanted = wanted[~np.isin(frames.frame[wanted], store.frames_of(video))]
        if len(wanted):
            missing[video] = wanted
    return missing


def extract_split(trainer: pl.Trainer, network: nn.Module, data: FaceDataModule, split: Split, root: Path) -> int:
    """Add to a store the features of a split that it does not have.

    Args:
        trainer: trainer whose processes share the videos; its callback ``Ranks`` waits for all of them.
        network: a network that is an ``Embedder``; it is not trained.
        data: data module with the images.
        split: split to extract.
        root: folder of the store, which ``features.store.open_store`` has made.

    Returns:
        How many images could not be read, in this process.
    """
    module = Extraction(network.requires_grad_(False).eval(), data, split, FeatureStore(root))
    trainer.predict(module, return_predictions=False)
    if module.unreadable:
        _log.warning("%s: %d images cannot be read: they have no features", split, module.unreadable)
    return module.unreadable
