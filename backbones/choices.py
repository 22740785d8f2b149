"""The networks for ``backbone=…``, with their weights: those of Tables 1 and 2 of the EMMA paper, and more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Backbone:
    """A timm model, and how it is fine-tuned.

    Attributes:
        name: name of the timm model; with ``???`` the user must give it.
        weights: name or file of the weights; with ``???`` the user must give a file.
        image_size: side of the input in pixels.
        small_size: side of the input in pixels at ``scale=tiny``.
        frozen: fine-tuning trains the linear layer alone.
        layer_decay: factor of the learning rate from one block to the block below it.
        drop_path: stochastic depth rate in fine-tuning.
        mean: mean of each RGB channel in [0, 1]; None: that of the weights.
        std: standard deviation of each RGB channel in [0, 1]; None: that of the weights.
        classes: number of AffectNet's expressions that the weights score; None: the classifier is not used.
        valence_arousal: the weights score valence and arousal, too.
    """

    name: str = "???"
    weights: str = "???"
    image_size: int = 224
    small_size: int = 64
    frozen: bool = False
    layer_decay: float = 1.0
    drop_path: float = 0.0
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    classes: int | None = None
    valence_arousal: bool = False


BACKBONES: Final[Mapping[str, Backbone]] = {
    # Tables 1 and 2: ImageNet
    "resnet50": Backbone("resnet50", "timm:resnet50.tv_in1k"),
    "inception_v3": Backbone("inception_v3", "timm:inception_v3.tv_in1k", image_size=299, small_size=80),
    "efficientnet_b2": Backbone("tf_efficientnet_b2", "timm:tf_efficientnet_b2.in1k", image_size=260),
    # CLIP
    "resnet50_clip": Backbone("resnet50_clip", "timm:resnet50_clip.openai"),
    "vit_clip": Backbone(
        "vit_base_patch16_clip_224", "timm:vit_base_patch16_clip_224.openai", layer_decay=0.65, drop_path=0.1
    ),
    # masked autoencoder on CelebA
    "vit_mae": Backbone("vit_base_patch16_224", "emma-celeba-vit-b", layer_decay=0.65, drop_path=0.1),
    # AffectNet: a state dict of EmotiEffNet-B2. The ONNX file enet_b2_8 needs frozen=true, because its BatchNorm layers
    # are folded into the convolutions
    "efficientnet_b2_affectnet": Backbone("tf_efficientnet_b2", image_size=260),
    # VGG-Face: the first layer must be in RGB order; images are 0..255 minus (129.19, 104.76, 93.59)
    "vgg16_vggface": Backbone(
        "vgg16", frozen=True, mean=(0.5066, 0.4108, 0.367), std=(0.00392157, 0.00392157, 0.00392157)
    ),
    # in no table: its ImageNet weights come with a package (extra "pretrained"). Files that were trained from these
    # weights have the same mean
    "efficientnet_lite0": Backbone(
        "tf_efficientnet_lite0", "efficientnet-lite0-imagenet", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    ),
    # EmotiEffNet and MT-EmotiEffNet: an ONNX file by name, or a state dict
    "emotieffnet": Backbone("tf_efficientnet_b0", "enet_b0_8_best_vgaf", frozen=True, classes=8),
    "mt_emotieffnet": Backbone("tf_efficientnet_b0", "enet_b0_8_va_mtl", frozen=True, classes=8, valence_arousal=True),
    # any other timm model: backbone.name=… backbone.weights=…
    "timm": Backbone(),
}
