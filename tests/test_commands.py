"""Commands that need nothing but what is in the repository: ``debug=fast`` with every experiment, Hydra's flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from runs.config import CONFIG_DIR
from runs.train import train
from tests.test_train import HEADS, command

EXPERIMENTS = sorted({path.stem for path in (CONFIG_DIR / "experiment").glob("*.yaml")} - {*HEADS, "temporal"})
"""All but those on a feature store (tests/test_extract.py, tests/heads/temporal/)."""


def tried(experiment: str, folder: Path, faces: int, *overrides: str) -> Path:
    """The folder of a run of ``debug=fast`` on drawn faces: at least ``faces`` to train with."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        common = [f"experiment={experiment}", "data=synthetic", "debug=fast", *overrides]
        layout = compose("train", overrides=common).render.layout
        videos = {"train_videos": -(-faces // 8), "val_videos": 2, "frames_per_video": 12}
        sizes = videos if layout in ("mtl", "uni", "joint") else {"train_faces": faces, "val_faces": 18}
        places = [f"paths.cache_dir={folder}/cache", f"paths.run_dir={folder}/run"]
        drawn = [f"render.{key}={value}" for key, value in sizes.items()]
        train(compose("train", overrides=[*common, *drawn, *places]))
    return folder / "run"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_tried_fast(experiment: str, tmp_path: Path) -> None:
    faces = {
        "emma": 128,
        "emotionnet": 128,
        "dan": 128,
        "mae": 128,
        "cotex": 128,
        "emotieffnet_finetune": 300,
    }  # few of its frames have a label
    folder = tried(experiment, tmp_path, faces.get(experiment, 64), "scale=tiny")
    assert (folder / "scores.json").is_file()
    backbone = {key: ["backbone.pth"] for key in ("baseline", "baseline_lsd", "photographs")}
    exported = backbone | {"dan": ["dan.pth"], "mae": ["encoder.pth", "mae.pth"],
                           "emotieffnet_backbone": ["emotieffnet.pth"]}  # fmt: skip
    assert sorted(path.name for path in folder.glob("weights/*")) == exported.get(experiment, [])


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_tried_fast_at_the_papers_size(experiment: str, tmp_path: Path) -> None:
    weights = {"emma": ["model.network.vit.weights=random", "model.network.dan.weights=random"]}.get(
        experiment, ["model.network.weights=random"]
    )
    faces = 100 if experiment == "emotieffnet_finetune" else 12  # few frames have a label
    folder = tried(experiment, tmp_path, faces, "scale=paper", *weights, "data.batch_size=4")
    assert (folder / "scores.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("-sc install=bash", "hydra_bash_completion"),
        ("--help", "experiment: baseline, baseline_lsd, cotex"),
        ("--info plugins", "Installed Hydra Plugins"),
        ("--cfg job scale=tiny", "name: emma"),
    ],
)
def test_hydras_flags_work(flags: str, expected: str) -> None:
    done = command("train.py", *flags.split())
    assert done.returncode == 0
    assert expected in done.stdout
