"""The joint data module: three lists in one epoch, the union of the validation lists, and videos that lists share."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from affect.batch import AffectLogits, Batch
from affect.errors import DataError
from affect.labels import TASKS, UNI_TASKS
from datamodules.affwild2_joint import AffWild2JointDataModule
from datamodules.affwild2_uni import AffWild2UniDataModule
from losses.multitask import MultiTaskLoss
from rendering.cache import draw as draw_faces
from tests.datamodules.conftest import process
from tests.datamodules.test_affwild2_mtl import Recorder, trainer
from tests.datamodules.test_affwild2_uni import FOLDERS, write_crops, write_labels

LISTS = {  # by task and split: labelled (L) and missing (m) rows of each video
    "va": {"Train_Set": {"a": "LLmL", "shared": "LL"}, "Validation_Set": {"w": "LmL", "v_left": "LL"}},
    "expr": {"Train_Set": {"a": "LLL", "b": "LLLLL"}, "Validation_Set": {"w": "mLL"}},
    "au": {"Train_Set": {"b": "LLLLL", "c": "L"}, "Validation_Set": {"shared": "LL", "w": "LLL"}},
}


def module(root: Path, **options: Any) -> AffWild2JointDataModule:
    return AffWild2JointDataModule(str(root), **{"image_size": 32, "batch_size": 6, **options})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for task, splits in LISTS.items():
        for split, videos in splits.items():
            write_labels(root / FOLDERS[task] / split, task, **videos)
    for video, frames in {
        "a": [1, 2, 3],
        "b": [1, 2, 3, 4],
        "c": [1],
        "shared": [1, 2],
        "w": [1, 3],
        "v_left": [2],
    }.items():
        write_crops(root / "cropped_aligned" / video, *frames)
    return root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine training videos, the fourth and fifth of which another task validates, and six validation videos."""
    folder = tmp_path_factory.mktemp("joint") / "joint"
    return draw_faces(folder, "joint", seed=2, train_videos=9, val_videos=6, frames_per_video=10, workers=1)


def lists_of(root: Path, split: str) -> dict[str, set[str]]:
    """Videos of each task's list, from the names of its files."""
    return {task: {path.stem for path in root.glob(f"{task.upper()}_*/{split}/*.txt")} for task in UNI_TASKS}


def test_training_has_a_row_for_each_frame_of_each_list(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        data = module(root)
        data.setup("fit")
    train = data.frames("train")
    assert list(train.image) == [f"{video}/{frame:05d}.jpg" for video, count in
                                 (("a", 4), ("a", 3), ("b", 5), ("b", 5), ("c", 1))
                                 for frame in range(1, count + 1)]  # fmt: skip
    tasks = [UNI_TASKS[task] for task, count in (("va", 4), ("expr", 8), ("au", 6)) for _ in range(count)]
    for task in TASKS:
        allowed = np.array([one == task for one in tasks])
        assert not train.labelled(task)[~allowed].any()
        assert train.labelled(task)[allowed].sum() == {"valence_arousal": 3, "expression": 8, "action_units": 6}[task]
    # a label and a crop: no crop of a's 4th and b's 5th frame, no label of a's third frame in the first list
    assert [rows.tolist() for rows in data.list_rows] == [[0, 1], [4, 5, 6, 7, 8, 9, 10], [12, 13, 14, 15, 17]]
    assert [data.has_image("train")[row] for row in data.train_rows] == [True] * 14
    assert "left out of training: 2 rows of 1 video(s) that a validation list has: shared" in caplog.text
    assert list(train.files) == [f"{FOLDERS[task]}/Train_Set" for task in FOLDERS]
    assert "are trained on, too" not in caplog.text


def test_validation_is_the_union_of_the_lists_each_frame_once(root: Path) -> None:
    data = module(root)
    data.setup("fit")
    val = data.frames("val")
    frames = [("shared", 1), ("shared", 2), ("v_left", 1), ("v_left", 2), ("w", 1), ("w", 2), ("w", 3)]
    assert list(zip(val.video, val.frame.tolist(), strict=True)) == frames
    assert list(val.image) == [f"{video}/{frame:05d}.jpg" for video, frame in frames]
    assert val.labelled("valence_arousal").tolist() == [False, False, True, True, True, False, True]
    assert val.labelled("expression").tolist() == [False] * 5 + [True, True]
    assert val.labelled("action_units").tolist() == [True, True, False, False, True, True, True]
    assert data.has_image("val").tolist() == [True, True, False, True, True, False, True]
    assert val.frame.dtype == val.expression.dtype == np.int64
    assert val.valence_arousal.dtype == val.action_units.dtype == np.float32
    rows = [(batch["row"].tolist(), batch["unreadable"].tolist()) for batch in module(root).val_dataloader()]
    assert rows == [([0, 1, 3, 4], [2, 5]), ([6], [])]
    for path, image in zip(data._split("val")[1], val.image, strict=True):
        assert path is None or str(path).endswith(f"/cropped_aligned/{image}")


def test_the_union_has_the_labels_of_each_list(drawn: Path) -> None:
    data = module(drawn)
    val = data.frames("val")
    place = {pair: row for row, pair in enumerate(zip(val.video, val.frame.tolist(), strict=True))}
    assert list(place) == sorted(place)
    listed: set[tuple[str, int]] = set()
    for task, key in UNI_TASKS.items():
        one = AffWild2UniDataModule(str(drawn), task=task, image_size=32, batch_size=1).frames("val")
        pairs = list(zip(one.video, one.frame.tolist(), strict=True))
        listed.update(pairs)
        rows = np.array([place[pair] for pair in pairs])
        np.testing.assert_array_equal(getattr(val, key)[rows], getattr(one, key))
        others = np.ones(len(val), dtype=bool)
        others[rows] = False
        assert not val.labelled(key)[others].any()
    assert listed == set(place)


@pytest.mark.parametrize("slices", [1, 3])
def test_no_training_batch_holds_a_face_or_a_label_of_a_validation_list(drawn: Path, slices: int) -> None:
    training, validation = (lists_of(drawn, split) for split in ("Train_Set", "Validation_Set"))
    shared = {video for a, b in itertools.permutations(UNI_TASKS, 2) for video in training[a] & validation[b]}
    assert shared == {"train-0003", "train-0004"}  # else the test could not fail
    forbidden = set.union(*validation.values())
    data = module(drawn, batch_size=7, slices=slices)  # rounded down to 6
    data.setup("fit")
    frames = data.frames("train")
    seen: dict[str, set[str]] = {task: set() for task in UNI_TASKS}
    for epoch in range(4):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            assert len(batch["row"]) == 6
            known = {
                "va": ~torch.isnan(batch["valence_arousal"]).any(dim=1),
                "expr": batch["expression"] >= 0,
                "au": ~torch.isnan(batch["action_units"]).all(dim=1),
            }
            assert sum(of_task.int() for of_task in known.values()).tolist() == [1] * 6  # type: ignore[union-attr]
            for task, of_task in known.items():
                assert of_task.sum() == 2
                seen[task].update(frames.video[int(row)] for row in batch["row"][of_task])
    for task, videos in seen.items():
        assert videos <= training[task] - forbidden
    assert all(seen.values())
    kept = module(drawn, shared_videos="keep")
    assert shared <= set(kept.frames("train").video)


def test_shared_videos_that_are_kept_are_warned_of(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = module(root, shared_videos="keep")
    data.setup("fit")
    assert "2 of 7 validation rows are of images or videos that are trained on, too, the first of shared" in caplog.text
    assert list(data.frames("train").video)[4:6] == ["shared"] * 2
    assert not data.frames("train").labelled("action_units")[4:6].any()  # those are the validation list's


def test_a_batch_has_the_losses_of_three_batches_summed(drawn: Path) -> None:
    data = module(drawn, batch_size=24)
    data.setup("fit")
    batch: Batch = next(iter(data.train_dataloader()))
    torch.manual_seed(0)
    weight = torch.randn(32 * 32 * 3, 22) / 10

    def losses(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        part: Any = {key: batch[key][rows] for key in ("image", *TASKS)}  # type: ignore[literal-required]
        scores = (part["image"].flatten(1).double() / 255) @ weight.double()
        found: dict[str, torch.Tensor] = MultiTaskLoss()(
            AffectLogits(scores[:, :8], scores[:, 8:20], scores[:, 20:]), part
        )
        return found

    lists = {task: data.frames("train").labelled(task)[batch["row"].numpy()] for task in TASKS}
    together = losses(torch.arange(24))
    for task, of_list in lists.items():
        alone = losses(torch.from_numpy(np.flatnonzero(of_list)))
        torch.testing.assert_close(together[task], alone[task], rtol=1e-6, atol=1e-7)
        assert alone[task] > 0
        assert all(alone[other] == 0 for other in TASKS if other != task)


@pytest.mark.parametrize("workers", [0, 1])
def test_epochs_are_those_of_one_process_also_after_resuming(drawn: Path, tmp_path: Path, workers: int) -> None:
    checkpoint = pl.callbacks.ModelCheckpoint(tmp_path / "c", save_top_k=-1, filename="{epoch}")
    whole, resumed = Recorder(), Recorder()
    options = {"num_workers": workers, "batch_size": 12}
    trainer(tmp_path, 3, callbacks=[checkpoint]).fit(whole, datamodule=module(drawn, **options))
    trainer(tmp_path, 3, enable_checkpointing=False).fit(
        resumed, datamodule=module(drawn, **options), ckpt_path=str(tmp_path / "c" / "epoch=0.ckpt")
    )
    assert resumed.seen == {epoch: whole.seen[epoch] for epoch in (1, 2)}
    assert whole.seen[0] != whole.seen[1]


def test_two_ranks_draw_what_one_process_draws(drawn: Path) -> None:
    def batches(rank: int, world_size: int, batch_size: int) -> list[list[int]]:
        data = module(drawn, batch_size=batch_size)
        data.trainer = process(rank, world_size)
        data.setup("fit")
        loader = data.train_dataloader()
        loader.sampler.set_epoch(5)  # type: ignore[attr-defined]
        return [batch["row"].tolist() for batch in loader]

    alone = batches(0, 1, 12)
    ranks = [batches(rank, 2, 6) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) >= 2
    for one, first, second in zip(alone, *ranks, strict=False):
        assert sorted(one) == sorted(first + second)


def test_some_of_the_lists(root: Path) -> None:
    data = module(root, tasks=["au", "va"], batch_size=5)
    assert data.batch_size == 4
    assert data.eval_batch_size == 5
    data.setup("fit")
    assert not data.frames("train").labelled("expression").any()
    assert len(data.frames("val")) == 7
    (one,) = module(root, tasks=["expr"]).list_rows
    assert len(one) == 7


def test_a_batch_that_is_too_small_is_refused_where_it_is_trained_with(root: Path) -> None:
    data = module(root, batch_size=1)  # as of the labels of stored features
    assert len(data.frames("train")) == 18
    with pytest.raises(DataError, match=r"a row of each of 3 lists: raise data\.batch_size"):
        data.setup("fit")


def test_a_missing_list_names_the_tasks_that_are_there(root: Path) -> None:
    (root / FOLDERS["expr"]).rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"EXPR_Set/Train.*data\.train_annotations='\{expr: <folder>\}'.*"
                                                r"data\.tasks=\[va,au\] trains the others") as caught:  # fmt: skip
        module(root, shared_videos="keep").setup("fit")
    assert "\n" not in str(caught.value)
    module(root, tasks=["va", "au"], drop_last=False).setup("fit")
    found = {"expr": "elsewhere/Train_Set"}
    data = module(root, train_annotations=found, val_annotations={"expr": str(root / "elsewhere/Validation_Set")})
    data.setup("fit")
    assert len(data.list_rows[1]) == 7


def test_crops_of_a_list_that_are_below_no_root(root: Path) -> None:
    (root / FOLDERS["au"] / "Train_Set" / "b.txt").unlink()
    (root / "cropped_aligned" / "c" / "00001.jpg").unlink()
    first = (
        r"none of the 1 images listed in .*AU_Detection_Challenge/Train_Set exists; the first would be .*/c/00001\.jpg"
    )
    with pytest.raises(FileNotFoundError, match=first + r"\. Set data\.root"):
        module(root).setup("fit")


def test_a_list_without_a_row_to_train_on(root: Path) -> None:
    write_labels(root / FOLDERS["va"] / "Train_Set", "va", a="mmm")
    with pytest.raises(DataError, match=r"0 rows of the training list of data\.task=va .*data\.tasks=\[expr,au\] trai"):
        module(root).setup("fit")
    with pytest.raises(DataError, match=r"5 rows of the training list of data\.task=au .* few for data\.slices=6"):
        module(root, tasks=["au", "expr"], slices=6).setup("fit")


def test_different_numbers_of_rows_are_read_and_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_labels(root / FOLDERS["au"] / "Validation_Set", "au", w="LLLLL")
    write_labels(root / FOLDERS["va"] / "Train_Set", "va", shared="LLL")
    data = module(root)
    data.setup("fit")
    (train, both) = [record.message for record in caplog.records if "the lists differ" in record.message]
    assert train.startswith("the lists differ in how many rows 1 video(s) have: a (4 in VA_Estimation_Challenge/Train_")
    assert "Train_Set, 3 in EXPR_Recognition_Challenge/Train_Set). Frames beyond" in train
    assert "2 video(s)" in both
    assert "shared (3 in VA_Estimation_Challenge/Train_Set, 2 in AU_Detection_Challenge/Validation_Set)" in both
    assert (
        "; w (3 in VA_Estimation_Challenge/Validation_Set, 3 in EXPR_Recognition_Challenge/Validation_Set, 5 " in both
    )
    assert data.frames("val").labelled("action_units").tolist()[-5:] == [True] * 5
    assert list(data.frames("val").image)[-1] == "w/00005.jpg"


def test_a_test_list_is_of_one_task(root: Path) -> None:
    (root / "frames.txt").write_text("image_location,valence,arousal\nw/00003.jpg,\nw/00001.jpg,\n")
    data = module(root, task="va", test_list="frames.txt")
    assert list(data.frames("test").image) == ["w/00003.jpg", "w/00001.jpg"]
    assert data.has_image("test").all()
    with pytest.raises(DataError, match=r"data\.task is not set. Set data\.task=va, expr or au"):
        module(root, test_list="frames.txt").frames("test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, r"data\.tasks is \[\], expected some of va, expr, au, each once"),
        ({"tasks": ["va", "va"]}, "each once"),
        ({"tasks": ["valence"]}, "expected some of va"),
        (
            {"tasks": ["au"], "val_annotations": {"va": "x"}},
            r"data\.val_annotations: there is no task va; there are au",
        ),
    ],
)
def test_refused_settings(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(tmp_path, **options)
