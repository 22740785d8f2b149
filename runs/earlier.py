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


def upgraded(node: Any) -> Any:
    """Rewrite plain values that an earlier version stored; those of this version stay as they are."""
    if isinstance(node, list):
        return [upgraded(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {key: upgraded(value) for key, value in node.items()}
    target = made.get("_target_")
    if isinstance(target, str):
        made["_target_"] = MOVED.get(target, target)
    return made
