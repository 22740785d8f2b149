"""Places that cannot be written to are refused before anything is read or computed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect.errors import UserError
from runs.automl import automl
from runs.config import CONFIG_DIR
from runs.evaluate import evaluate

ENTRIES: dict[str, tuple[Callable[[DictConfig], None], list[str]]] = {
    "evaluate": (evaluate, ["predictions=[none.parquet]", "data=affwild2_mtl", "data.root=none"]),
    "per video": (evaluate, ["predictions=[none.parquet]", "data=affwild2_uni", "data.root=none", "data.task=va",
                             "submission_task=va", "submission_per_video=true"]),
    "automl": (automl, ["data.store=none", "data.labels.root=none", "data.labels.task=va"]),
}  # fmt: skip


def place(folder: Path, kind: str) -> Path:
    """A path that is no place for a submission."""
    path = folder / "out"
    if kind == "folder":
        (path / "precious").mkdir(parents=True)
    elif kind == "file":
        path.touch()
    elif kind == "below a file":
        path.touch()
        path /= "p.txt"
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path(os.devnull)
    else:
        (folder / "there" / "precious").mkdir(parents=True)
        path.symlink_to(os.devnull if kind == "link to a device" else folder / "there")
    return path


@pytest.mark.parametrize("kind", ["folder", "device", "pipe", "link to a device", "link to a folder", "below a file"])
@pytest.mark.parametrize("entry", ["evaluate", "automl"])
def test_a_submission_that_can_be_no_file(tmp_path: Path, entry: str, kind: str) -> None:
    refused(tmp_path, entry, kind, r"is (a folder|a device|below a file)")


@pytest.mark.parametrize("kind", ["folder", "device", "file", "link to a folder"])
def test_a_submission_that_can_be_no_new_folder(tmp_path: Path, kind: str) -> None:
    refused(tmp_path, "per video", kind, r"is not (empty|a folder): give another")


def refused(folder: Path, entry: str, kind: str, message: str) -> None:
    run, overrides = ENTRIES[entry]
    path = place(folder, kind)
    before = sorted(folder.rglob("*"))
    common = [f"submission={path}", f"paths.run_dir={folder}/run", f"paths.cache_dir={folder}/cache"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose(entry if entry == "automl" else "evaluate", overrides=[*overrides, *common])
    with pytest.raises(UserError, match=message):
        run(config)
    assert sorted(folder.rglob("*")) == before
