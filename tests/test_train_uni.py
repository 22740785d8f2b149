"""Runs of train.py and evaluate.py on the uni-task layout: only the score of its task is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir

from affect.errors import CheckpointError, ConfigError, DataError
from evaluators.table import read_table
from rendering.cache import draw as draw_faces
from runs.config import CONFIG_DIR
from runs.evaluate import evaluate
from runs.train import train
from tests.conftest import SMALL, small
from tests.test_train import command, evaluate_here, scores_of

SCORES = {"va": "P_VA", "expr": "P_EXPR", "au": "P_AU"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_faces(
        tmp_path_factory.mktemp("uni") / "uni",
        "uni",
        seed=1,
        train_videos=6,
        val_videos=3,
        frames_per_video=12,
        workers=1,
    )


@pytest.mark.parametrize("task", SCORES)
def test_emma_reports_the_task_of_the_data_alone(root: Path, tmp_path: Path, task: str) -> None:
    overrides = ["experiment=emma", "data=affwild2_uni", f"data.root={root}", f"data.task={task}", *SMALL,
                 f"paths.run_dir={tmp_path}/run", f"paths.cache_dir={tmp_path}/cache",
                 "model.loss.au_pos_weight=train", "model.loss.expression_weight=train",
                 "data.batch_size=8"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        score = train(compose("train", overrides=overrides))
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert {name for name in ("P_MTL", *SCORES.values()) if scores[name] != "no labels"} == {SCORES[task]}
    assert scores["SCORE"] == scores[SCORES[task]] == pytest.approx(score, abs=1e-6)
    table = pq.read_table(tmp_path / "run" / "predictions" / "val.parquet")
    rows = [row for path in sorted((root / "VA_Estimation_Challenge" / "Validation_Set").iterdir())
            for row in path.read_text().splitlines()[1:]]  # fmt: skip
    assert len(table) == len(rows)
    assert table["au1"].null_count == len(rows) - len(list((root / "cropped_aligned").glob("validation*/*.jpg")))


def test_a_video_without_any_face_gets_what_the_training_labels_say(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = min((root / "cropped_aligned").glob("validation*")).name
    rows = [f"{video}/{frame:05d}.jpg," for video in (seen, "faceless") for frame in range(1, 6)]
    (tmp_path / "list.txt").write_text("\n".join(["image_location", *rows]))
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", overrides=[
            *small("baseline"), "backbone.name=resnet10t", "model.network.tasks=[expression]", "data=affwild2_uni",
            f"data.root={root}", "data.task=expr", "data.batch_size=8", "model.optimiser.warmup_epochs=0",
            f"paths.run_dir={tmp_path}/run", f"paths.cache_dir={tmp_path}/cache",
        ]))  # fmt: skip

    def evaluated(name: str, checkpoint: Path, *overrides: str) -> Path:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            evaluate(compose("evaluate", overrides=[
                f"checkpoint={checkpoint}", "data=affwild2_uni", f"data.root={root}", "data.task=expr", "split=test",
                f"data.test_list={tmp_path}/list.txt", "postprocess.missing=linear", "postprocess.smoothing=box",
                f"submission={tmp_path}/{name}.txt", f"paths.run_dir={tmp_path}/{name}", *overrides,
                f"paths.cache_dir={tmp_path}/cache",
            ]))  # fmt: skip
        return tmp_path / name / "predictions" / "test-postprocessed.parquet"

    best = tmp_path / "run/checkpoints/best.ckpt"
    table = read_table(evaluated("one", best))
    labels = [int(line) for path in root.glob("E*/Train*/*.txt")
              for line in path.read_text().splitlines()[1:]]  # fmt: skip
    shares = np.bincount([label for label in labels if label >= 0], minlength=8)
    frequent = table.predictions["expression"][5:].argmax(axis=1).tolist()
    assert len(set(frequent)) == 1
    assert shares[frequent[0]] == shares.max()
    assert "no image of faceless could be read: all 5 rows of this video have the means" in capsys.readouterr().out
    assert json.loads((tmp_path / "one/scores.json").read_text())["unseen"]["videos"] == ["faceless"]
    own = read_table(tmp_path / "one/predictions/test.parquet")
    assert own.null[5:].all()
    assert not own.null[:5].all()
    # a checkpoint that does not know: told before anything is predicted, with what to give
    content = torch.load(best, weights_only=True)
    assert sorted(content["label_means"]) == ["action_units", "expression", "valence_arousal"]
    torch.save({key: value for key, value in content.items() if key != "label_means"}, tmp_path / "old.ckpt")
    with pytest.raises(
        DataError, match=r"'faceless' has no image at all.*'postprocess\.fallback={expression: neutral}'"
    ):
        evaluated("two", tmp_path / "old.ckpt")
    assert not (tmp_path / "two").exists()
    given = read_table(evaluated("three", tmp_path / "old.ckpt", "postprocess.fallback={expression: sadness}"))
    assert given.predictions["expression"][5:].tolist() == [[0, 0, 0, 0, 0, 1, 0, 0]] * 5
    np.testing.assert_array_equal(given.predictions["expression"][:5], table.predictions["expression"][:5])
    torch.save({**content, "label_means": {"expression": [2] * 8}}, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match=r"bad\.ckpt: its label_means are damaged: expression has values"):
        evaluated("four", tmp_path / "bad.ckpt")


@pytest.mark.slow
def test_a_baseline_of_one_task_on_rendered_faces_and_its_submission(tmp_path: Path) -> None:
    done = command(
        "train.py", *small("baseline"), "backbone.name=resnet10t", "model.network.tasks=[valence_arousal]",
        "data=synthetic", "draws=uni", "data.task=va", "model.optimiser.warmup_epochs=0",
        "render.train_videos=4", "render.val_videos=3", "render.frames_per_video=10", "render.workers=1", "debug=fast",
        f"paths.cache_dir={tmp_path}/cache", f"paths.run_dir={tmp_path}/run",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert set(scores_of(tmp_path / "run")) == {"P_VA", "CCC_V", "CCC_A", "SCORE"}

    (root,) = (tmp_path / "cache" / "faces").iterdir()
    videos = sorted((root / "cropped_aligned").glob("validation*"))
    (tmp_path / "videos.txt").write_text("\n".join(video.name for video in videos))
    counts = [int(max(video.iterdir()).stem) + 2 for video in videos]  # the last two frames have no crop
    (tmp_path / "counts.txt").write_text(
        "\n".join(f"{video.name},{count}" for video, count in zip(videos, counts, strict=True))
    )
    checkpoint = f"checkpoint={tmp_path}/run/checkpoints/best.ckpt"
    test = [f"data.root={root}", "split=test", f"data.test_list={tmp_path}/videos.txt"]
    test.append(f"data.expected_frames={tmp_path}/counts.txt")
    evaluate_here(checkpoint, *test, f"submission={tmp_path}/p.txt", f"paths.run_dir={tmp_path}/one")
    header, *lines = (tmp_path / "p.txt").read_text().splitlines()
    assert header == "image_location,valence,arousal"
    assert [line.split(",")[0] for line in lines] == [
        f"{video.name}/{frame:05d}.jpg"
        for video, count in zip(videos, counts, strict=True)
        for frame in range(1, count + 1)
    ]
    evaluate_here(
        f"predictions={tmp_path}/one/predictions/test.parquet", *test, f"submission={tmp_path}/sub",
        "submission_per_video=true", f"paths.run_dir={tmp_path}/two", "data=affwild2_uni", "data.task=va",
        f"paths.cache_dir={tmp_path}/cache",
    )  # fmt: skip
    written = {path.stem: path.read_text().splitlines()[1:] for path in (tmp_path / "sub").iterdir()}
    assert {name: len(rows) for name, rows in written.items()} == {
        video.name: count for video, count in zip(videos, counts, strict=True)
    }
    assert [row for rows in dict(sorted(written.items())).values() for row in rows] == [
        line.partition(",")[2] for line in lines
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("submission_task=mtl", "submission_task is 'mtl', but must be va or expr or au or null"),
        ("submission_per_video=true", "submission_per_video=true is for the uni-task challenges"),
    ],
)
def test_forms_of_submission_that_do_not_exist_are_refused_at_once(tmp_path: Path, override: str, message: str) -> None:
    overrides = ["predictions=none.parquet", "data=affwild2_mtl", "data.root=x", f"paths.run_dir={tmp_path}/run"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config = compose("evaluate", overrides=[*overrides, override])
    with pytest.raises(ConfigError, match=message):
        evaluate(config)
    assert not (tmp_path / "run").exists()
