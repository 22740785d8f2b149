"""extract.py: features of rendered videos, killed and resumed; heads that are trained on them."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect import files
from affect.errors import CheckpointError, ConfigError, DataError
from affect.preprocessing import IMAGENET
from datamodules.pictures import read_image
from datamodules.transforms import EvalTransform
from features.store import FeatureStore
from rendering.cache import draw as draw_faces
from runs.assembly import build_data
from runs.automl import automl
from runs.checkpoints import load_module
from runs.config import CONFIG_DIR, check_command_line, resolve
from runs.extract import extract
from runs.train import train
from tests.conftest import small
from tests.kills import killed
from tests.test_train import HEADS, command, evaluate_here, scores_of

SCORES = {"va": "P_VA", "expr": "P_EXPR", "au": "P_AU"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("uni") / "uni"
    return draw_faces(root, "uni", seed=1, train_videos=6, val_videos=3, frames_per_video=14, workers=1)


@pytest.fixture(scope="module")
def checkpoint(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small network with all three tasks."""
    folder = tmp_path_factory.mktemp("network") / "run"
    overrides = [*small("baseline"), "backbone.name=resnet10t", "data=affwild2_mtl", f"data.root={faces}",
                 "trainer.max_epochs=1", "model.optimiser.warmup_epochs=0", f"paths.run_dir={folder}"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", overrides=overrides))
    return folder / "checkpoints" / "best.ckpt"


def composed(videos: Path, checkpoint: Path, folder: Path, *overrides: str) -> DictConfig:
    task = [] if "data=affwild2_mtl" in overrides else ["data.task=va"]
    common = [f"checkpoint={checkpoint}", f"data.root={videos}", *task, "trainer=cpu", "data.batch_size=5",
              f"store={folder}/store", f"paths.run_dir={folder}/run", f"paths.cache_dir={folder}/cache"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("extract", overrides=[*common, *overrides])


@pytest.fixture(scope="module")
def store(videos: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    extract(composed(videos, checkpoint, folder))
    return folder / "store"


def crops(videos: Path, split: str) -> set[str]:
    return {str(path.relative_to(videos / "cropped_aligned")) for path in videos.glob(f"cropped_aligned/{split}*/*")}


def content(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def test_every_crop_has_the_features_that_the_network_gives(videos: Path, checkpoint: Path, store: Path) -> None:
    features = FeatureStore(store)
    written = {
        f"{part.parent.name}/{frame:05d}.jpg" for part in features.parts for frame in np.load(part / "frame.npy")
    }
    assert written == crops(videos, "train") | crops(videos, "validation")
    module = load_module(checkpoint).eval()
    name = sorted(written)[17]
    how = module.preprocessing
    image = EvalTransform(image_size=how.image_size, interpolation=how.interpolation)(
        read_image(videos / "cropped_aligned" / name), epoch=0, row=0
    )
    with torch.no_grad():
        expected = module.network.embed(torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None])
    read = features.read(features.find([name.split("/")[0]], np.array([int(name.split("/")[1][:5])])))
    np.testing.assert_allclose(read.embedding, expected[0].numpy(), rtol=2e-3, atol=1e-4)  # half precision
    np.testing.assert_allclose(read.outputs, expected[1].numpy(), rtol=1e-4, atol=1e-5)


def test_the_networks_own_scores_are_a_table(store: Path) -> None:
    table = pq.read_table(store.parent / "run" / "predictions" / "val.parquet")
    assert {"valence", "expr_other", "logit_expr_other", "au26"} <= set(table.column_names)
    evaluate_here(f"predictions={store.parent}/run/predictions/val.parquet", f"paths.run_dir={store.parent}/scored")
    assert "P_VA" in scores_of(store.parent / "scored")


def test_a_second_run_makes_nothing_again_and_a_longer_list_adds(
    videos: Path, checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    extract(composed(videos, checkpoint, tmp_path, "splits=[val]"))
    first = content(tmp_path / "store")
    assert {name.split("/")[0] for name in first} - {"store.json"} == {
        path.name for path in videos.glob("cropped_aligned/val*")
    }
    extract(composed(videos, checkpoint, tmp_path, f"paths.run_dir={tmp_path}/again"))
    assert content(tmp_path / "store") == content(store)
    assert first.items() <= content(tmp_path / "store").items()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "count"),
    [("store.index", 1), ("file.written@store.json", 1), ("part.written", 4), ("part.renamed", 9)],
)
def test_a_killed_extraction_goes_on_to_the_same_store(
    videos: Path, checkpoint: Path, store: Path, tmp_path: Path, point: str, count: int
) -> None:
    arguments = [f"checkpoint={checkpoint}", f"data.root={videos}", "data.task=va", "trainer=cpu", "data.batch_size=5",
                 f"store={tmp_path}/store", f"paths.cache_dir={tmp_path}/cache"]  # fmt: skip
    done = killed(point, "extract.py", *arguments, f"paths.run_dir={tmp_path}/killed", count=count)
    assert done.returncode == -signal.SIGKILL, done.stdout
    assert content(tmp_path / "store") != content(store)
    extract(composed(videos, checkpoint, tmp_path))
    assert content(tmp_path / "store") == content(store)


def test_a_full_disk_ends_an_extraction_that_goes_on_later(
    videos: Path, checkpoint: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 3

    def full(point: str, path: Path) -> None:
        nonlocal left
        left -= point == "part.written"
        if not left:
            raise OSError(errno.ENOSPC, "no room", str(path))

    monkeypatch.setattr(files, "hook", full)
    with pytest.raises(OSError, match="no room"):
        extract(composed(videos, checkpoint, tmp_path))
    monkeypatch.undo()
    assert len(FeatureStore(tmp_path / "store").parts) == 2
    extract(composed(videos, checkpoint, tmp_path, f"paths.run_dir={tmp_path}/again"))
    assert content(tmp_path / "store") == content(store)


def test_a_second_extraction_is_refused_before_anything_is_done(
    videos: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.extract.load_embedder", None)
    monkeypatch.setattr("runs.extract.build_data", None)
    (tmp_path / "store").mkdir()
    with (
        files.locked(tmp_path / "store", "test"),
        pytest.raises(files.LockedError, match=r"store: another process.* is writing to it"),
    ):
        extract(composed(videos, checkpoint, tmp_path))
    (tmp_path / "store" / "precious").touch()
    with pytest.raises(DataError, match="not empty and has no store"):
        extract(composed(videos, checkpoint, tmp_path))
    assert [path.name for path in tmp_path.rglob("*")] == ["store", "precious"]


@pytest.mark.slow
def test_processes_share_whole_videos(videos: Path, checkpoint: Path, store: Path, tmp_path: Path) -> None:
    done = command(
        "extract.py", f"checkpoint={checkpoint}", f"data.root={videos}", "data.task=va", "trainer=cpu",
        "trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=5",
        f"store={tmp_path}/store", f"paths.run_dir={tmp_path}/run", f"paths.cache_dir={tmp_path}/cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert content(tmp_path / "store") == content(store)


def test_all_experiments_on_features_are_run_here() -> None:
    assert sorted(HEADS) == sorted(f"heads_{task}" for task in (*SCORES, "mtl"))


@pytest.mark.parametrize("task", SCORES)
def test_heads_learn_from_the_store_and_are_evaluated(videos: Path, store: Path, tmp_path: Path, task: str) -> None:
    train(heads(store, videos, tmp_path, f"experiment=heads_{task}", "trainer.max_epochs=2",
                "data.batch_size=16"))  # fmt: skip
    table = pq.read_table(tmp_path / "run" / "predictions" / "val.parquet")
    column = {"va": "valence", "expr": "expr_fear", "au": "au1"}[task]
    assert table[column].null_count == len(table) - len(crops(videos, "validation"))
    names = {name for name in scores_of(tmp_path / "run") if name.startswith("P_")}
    assert names == {SCORES[task]}
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("val/loss" in line for line in logged)
    evaluate_here(
        f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", f"paths.run_dir={tmp_path}/again",
        "postprocess.missing=linear", "postprocess.smoothing=box", f"submission={tmp_path}/p.txt", "curve=[0,1,5]",
    )  # fmt: skip
    again = pq.read_table(tmp_path / "again" / "predictions" / "val.parquet")
    np.testing.assert_allclose(again[column].to_numpy(), table[column].to_numpy(), atol=1e-6)
    lines = (tmp_path / "p.txt").read_text().splitlines()
    assert lines[0].startswith("image_location,")
    assert len(lines) == len(table) + 1


@pytest.mark.parametrize("experiment", HEADS)
def test_every_head_is_tried_fast(
    videos: Path, faces: Path, checkpoint: Path, store: Path, tmp_path: Path, experiment: str
) -> None:
    if experiment == "heads_mtl":
        extract(composed(faces, checkpoint, tmp_path, "data=affwild2_mtl"))
        store, videos = tmp_path / "store", faces
    overrides = [f"experiment={experiment}", f"data.store={store}", f"data.labels.root={videos}", "debug=fast",
                 f"paths.run_dir={tmp_path}/heads", f"paths.cache_dir={tmp_path}/cache"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", overrides=overrides))
    assert "SCORE" in scores_of(tmp_path / "heads")


@pytest.mark.slow
def test_heads_of_two_processes_where_one_has_no_row_to_validate(videos: Path, store: Path, tmp_path: Path) -> None:
    common = [f"data.store={store}", f"data.labels.root={videos}", "trainer=cpu", "trainer.max_epochs=1",
              "callbacks.progress=null", f"paths.cache_dir={tmp_path}/cache", "data.batch_size=8",
              "data.eval_batch_size=10000"]  # fmt: skip
    done = command("train.py", "experiment=heads_va", *common, "trainer.devices=2", f"paths.run_dir={tmp_path}/run")
    assert done.returncode == 0, done.stdout
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (loss,) = (line["val/loss"] for line in logged if "val/loss" in line)
    assert 0 < loss < 10
    evaluate_here(f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", f"paths.run_dir={tmp_path}/alone")
    tables = [pq.read_table(tmp_path / name / "predictions" / "val.parquet") for name in ("run", "alone")]
    assert tables[0].equals(tables[1])


def test_three_heads_at_once_on_the_multi_task_list(faces: Path, checkpoint: Path, store: Path, tmp_path: Path) -> None:
    extract(composed(faces, checkpoint, tmp_path, "data=affwild2_mtl"))
    overrides = ["experiment=heads_mtl", f"data.store={tmp_path}/store", f"data.labels.root={faces}",
                 "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=16", "callbacks=per_task",
                 "callbacks.progress=null", f"paths.run_dir={tmp_path}/heads"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        train(compose("train", overrides=overrides))
    assert "P_MTL" in scores_of(tmp_path / "heads")
    assert (tmp_path / "heads" / "checkpoints" / "best_va.ckpt").is_file()


def heads(store: Path, videos: Path, folder: Path, *overrides: str) -> DictConfig:
    experiment = [] if any(override.startswith("experiment=") for override in overrides) else [
        "experiment=heads_va"]  # fmt: skip
    common = [*experiment, f"data.store={store}", f"data.labels.root={videos}", "trainer=cpu",
              "trainer.max_epochs=1", "callbacks.progress=null", f"paths.run_dir={folder}/run",
              f"paths.cache_dir={folder}/cache"]  # fmt: skip
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=[*common, *overrides])


def test_train_and_validation_together(videos: Path, store: Path, tmp_path: Path) -> None:
    def rows(*splits: str) -> int:
        plain = resolve(heads(store, videos, tmp_path, f"data.train_splits=[{','.join(splits)}]"))
        return len(build_data(plain, IMAGENET).train_rows)

    alone, val = rows("train"), rows("val")
    assert rows("train", "val", "val") == alone + 2 * val


def test_features_of_only_some_videos_are_refused(videos: Path, checkpoint: Path, tmp_path: Path, store: Path) -> None:
    extract(composed(videos, checkpoint, tmp_path, "splits=[val]", f"paths.run_dir={tmp_path}/predicted"))
    with pytest.raises(DataError, match=r"has no features of 6 videos of the train split .*splits=\[train\] adds"):
        train(heads(tmp_path / "store", videos, tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_heads_refuse_the_store_of_another_network(
    videos: Path, faces: Path, checkpoint: Path, store: Path, tmp_path: Path
) -> None:
    train(heads(store, videos, tmp_path))
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["network.head.bias"] += 1
    torch.save(content, tmp_path / "other.ckpt")
    extract(composed(videos, tmp_path / "other.ckpt", tmp_path, "splits=[val]", f"paths.run_dir={tmp_path}/other"))
    with pytest.raises(DataError, match="these heads were trained on those of another network"):
        evaluate_here(f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", f"data.store={tmp_path}/store",
                     f"paths.run_dir={tmp_path}/scored")  # fmt: skip
    done = command("extract.py", f"checkpoint={checkpoint}", f"data.root={videos}", "data.task=va", "trainer=cpu",
                   f"store={tmp_path}/store", f"paths.run_dir={tmp_path}/mixed")  # fmt: skip
    assert done.returncode != 0
    assert "is a store of other features: network is" in done.stdout.replace("\n", " ")
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("splits=[]", r"splits=\[\]: give some of train, val, test"),
        ("dtype=float64", "dtype is 'float64', but must be float16 or float32"),
    ],
)
def test_settings_are_checked_first(
    videos: Path, checkpoint: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        extract(composed(videos, checkpoint, tmp_path, override))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.network.heads.valence_arousal.input=scores",
            "input is 'scores', but must be embedding or logits or logits_va or concat",
        ),
        ("model.network.heads.valence_arousal=null", "model.network.heads has none; give some of"),
        ("data.store=nowhere", "nowhere/store.json: no such file"),
        ("data.train_splits=[test]", r"data.train_splits is \['test'\]"),
    ],
)
def test_heads_name_what_is_wrong(videos: Path, store: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises((ConfigError, DataError, ValueError), match=message):
        train(heads(store, videos, tmp_path, override))
    assert not (tmp_path / "run").exists()


def test_automl_learns_from_the_store_and_its_model_is_used_again(videos: Path, store: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightautoml", reason="the extra automl is missing")
    common = [f"data.store={store}", f"data.labels.root={videos}", "data.labels.task=va",
              f"paths.cache_dir={tmp_path}/cache"]  # fmt: skip
    fast = ["settings.timeout=10", "settings.algorithms=[linear_l2]", "settings.cpus=1", "settings.memory_gib=4"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        first = compose("automl", overrides=[*common, *fast, f"paths.run_dir={tmp_path}/run"])
        used = [*common, f"trained={tmp_path}/run", "trust=true"]
        smooth = ["postprocess.smoothing=box", f"submission={tmp_path}/p.txt", f"paths.run_dir={tmp_path}/again"]
        again = compose("automl", overrides=[*used, *smooth])
        other = compose("automl", overrides=[*used, "input=embedding", f"paths.run_dir={tmp_path}/other"])
    automl(first)
    assert {name for name in scores_of(tmp_path / "run") if name.startswith("P_")} == {"P_VA"}
    automl(again)
    tables = [pq.read_table(tmp_path / run / "predictions" / "val.parquet") for run in ("run", "again")]
    assert tables[0]["valence"].equals(tables[1]["valence"])
    assert (tmp_path / "p.txt").read_text().startswith("image_location,valence,arousal\n")
    with pytest.raises(CheckpointError, match="was trained with another input"):
        automl(other)
    assert not (tmp_path / "other").exists()


def test_labels_of_another_data_set_are_chosen_on_the_command_line(store: Path, tmp_path: Path) -> None:
    arguments = [f"data.store={store}", "data@data.labels=affwild2_mtl", "data.labels.root=x", "task=expr"]
    check_command_line("automl", arguments)
    with pytest.raises(ConfigError, match=r"data@data\.labels=affwild2: no such option; did you mean affwild2_"):
        check_command_line("automl", [f"data.store={store}", "data@data.labels=affwild2"])


def test_an_unknown_video_has_null_rows_and_is_submitted_as_the_training_labels_are(
    videos: Path, store: Path, tmp_path: Path, checkpoint: Path
) -> None:
    known = sorted(crops(videos, "validation"))[:5]
    (tmp_path / "list.txt").write_text("\n".join(["image_location,", *known, "nowhere/00001.jpg", "nowhere/00002.jpg"]))
    test = ["splits=[test]", f"data.test_list={tmp_path}/list.txt"]
    extract(composed(videos, checkpoint, tmp_path, *test, f"paths.run_dir={tmp_path}/predicted"))
    train(heads(store, videos, tmp_path))
    arguments = [f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", "split=test", f"data.store={tmp_path}/store",
                 f"data.labels.test_list={tmp_path}/list.txt"]  # fmt: skip
    evaluate_here(*arguments, f"paths.run_dir={tmp_path}/scored")
    table = pq.read_table(tmp_path / "scored" / "predictions" / "test.parquet")
    assert np.flatnonzero(table["valence"].is_null().to_numpy()).tolist() == [5, 6]
    evaluate_here(*arguments, f"submission={tmp_path}/p.txt", f"paths.run_dir={tmp_path}/submitted")
    means = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt")["label_means"]["valence_arousal"]
    said = ",".join(f"{value:.4f}" for value in means)
    last = (tmp_path / "p.txt").read_text().splitlines()[-2:]
    assert last == [f"nowhere/0000{frame}.jpg,{said}" for frame in (1, 2)]
