"""What CONTRIBUTING.md promises: an addition is new files only, a method these and a word in two lines of pyproject."""

from __future__ import annotations

import difflib
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
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
from typing import Any

import numpy as np

from affect.settings import buildable
from affect.frames import Frames
from datamodules.base import FaceDataModule, Split


@buildable("data")
class ColoursDataModule(FaceDataModule):
    """Pictures below ``root`` whose brightness is their valence."""

    def __init__(self, root: str, **options: Any) -> None:
        super().__init__(**options)
        self.root = root

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

AUGMENTATION = {
    "datamodules/negative.py": '''
"""An augmentation: every training picture is a negative."""

from __future__ import annotations

from affect.settings import Count, Whole, buildable
from affect.preprocessing import Interpolation
from datamodules.transforms import EvalTransform
from datamodules.resizing import Image


@buildable("augmentation")
class Negative(EvalTransform):
    """Resize, and turn the colours round."""

    def __init__(self, *, image_size: Count, interpolation: Interpolation, seed: Whole = 0) -> None:
        super().__init__(image_size=image_size, interpolation=interpolation)

    def __call__(self, image: Image, *, epoch: int, row: int) -> Image:
        """The negative."""
        return super().__call__(255 - image, epoch=epoch, row=row)
''',
    "conf/augmentation/negative.yaml": "_target_: datamodules.negative.Negative\n",
}

LOSS = {
    "losses/squares.py": '''
"""A loss: squares in the place of the CCC."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from affect.batch import AffectLogits, Batch
from affect.settings import Positive, buildable
from losses.multitask import MultiTaskLoss


@buildable("model")
class Squares(MultiTaskLoss):
    """The joint loss with mean squares of valence and arousal."""

    def __init__(self, *, scale: Positive, **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale

    def forward(self, output: AffectLogits, batch: Batch) -> dict[str, Tensor]:
        """A scalar for each task, and one more."""
        assert output.valence_arousal is not None
        squares = (output.valence_arousal - batch["valence_arousal"]).square().mean()
        return {**super().forward(output._replace(valence_arousal=None), batch), "squares": self.scale * squares}
''',
    "conf/experiment/squares.yaml": """
# @package _global_
# python train.py experiment=squares data=colours data.root=…
defaults:
  - baseline
name: squares
model:
  loss: {_target_: losses.squares.Squares, scale: 2.0}
""",
    "conf/values/tiny/squares.yaml": """
# @package _global_
defaults:
  - tiny/baseline
""",
}

METHOD = {
    "brightness/__init__.py": "",
    "brightness/network.py": '''
"""Valence from the mean colour of the picture."""

from __future__ import annotations

from torch import Tensor, nn

from affect.settings import buildable
from affect.labels import EXPRESSIONS
from affect.preprocessing import Preprocessing


@buildable("model")
class Brightness(nn.Module):
    """One linear layer on three numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks, self.expressions = ("valence_arousal",), EXPRESSIONS
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

from torch import Tensor

from affect.batch import Batch, Predictions
from affect.settings import buildable
from training.module import AffectModule


@buildable("model")
class BrightnessModule(AffectModule):
    """Least squares by gradient descent."""

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = (self.network(batch["image"]) - batch["valence_arousal"]).square().mean()
        self.log_losses(loss, {}, len(batch["row"]))
        return loss

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(valence_arousal=self.network(batch["image"]).clamp(-1, 1))
''',
    "conf/experiment/brightness.yaml": """
# @package _global_
# python train.py experiment=brightness data=colours data.root=…
defaults:
  - override /augmentation: none
name: brightness
model:
  _target_: brightness.module.BrightnessModule
  network: {_target_: brightness.network.Brightness}
  optimiser: {_target_: training.optimisation.Adam, lr: 0.1}
""",
    "conf/values/tiny/brightness.yaml": "# @package _global_\n",
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


def train(clone: Path, *arguments: str) -> dict[str, list[float]]:
    """Trains on the pictures; what was logged, from the first value to the last."""
    places = [f"data.root={clone.parent}/colours", f"paths.run_dir={clone.parent}/run"]
    usual = ["data=colours", "data.batch_size=8", "scale=tiny", "trainer=cpu", "callbacks.progress=null"]
    run(clone, sys.executable, "train.py", *usual, *places, *arguments)
    logged: dict[str, list[float]] = defaultdict(list)
    for line in (clone.parent / "run" / "metrics.jsonl").read_text().splitlines():
        for name, value in json.loads(line).items():
            logged[name].append(value)
    return logged


@pytest.mark.slow
def test_a_data_set_a_loss_and_an_augmentation_are_new_files_only(clone: Path) -> None:
    add(clone, DATA_SET | LOSS | AUGMENTATION)
    logged = train(
        clone, "experiment=squares", "augmentation=negative", "trainer.max_epochs=15", "model.optimiser.base_lr=0.3",
        "model.network.backbone=test_efficientnet", "model.network.image_size=32",
    )  # fmt: skip
    assert logged["val/CCC_V"][-1] < -0.3  # bright pictures were dark ones in training
    assert logged["train/squares"][-1] < logged["train/squares"][0]


@pytest.mark.slow
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
    logged = train(clone, "experiment=brightness", "trainer.max_epochs=40")
    assert logged["val/CCC_V"][-1] > 0.9
    checkpoint = f"checkpoint={clone.parent}/run/checkpoints/best.ckpt"
    told = run(clone, sys.executable, "evaluate.py", checkpoint, f"paths.run_dir={clone.parent}/again", "trainer=cpu")
    best = max(logged["val/CCC_V"])
    assert f"CCC_V {best:.4f}" in " ".join(told.split())
