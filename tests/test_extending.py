"""What CONTRIBUTING.md promises: a data set is new files only, a method these and a word in two lines of pyproject."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.house import ROOT, tracked

DATA_SET = {
    "datamodules/colours.py": '''
"""Plain pictures in ``colours.csv``, one line each: name, split, valence."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Unpack

import numpy as np

from affect.buildable import buildable
from affect.frames import Frames
from datamodules.base import FaceDataModule, LoaderOptions, Split
from datamodules.transforms import EvalTransform


@buildable("data")
class ColoursDataModule(FaceDataModule):
    """Pictures below ``root`` whose brightness is their valence."""

    def __init__(self, root: str, **options: Unpack[LoaderOptions]) -> None:
        super().__init__(**options)
        self.root = root

    def train_transform(self) -> EvalTransform:
        return self.eval_transform()

    def read_split(self, split: Split) -> tuple[Frames, list[Path | None]]:
        with (Path(self.root) / "colours.csv").open() as file:
            rows = [row for row in csv.reader(file) if row[1] == split]
        valence = np.array([[float(row[2]), 0.0] for row in rows], np.float32)
        frames = Frames(
            video=[row[0] for row in rows],
            frame=np.ones(len(rows), np.int64),
            image=[row[0] for row in rows],
            valence_arousal=valence,
            expression=np.full(len(rows), -1, np.int64),
            action_units=np.full((len(rows), 12), np.nan, np.float32),
            files={},
        )
        return frames, [Path(self.root) / row[0] for row in rows]
''',
    "conf/data/colours.yaml": """
_target_: datamodules.colours.ColoursDataModule
root: ???
batch_size: 8
""",
}

METHOD = {
    "brightness/__init__.py": "",
    "brightness/network.py": '''
"""Valence from the mean colour of the picture."""

from __future__ import annotations

from torch import Tensor, nn

from affect.buildable import buildable
from affect.preprocessing import Preprocessing


@buildable("model")
class Brightness(nn.Module):
    """One linear layer on three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocessing = Preprocessing(image_size=32)
        self.linear = nn.Linear(3, 2)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 2) valence and arousal of (B, 3, H, W) uint8 images."""
        result: Tensor = self.linear(image.float().mean(dim=(2, 3)) / 255)
        return result
''',
    "brightness/module.py": '''
"""The LightningModule of the method."""

from __future__ import annotations

import torch
from torch import Tensor

from affect.batch import Batch, Predictions
from affect.buildable import buildable
from affect.ranges import Positive
from brightness.network import Brightness
from evaluators.metrics import AffectScores
from training.module import AffectModule


@buildable("model")
class BrightnessModule(AffectModule):
    """Least squares by gradient descent."""

    def __init__(self, network: Brightness, *, lr: Positive) -> None:
        super().__init__(AffectScores(tasks=("valence_arousal",)), network.preprocessing)
        self.network, self.lr = network, lr

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = (self.network(batch["image"]) - batch["valence_arousal"]).square().mean()
        self.log_losses(loss, {}, len(batch["row"]))
        return loss

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(valence_arousal=self.network(batch["image"]).clamp(-1, 1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)
''',
    "conf/model/brightness.yaml": """
_target_: brightness.module.BrightnessModule
network: {_target_: brightness.network.Brightness}
lr: 0.1
""",
    "conf/experiment/brightness.yaml": """
# @package _global_
# python train.py experiment=brightness data=colours data.root=…
defaults:
  - override /model: brightness
name: brightness
""",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the repository as it is tracked, without tests; and pictures whose brightness is their valence."""
    for source in tracked("."):
        target = tmp_path / "clone" / source.relative_to(ROOT)
        if target.relative_to(tmp_path / "clone").parts[0] not in ("tests", "docs", "assets"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (tmp_path / "colours").mkdir()
    lines = []
    for number, level in enumerate(np.linspace(0, 255, 48).astype(np.uint8)):
        Image.new("RGB", (32, 32), (level, 255 - level, 100)).save(tmp_path / "colours" / f"{number:02}.png")
        lines.append(f"{number:02}.png,{'val' if number % 3 == 0 else 'train'},{level / 127.5 - 1:.3f}\n")
    (tmp_path / "colours" / "colours.csv").write_text("".join(lines))
    return tmp_path / "clone"


def add(clone: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = clone / name
        assert not path.exists(), f"{name} is no new file"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.removeprefix("\n"), encoding="utf-8")


def run(clone: Path, *command: str) -> str:
    """Runs a command in the clone, which must end well."""
    done = subprocess.run(
        command, cwd=clone, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def train(clone: Path, *arguments: str) -> float:
    """Trains on the pictures; the CCC of valence."""
    places = [f"data.root={clone.parent}/colours", f"paths.run_dir={clone.parent}/run"]
    usual = ["data=colours", "data.batch_size=8", "scale=tiny", "trainer=cpu", "callbacks.progress=null"]
    return ccc_of(run(clone, sys.executable, "train.py", *usual, *places, *arguments))


def ccc_of(told: str) -> float:
    return next(float(line.split()[1]) for line in told.splitlines() if line.startswith("CCC_V "))


def test_a_data_set_is_new_files_only(clone: Path) -> None:
    add(clone, DATA_SET)
    ccc = train(
        clone, "experiment=baseline", "trainer.max_epochs=2", "model.warmup_epochs=1",
        "model.network.backbone=test_efficientnet", "model.network.image_size=32",
    )  # fmt: skip
    assert -1 <= ccc <= 1


def test_a_method_is_new_files_and_a_word_in_two_lines(clone: Path) -> None:
    add(clone, DATA_SET | METHOD)
    project = clone / "pyproject.toml"
    before = project.read_text(encoding="utf-8")
    after = before.replace('"baseline | cotex', '"baseline | brightness | cotex')
    after = after.replace('"backbones", "baseline",', '"backbones", "baseline", "brightness",')
    changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line.startswith("+ ")]
    assert [line.count("brightness") for line in changed] == [1, 1]
    project.write_text(after, encoding="utf-8")
    lint = str(Path(sys.executable).with_name("lint-imports"))
    assert "0 broken" in run(clone, lint)
    add(clone, {"brightness/climbing.py": "import emma.network\n"})
    with pytest.raises(AssertionError, match=r"brightness.climbing -> emma.network"):
        run(clone, lint)
    (clone / "brightness" / "climbing.py").unlink()
    ccc = train(clone, "experiment=brightness", "trainer.max_epochs=40")
    assert ccc > 0.9
    checkpoint = f"checkpoint={clone.parent}/run/checkpoints/best.ckpt"
    told = run(clone, sys.executable, "evaluate.py", checkpoint, f"paths.run_dir={clone.parent}/again", "trainer=cpu")
    assert ccc_of(told) == ccc
