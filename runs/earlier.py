"""Stored configurations of earlier versions, in the words of this one."""

from __future__ import annotations

from typing import Any, Final

MOVED: Final = {
    "datamodules.affwild2.AffWild2ExpressionDataModule": "datamodules.affwild2_mtl.AffWild2ExpressionDataModule",
    "datamodules.affwild2.MTLDataModule": "datamodules.affwild2_mtl.MTLDataModule",
    "datamodules.features.FeaturesDataModule": "features.datamodule.FeaturesDataModule",
    "datamodules.unlabelled.FacesDataModule": "datamodules.faces.FacesDataModule",
    "emotieffnet.head_module.HeadModule": "heads.module.HeadModule",
    "emotieffnet.heads.Heads": "heads.network.Heads",
    "training.strategies.OwnBuffers": "runs.strategies.OwnBuffers",
}
"""Where a class was, and where it is."""

AUGMENTED: Final = {
    "datamodules.affectnet.AffectNetDataModule": "datamodules.transforms.DANTransform",
    "datamodules.affwild2_mtl.AffWild2ExpressionDataModule": "datamodules.transforms.DANTransform",
    "datamodules.affwild2_mtl.MTLDataModule": "datamodules.transforms.JitterAndCrop",
    "datamodules.affwild2_uni.AffWild2UniDataModule": "datamodules.transforms.JitterAndCrop",
    "datamodules.faces.FacesDataModule": "datamodules.transforms.MAETransform",
    "datamodules.lsd.LSDDataModule": "datamodules.transforms.JitterAndCrop",
}
"""The augmentation that belonged to a data module, whose node held its keys."""

_AUGMENTATION_KEYS: Final = (
    "input", "resize_ratio", "flip", "jitter_probability", "brightness", "contrast", "saturation", "hue", "grey",
    "affine", "erase", "least_area",
)  # fmt: skip

RENAMED: Final = {f"data.{key}": f"augmentation.{key}" for key in _AUGMENTATION_KEYS}
"""What a key was called, and what it is called."""


def upgraded(node: Any) -> Any:
    """Rewrite plain values that an earlier version stored; those of this version stay as they are."""
    if isinstance(node, list):
        return [upgraded(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: upgraded(value) for key, value in node.items()}
    target = made.get("_target_")
    if isinstance(target, str):
        made["_target_"] = target = MOVED.get(target, target)
        if target in AUGMENTED:
            made = {key: value for key, value in made.items() if key not in _AUGMENTATION_KEYS}
    if isinstance(made.get("data"), dict) and "augmentation" not in made:
        given = {key: value for key, value in node["data"].items() if key in _AUGMENTATION_KEYS}
        target = AUGMENTED.get(str(made["data"].get("_target_")))
        made |= {"augmentation": {"_target_": target, **given}} if given and target else {}
    return made
