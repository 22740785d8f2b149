from __future__ import annotations

from pathlib import Path

import pytest

from rendering.cache import draw as draw_faces

SIZE = {"seed": 3, "train_videos": 8, "val_videos": 4, "frames_per_video": 12}


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rendered MTL data set, made by one process."""
    return draw_faces(tmp_path_factory.mktemp("rendered") / "mtl", "mtl", workers=1, **SIZE)
