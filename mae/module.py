"""The LightningModule of masked autoencoding, which pre-trains an encoder on faces without labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanMetric

from affect.batch import Batch
from affect.errors import ConfigError
from affect.settings import Dropped, buildable
from backbones.masks import kept_patches
from backbones.normalize import Normalize
from losses.reconstruction import reconstruction_loss
from mae.network import MAE
from training.module import TrainedModule
from training.optimisation import AdamW, Groups, plain_groups

_TRAINING, _VALIDATION = 0, 1  # two streams of masks


@buildable("model")
class MAEModule(TrainedModule):
    """Pre-trains a masked autoencoder (He et al. 2022, https://github.com/facebookresearch/mae).

    It logs ``train/loss``, ``val/loss`` with masks that are the same in every epoch, and ``val/flat_loss``: the loss of
    a prediction that knows the mean of each removed patch and nothing else.

    Args:
        network: the network to train.
        mask_ratio: share of the patches that are removed.
        normalise_pixels: compare with each patch's normalised pixels (``norm_pix_loss`` of the published code).
        seed: seed of the masks.
        **options: keywords of ``TrainedModule``.

    Raises:
        ConfigError: the mask ratio leaves no patch, or removes none.
    """

    network: MAE
    optimiser: AdamW

    def __init__(
        self,
        network: MAE,
        *,
        mask_ratio: Dropped = 0.75,
        normalise_pixels: bool = True,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        patches = network.num_patches
        if not 0 < mask_ratio < 1 or not 1 <= int(patches * (1 - mask_ratio)) < patches:
            raise ConfigError(
                [f"model.mask_ratio={mask_ratio} must remove some of the {patches} patches, and leave some"]
            )
        self.normalize = Normalize(network.preprocessing)
        self.mask_ratio, self.normalise_pixels, self.seed = mask_ratio, normalise_pixels, seed
        self.val_loss, self.flat_loss = MeanMetric(), MeanMetric()

    def masks(self, rows: Tensor, *, training: bool) -> Tensor:
        """Return the patches (B, K) of these rows that are shown: new ones each training epoch, otherwise the same."""
        return kept_patches(
            rows,
            patches=self.network.num_patches,
            ratio=self.mask_ratio,
            seed=self.seed,
            epoch=self.current_epoch if training else 0,
            view=_TRAINING if training else _VALIDATION,
            repeat=0,
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        image, keep = self.normalize(batch["image"]), self.masks(batch["row"], training=True)
        pixels = self.network.patch_pixels(image)
        loss = reconstruction_loss(self.network(image, keep), pixels, keep, normalise=self.normalise_pixels)
        self.log_losses(loss, {}, len(image))
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        image, keep = self.normalize(batch["image"]), self.masks(batch["row"], training=False)
        pixels = self.network.patch_pixels(image)
        flat = torch.zeros_like(pixels) if self.normalise_pixels else pixels.mean(dim=-1, keepdim=True)
        for metric, prediction in ((self.val_loss, self.network(image, keep)), (self.flat_loss, flat)):
            metric.update(reconstruction_loss(prediction, pixels, keep, normalise=self.normalise_pixels), len(image))

    def on_validation_epoch_end(self) -> None:
        # the metrics themselves add up over processes
        self.log_same({"val/loss": self.val_loss.compute(), "val/flat_loss": self.flat_loss.compute()})
        self.val_loss.reset()
        self.flat_loss.reset()

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """Return the original, masked and reconstructed images of a batch.

        Normalised predictions get back the mean and deviation of their patch, as in the published figures. Patches that
        were seen are shown as they are.

        Returns:
            (3, B, 3, H, W) uint8.
        """
        image, keep = self.normalize(batch["image"]), self.masks(batch["row"], training=False)
        network = self.network
        pixels = network.patch_pixels(image)
        prediction = network(image, keep).float()
        if self.normalise_pixels:
            mean, deviation = pixels.mean(dim=-1, keepdim=True), (pixels.var(dim=-1, keepdim=True) + 1e-6).sqrt()
            prediction = prediction * deviation + mean
        removed = torch.ones(pixels.shape[:2], device=pixels.device).scatter(1, keep, 0.0)[..., None]
        filled = pixels * (1 - removed) + prediction * removed
        original = batch["image"].float()
        seen = network.assemble(1 - removed.expand_as(pixels))
        drawn = (network.assemble(filled) * self.normalize.std + self.normalize.mean) * 255
        return torch.stack([original, original * seen + 128 * (1 - seen), drawn]).clamp(0, 255).round().byte()

    def parameter_groups(self, lr: float) -> Groups:
        return plain_groups(self.network, "mae", lr=lr, weight_decay=self.optimiser.weight_decay)

    def exports(self) -> dict[str, dict[str, Any]]:
        return {"encoder.pth": {"model": self.network.encoder_state()}, "mae.pth": {"model": self.network.state_dict()}}
