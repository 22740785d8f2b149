"""The scripts of examples/ run, and what README shows of them is what they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from affect.labels import EXPRESSIONS
from datamodules.pictures import read_image
from evaluators.table import Table, read_table, write_table
from examples import score_faces
from examples.compare_smiles import compare
from examples.draw_scores import draw, score
from runs.train import train

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(compose_run: Callable[..., DictConfig], tmp_path: Path) -> Path:
    """A run folder of a small EMMA."""
    train(compose_run())
    return tmp_path / "run"


def test_one_face_is_scored_as_the_table_has_it(run: Path, faces: Path, tmp_path: Path) -> None:
    checkpoint, table = run / "checkpoints" / "best.ckpt", read_table(run / "predictions" / "val.parquet")
    row = 3
    picture = faces / "cropped_aligned" / table.image[row]
    scores = score(checkpoint, picture)
    expected = np.concatenate([table.predictions[task][row] for task in table.predictions])
    assert list(scores)[:3] == ["valence", "arousal", "expr_neutral"]
    np.testing.assert_allclose(list(scores.values()), expected, atol=1e-5)
    draw(picture, scores, tmp_path / "drawn.png")
    assert read_image(tmp_path / "drawn.png").shape == (270, 960, 3)


def test_the_example_in_the_readme_is_the_script() -> None:
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    script = Path(score_faces.__file__).read_text(encoding="utf-8")
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert [line for line in lines if line not in script] == []
    assert len(lines) >= 5


def smiles(path: Path, names: list[str]) -> Path:
    """A table of faces whose valence is 0, 0.3, 0.5, 0.4, 0.3 and 0.5."""
    valence = np.array([0.0, 0.3, 0.5, 0.4, 0.3, 0.5], np.float32)
    values = {"valence_arousal": np.stack([valence, np.zeros(6, np.float32)], axis=1)}
    frame, image = np.ones(6, dtype=np.int64), [f"{name}/00001.jpg" for name in names]
    write_table(Table(names, frame, image, values, EXPRESSIONS, {}, str(path)), path)
    return path


def test_the_same_people_are_compared(tmp_path: Path) -> None:
    names = ["3_neutral", "1_neutral", "1_smiling", "2_neutral", "2_smiling", "3_smiling"]
    header, valence, arousal = compare(smiles(tmp_path / "smiles.parquet", names))
    assert header.startswith("3 people")
    name, mean, low, high, *share = valence.replace("[", "").replace(",", "").replace("]", "").split()
    assert (name, mean) == ("valence", "+0.200")
    assert float(low) < 0.2 < float(high)
    assert share == ["0.67", "0.21", "0.94"]  # Wilson's of 2 in 3: (0.667 + 0.640 ± 0.834) / 2.281
    assert arousal.split()[1] == "+0.000"
    with pytest.raises(SystemExit, match="each person needs the rows"):
        compare(smiles(tmp_path / "other.parquet", ["4_neutral", *names[1:]]))
