"""experiment=temporal: temporal heads learn from windows of drawn videos, and are evaluated on whole ones."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from affect.errors import ConfigError, DataError, UserError
from affect.folds import base_video
from features.store import open_store
from features.store_files import FeatureWriter
from rendering.cache import draw as draw_faces
from runs.config import CONFIG_DIR, check_command_line, resolve
from runs.networks import load_networks
from runs.train import train
from tests.conftest import raising
from tests.features.windows import INFO
from tests.test_train import command, evaluate_here, scores_of

HIDDEN = 4
"""Every so many frames, one has no features."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("uni") / "uni"
    return draw_faces(root, "uni", seed=1, train_videos=6, val_videos=3, frames_per_video=30, workers=1)


def store_of(root: Path, videos: Path, letter: str, width: int) -> Path:
    """A store of made-up features of the drawn frames, without every fourth."""
    info = replace(INFO, sha256=letter * 64, embedding=width, images="cropped_aligned")
    open_store(root, info)
    for folder in sorted((videos / "cropped_aligned").iterdir()):
        frames = np.array(sorted(int(path.stem) for path in folder.iterdir()))
        frames = frames[frames % HIDDEN > 0]
        random = np.random.default_rng(len(frames) + width)
        writer = FeatureWriter(root, folder.name, info)
        steps = random.normal(size=(len(frames), width)).cumsum(axis=0) / 10
        writer.add(frames, steps.astype(np.float32), np.zeros((len(frames), 1), np.float32))
        writer.finish()
    return root


@pytest.fixture(scope="module")
def stores(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("stores")
    return [store_of(folder / f"of-{letter}", videos, letter, width) for letter, width in (("a", 6), ("b", 3))]


def arguments(store: Path | list[Path], videos: Path, folder: Path, *more: str) -> list[str]:
    given = store if isinstance(store, Path) else f"[{','.join(map(str, store))}]"
    task = [] if any("labels" in one for one in more) else ["data.labels.task=va"]
    return ["experiment=temporal", "scale=tiny", f"data.store={given}", f"data.labels.root={videos}", *task,
            "trainer=cpu", "trainer.max_epochs=1", "callbacks.progress=null", "data.window=12", "data.hop=8",
            f"paths.run_dir={folder}/run", f"paths.cache_dir={folder}/cache", *more]  # fmt: skip


def composed(*given: str) -> DictConfig:
    check_command_line("train", given)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("train", overrides=list(given))


def tables(*folders: Path) -> list[dict[str, np.ndarray]]:  # type: ignore[type-arg]
    read = [pq.read_table(folder / "predictions" / "val.parquet") for folder in folders]
    return [{name: table[name].to_numpy() for name in ("valence", "arousal")} for table in read]


@pytest.mark.parametrize("head", ["transformer", "gru"])
def test_a_head_learns_and_predicts_every_frame(stores: list[Path], videos: Path, tmp_path: Path, head: str) -> None:
    train(composed(*arguments(stores, videos, tmp_path, f"head={head}", "data.random_starts=true")))
    table = pq.read_table(tmp_path / "run" / "predictions" / "val.parquet")
    assert table["valence"].null_count == 0  # frames without features, too
    assert "expr_fear" not in table.column_names
    assert {name for name in scores_of(tmp_path / "run") if name.startswith("P_")} == {"P_VA"}
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (validated,) = (line["val/P_VA"] for line in logged if "val/P_VA" in line)
    assert validated == pytest.approx(scores_of(tmp_path / "run")["P_VA"], abs=1e-6)  # over rows, not over windows
    best = f"checkpoint={tmp_path}/run/checkpoints/best.ckpt"
    evaluate_here(best, f"paths.run_dir={tmp_path}/again", f"paths.cache_dir={tmp_path}/cache")
    first, again = tables(tmp_path / "run", tmp_path / "again")
    for name in first:
        np.testing.assert_allclose(again[name], first[name], atol=1e-6)
    with pytest.raises(ValueError, match="does not say what made these"):
        load_networks([tmp_path / "run"])


def test_the_head_refuses_stores_of_other_networks_or_in_another_order(
    stores: list[Path], videos: Path, tmp_path: Path
) -> None:
    train(composed(*arguments(stores, videos, tmp_path, "head=bigru")))
    best, other = f"checkpoint={tmp_path}/run/checkpoints/best.ckpt", store_of(tmp_path / "c", videos, "c", 6)
    for given, message in (
        (stores[::-1], r"learnt from these stores in another order: give \[.*of-a, .*of-b\]"),
        ([other, stores[1]], r"features of n, n \(cccccccccccc…, bbbbbbbbbbbb…\), but this head learnt from"),
        ([stores[0]], r"features of n \(aaaaaaaaaaaa…\), but this head learnt from those of other networks"),
    ):
        listed = ",".join(map(str, given))
        with pytest.raises(DataError, match=message):
            evaluate_here(best, f"data.store=[{listed}]", f"paths.run_dir={tmp_path}/other")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["data.hop=13"], r"data\.hop=13: windows of data\.window=12 frames"),
        (["data.hop=0"], r"data\.hop is 0, but must be int >= 1"),
        (["data.window=0"], r"data\.window is 0, but must be int >= 1"),
        (["data.grid=dense"], r"data\.grid is 'dense', but must be frames or rows"),
        (["head=gru", "data.fill=nearest"], r"data\.fill=nearest .*give previous, as this head is causal"),
        (["head=tcn", "data.max_frames=null"], r"data\.max_frames=null .*as this head is causal"),
    ],
)
def test_what_does_not_go_together_is_one_message(
    stores: list[Path], videos: Path, tmp_path: Path, given: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as told:
        train(composed(*arguments(stores[0], videos, tmp_path, *given)))
    assert str(told.value).count("\n  - ") == 1


def damaged(store: Path, to: Path, how: str) -> Path:
    """A store without the last frames of a video, or with a number that is none, or without any video."""
    shutil.copytree(store, to)
    part = to / "train-0003" / "part-00000"
    for name in ("frame", "embedding", "outputs") if how == "short" else ("embedding",):
        array = np.load(part / f"{name}.npy")
        if how == "nan":
            array[4, 2] = np.nan
        np.save(part / f"{name}.npy", array[:-3] if how == "short" else array)
    (part / "sha256.txt").unlink()
    if how == "empty":
        for folder in (one for one in to.iterdir() if one.is_dir()):
            shutil.rmtree(folder)
    return to


VIDEOS = ("train-0000", "train-0002", "train-0003", "train-0004", "train-0005", "validation-0000", "validation-0002")


BAD_STORES = {
    "short": r"of-a and .*short are stores of other frames: 3 of video train-0003 .*Extract both from the same list",
    "nan": r"nan/train-0003/part-00000/embedding\.npy: frame 6 of video train-0003 is not finite; delete ",
    "empty": r"empty has no features of 6 videos of the train split .* extract\.py store=.* adds them",
    "nowhere": r"- .*nowhere/store\.json: no such file, so .*nowhere is no feature store; make one with extract\.py",
}

BAD_FOLDS = (
    (5, 7, r"- data\.fold=7: there are 5 folds, 0 to 4"),
    (8, 0, r"8 folds of 7 videos: each fold needs one of its own; ask for fewer folds"),
    ([*VIDEOS, VIDEOS[0]], 0, r"folds\.csv:9: train-0000 has a line already; give each video one fold"),
    (VIDEOS[:-1], 0, r"folds\.csv: no line for 1 videos of the data, 'validation-0002' first; add them, or"),
    ([*VIDEOS, "elsewhere"], 0, r"folds\.csv: 'elsewhere' has a line, but is in no list .*: take out its line"),
    (VIDEOS, 7, r"data\.fold=7: there are 3 folds, 0 to 2"),
)


def test_bad_data_end_in_one_line_before_there_is_a_run_folder(
    stores: list[Path], videos: Path, tmp_path: Path
) -> None:
    usual, cases = composed(*arguments(stores[0], videos, tmp_path, "head=gru")), []
    for how, message in BAD_STORES.items():
        config, there = usual.copy(), tmp_path / how
        other = there if how == "nowhere" else damaged(stores[0], there, how)
        config.data.store = [str(stores[0]), str(other)] if how == "short" else str(other)
        cases.append((config, message))
    for folds, fold, message in BAD_FOLDS:
        config = usual.copy()
        config.data.folds, config.data.fold = folds, fold
        if not isinstance(folds, int):
            lines = ["video,fold", *(f"{video},{number % 3}" for number, video in enumerate(folds))]
            (tmp_path / str(len(cases))).mkdir()
            config.data.folds = str(tmp_path / str(len(cases)) / "folds.csv")
            Path(config.data.folds).write_text("\n".join(lines) + "\n")
        cases.append((config, message))
    for config, message in cases:
        with pytest.raises(UserError, match=message) as told:
            train(config)
        assert str(told.value).count("\n") <= 1  # of a configuration, a line that counts its errors comes first
        assert not (tmp_path / "run").exists()


def test_a_constant_label_and_a_task_without_a_label_are_told(
    stores: list[Path],
    videos: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = shutil.copytree(videos, tmp_path / "labels", ignore=shutil.ignore_patterns("*.parquet"))
    for file in root.glob("*/*/*.txt"):
        header, *rows = file.read_text().splitlines()
        file.write_text("\n".join([header, *(["0.25,0.25" if "VA_" in str(file) else "-1"] * len(rows))]) + "\n")
    monkeypatch.setattr("runs.train.build_trainer", lambda *_, **__: raising(UserError("it would train"))())
    with caplog.at_level("WARNING"), pytest.raises(UserError, match="it would train"):
        train(composed(*arguments(stores[0], root, tmp_path, "head=gru")))
    for rows in ("training", "val"):
        assert f"{rows}: all rows have the same valence and arousal, of which nothing can be learnt" in caplog.text
    with pytest.raises(DataError, match=r"no frame of the training videos has both features in .*of-a and a label"):
        train(composed(*arguments(stores[0], root, tmp_path / "expr", "data.labels.task=expr")))


def test_heads_and_data_that_do_not_fit_are_refused(stores: list[Path], videos: Path, tmp_path: Path) -> None:
    common = [f"data.store={stores[0]}", f"data.labels.root={videos}", "data.labels.task=va", "trainer=cpu",
              f"paths.run_dir={tmp_path}/run", f"paths.cache_dir={tmp_path}/cache"]  # fmt: skip
    with pytest.raises(ConfigError, match="data=windows: these heads look at one frame at a time: give data=features"):
        train(
            composed("experiment=heads_va", "data=windows", "model.network.heads.valence_arousal.input=logits", *common)
        )
    config = composed(*arguments(stores[0], videos, tmp_path, "head=bigru"))
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        config.data = compose("train", overrides=["experiment=heads_va", *common]).data
    with pytest.raises(ConfigError, match="a temporal head looks at windows of stored features: give data=windows"):
        train(config)


@pytest.mark.parametrize(
    ("labels", "tasks"),
    [
        (["data.labels.task=au"], ["action_units"]),
        (["data@data.labels=affwild2_mtl"], ["valence_arousal", "expression", "action_units"]),
        (["data@data.labels=affwild2_joint", "data.labels.tasks=[expr,au]"], ["expression", "action_units"]),
        (["data.labels.task=va", "model.network.tasks=[expression]"], ["expression"]),
    ],
)
def test_the_tasks_are_those_of_the_labels(
    stores: list[Path], videos: Path, tmp_path: Path, labels: list[str], tasks: list[str]
) -> None:
    plain = resolve(composed(*arguments(stores, videos, tmp_path, *labels)))
    assert plain["model"]["network"]["tasks"] == tasks
    assert [one["embedding"] for one in plain["model"]["network"]["features"]] == [6, 3]


def test_a_task_that_is_not_named_is_asked_for(stores: list[Path], videos: Path, tmp_path: Path) -> None:
    given = [one for one in arguments(stores, videos, tmp_path) if one != "data.labels.task=va"]
    with pytest.raises(ConfigError, match=r"data\.labels\.task is not set: give data\.labels\.task=…"):
        resolve(composed(*given))


def test_three_tasks_on_listed_rows(faces: Path, tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", faces, "a", 5)
    train(composed(*arguments(store, faces, tmp_path, "data@data.labels=affwild2_mtl", "data.grid=rows", "head=bigru")))
    assert "P_MTL" in scores_of(tmp_path / "run")


def test_a_fold_is_held_back_scored_and_predicted(stores: list[Path], videos: Path, tmp_path: Path) -> None:
    train(composed(*arguments(stores, videos, tmp_path, "head=gru", "data.folds=3", "data.fold=1")))
    held = pq.read_table(tmp_path / "run" / "predictions" / "fold1.parquet")
    dealt = dict(line.split(",") for line in (tmp_path / "run" / "folds.csv").read_text().splitlines()[2:])
    assert {dealt[base_video(video)] for video in held["video"].to_pylist()} == {"1"}
    assert held["valence"].null_count == 0
    again = [f"checkpoint={tmp_path}/run", f"paths.run_dir={tmp_path}/again", f"paths.cache_dir={tmp_path}/cache"]
    with pytest.raises(
        ConfigError, match=r"split=fold2: .*run has learnt from . of these . videos, .*split=fold1, which"
    ):
        evaluate_here(*again, "split=fold2")
    with pytest.raises(ConfigError, match=r"split=oof: .*run has learnt from . of these 7 videos"):
        evaluate_here(*again, "split=oof")
    assert not (tmp_path / "again").exists()
    evaluate_here(*again, "split=fold1")
    assert scores_of(tmp_path / "again") == pytest.approx(scores_of(tmp_path / "run"), abs=1e-6)
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [one["val/P_VA"] for one in logged if "val/P_VA" in one][-1] == pytest.approx(
        scores_of(tmp_path / "run")["P_VA"], abs=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("head", ["tcn_transformer", "gru"])
def test_two_processes_give_the_same_table(stores: list[Path], videos: Path, tmp_path: Path, head: str) -> None:
    given = arguments(stores, videos, tmp_path, f"head={head}", "trainer.devices=2", "data.batch_size=2")
    done = command("train.py", *given)
    assert done.returncode == 0, done.stdout
    best = f"checkpoint={tmp_path}/run/checkpoints/best.ckpt"
    evaluate_here(best, f"paths.run_dir={tmp_path}/alone", f"paths.cache_dir={tmp_path}/cache")
    both, alone = tables(tmp_path / "run", tmp_path / "alone")
    for name in both:
        np.testing.assert_array_equal(both[name], alone[name])
