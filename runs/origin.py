"""What a model learnt from: kept in its checkpoint, and told where it is asked about something else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rendering.writing import MANIFEST

if TYPE_CHECKING:
    from datamodules.base import FaceDataModule


def origin_of(data: FaceDataModule) -> dict[str, Any]:
    """Return the class of a data module, and what drew its faces: None for photographs."""
    return {"data": type(data).__name__, "renderer": renderer_of(data.root)}


def renderer_of(roots: str | Sequence[str]) -> dict[str, Any] | None:
    """Read what drew the faces, where they are rendered: version and parameters of the renderer lie beside them."""
    for root in [roots] if isinstance(roots, str) else roots:
        manifest = Path(root) / MANIFEST
        if manifest.is_file():
            return dict(json.loads(manifest.read_text()))
    return None


def strangeness(learnt: Mapping[str, Any], data: FaceDataModule) -> str:
    """Say in a line that a model is asked about other faces than it has learnt from; empty where it is not.

    Args:
        learnt: ``origin_of`` the data that it was trained on; empty for checkpoints of earlier versions.
        data: that it is asked about.
    """
    if learnt.get("renderer") and renderer_of(data.root) is None:
        return "the model has learnt from drawn faces only: what it says of photographs is a guess, whatever its scores"
    return ""
